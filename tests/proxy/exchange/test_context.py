"""A head that a sidecar had completed is known by its bytes, and means what reading it field by field says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange.context import copied, template_lines
from proxy.routing.context import TraceContext
from proxy.routing.template import WRITTEN, parts, template
from proxy.routing.trace import TraceReader
from proxy.wire.head import HeadParser, Limits, RequestHead

TRACE, SPAN = b"4c5d1e0f9a8b7c6d5e4f3a2b1c0d9e8f", b"00f067aa0ba902b7"
PARENT = b"00-%b-%b-01" % (TRACE, SPAN)
REQUEST_ID = b"6f1b1f0e-7b1e-4b6e-9f0a-1234567890ab"
OTHERS = tuple(name for name in WRITTEN if name not in (b"traceparent", b"x-request-id"))

_parser = HeadParser(Limits())


def added(*, sampled: bool = True, both: bytes = PARENT[3:52], request_id: bytes = REQUEST_ID) -> bytes:
    """What a sidecar adds beside a `traceparent` and an `x-request-id`."""
    given = template(OTHERS, sampled)
    return template_lines(given) % given.pick(parts(both, request_id))


def read(*blocks: bytes) -> RequestHead:
    head = _parser.request(b"GET / HTTP/1.1\r\nhost: a\r\n" + b"".join(blocks) + b"\r\n")
    assert head is not None
    return head


def named(parent: bytes = PARENT, request_id: bytes = REQUEST_ID) -> bytes:
    return b"traceparent: %b\r\nx-request-id: %b\r\n" % (parent, request_id)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("sampled", [True, False])
def test_what_a_sidecar_had_added_is_known_at_once(*, sampled: bool, first: bool) -> None:
    both = [named(PARENT[:-1] + (b"1" if sampled else b"0")), b"accept: */*\r\n", added(sampled=sampled)]
    head = read(*(both if first else reversed(both)))
    assert copied(head) == [TRACE, b"=" + REQUEST_ID] == TraceReader().ids(head)


@pytest.mark.parametrize(
    "blocks",
    [
        (added(),),
        (b"traceparent: %b\r\n" % PARENT, added()),
        (b"x-request-id: %b\r\n" % REQUEST_ID, added()),
        (named(), added(sampled=False)),
        (named(), added().replace(b"b3: ", b"B3: ", 1)),
        (named(), added()[: added().index(b"uber")]),
        (named(), b"x-b3-parentspanid: %b\r\n" % SPAN, added()),
        (named(), added(), b"b3: 0\r\n"),
        (named(request_id=b"undefined"), added()),
        (named(b"00-%b%b" % (b"0" * 16, PARENT[19:])), added(both=b"0" * 16 + PARENT[19:52])),
        (named(PARENT.upper()), added()),
    ],
    ids=[
        "neither", "no request id", "no parent", "sampled otherwise", "another case", "not all of it",
        "another field before", "another field behind", "no id", "64 bits", "malformed",
    ],
)  # fmt: skip
def test_everything_else_is_read_field_by_field(blocks: tuple[bytes, ...]) -> None:
    assert copied(read(*blocks)) == []


PLACES = [place for match in re.finditer(rb": ([^\r]++)", added()) for place in range(*match.span(1))]


@given(place=st.sampled_from(PLACES), byte=st.sampled_from(b"0af-|.:;= Z"))
def test_a_byte_of_a_value_that_differs_is_never_overlooked(place: int, byte: int) -> None:
    changed = bytearray(added())
    changed[place] = byte
    assert bool(copied(read(named(), bytes(changed)))) == (changed == added())


def test_the_next_sidecar_adds_nothing_to_it() -> None:
    head = read(named(), added())
    done = TraceContext(TraceReader(), b"5ca1ab1e", lambda bits: 1).complete(head, large=False)
    assert not done.fields
    assert done.template is None
    assert set(done.names) == {*copied(head), b"~" + TRACE[16:]}
