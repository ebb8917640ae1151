"""Fields as data: written once per protocol, and kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.fields import FieldValues
from proxy.wire.fields import NOTHING_ADDED, Addition, field_lines
from proxy.wire.head import RequestHead

NAMES = st.sampled_from(["b3", "x-b3-traceid", "b3-x", "a.b", "axb", "traceparent"])
VALUES = st.text("ab:, \t", max_size=8)


@given(fields=st.lists(st.tuples(NAMES, VALUES, st.booleans())), names=st.sets(NAMES, min_size=1))
def test_fields_asked_for_at_once_are_those_asked_for_one_by_one(
    fields: list[tuple[str, str, bool]], names: set[str]
) -> None:
    lines = "".join(f"{name.upper() if big else name}:{value}\r\n" for name, value, big in fields)
    data = f"GET / HTTP/1.1\r\nHost: b3: a\r\n{lines}\r\n".encode()
    head = RequestHead(data, data.lower(), b"GET")
    asked = frozenset(name.encode() for name in names)
    one_by_one = {name: values for name in asked if (values := head.values(name))}
    assert head.among(asked) == one_by_one
    every = {name.encode(): head.values(name.encode()) for name, _, _ in fields}
    assert FieldValues(every).among(asked) == one_by_one
    assert all([*FieldValues(every).values(name)] == head.values(name) for name in asked)


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
