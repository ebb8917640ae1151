"""Fields as data: written once per protocol, and kept."""

from __future__ import annotations

from proxy.wire.fields import NOTHING_ADDED, Addition, field_lines


def test_lines_of_http1_are_made_once() -> None:
    addition = Addition(((b"a", b"1"), (b"b", b"x, y")))
    assert addition.lines is None
    lines = field_lines(addition)
    assert lines == b"a: 1\r\nb: x, y\r\n"
    assert field_lines(addition) is addition.lines is lines


def test_nothing_is_no_line() -> None:
    assert field_lines(NOTHING_ADDED) == b""


def test_repr_names_the_fields() -> None:
    assert repr(Addition(((b"a", b"1"), (b"b", b"2")))) == "<Addition a, b>"
    assert repr(NOTHING_ADDED) == "<Addition nothing>"
