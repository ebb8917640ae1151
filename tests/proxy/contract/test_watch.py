"""The event stream: the same events whole and in any pieces, and an end to endless lines."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.watch import HEARTBEAT, PUT, SNAPSHOT, SYNCED, Event, EventParser, encode_event
from proxy.errors import ContractError

STREAM = (
    HEARTBEAT
    + encode_event(Event(SNAPSHOT, '{"routes":[]}', "7"))
    + HEARTBEAT
    + encode_event(Event(SYNCED, "{}", "7"))
    + encode_event(Event(PUT, '{"key":"\u00e9\U0001f680"}', "8"))
)
EVENTS = [
    Event("snapshot", '{"routes":[]}', "7"),
    Event("synced", "{}", "7"),
    Event("put", '{"key":"\u00e9\U0001f680"}', "8"),
]


def test_the_bytes_of_an_event() -> None:
    assert encode_event(Event("put", "{}", "9")) == b"event: put\nid: 9\ndata: {}\n\n"
    assert encode_event(Event("put", "{}")) == b"event: put\ndata: {}\n\n"


def test_whole() -> None:
    parser = EventParser()
    assert parser.feed(STREAM) == EVENTS
    assert parser.comments == 2


def test_byte_by_byte_and_with_crlf() -> None:
    parser = EventParser()
    stream = STREAM.replace(b"\n", b"\r\n")
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == EVENTS
    assert parser.comments == 2


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_in_any_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    parser = EventParser()
    events = [event for start, end in itertools.pairwise(edges) for event in parser.feed(STREAM[start:end])]
    assert events == EVENTS


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: x\n\n", [Event("message", "x")]),
        (b"data: a\ndata: b\n\n", [Event("message", "a\nb")]),
        (b"data:x\n\n", [Event("message", "x")]),
        (b"data:  x\n\n", [Event("message", " x")]),
        (b"event: put\n\ndata: x\n\n", [Event("message", "x")]),  # a name without data is forgotten
        (b"id: 4\n\ndata: x\n\ndata: y\n\n", [Event("message", "x", "4"), Event("message", "y", "4")]),
        (b"id: 4\0\ndata: x\n\n", [Event("message", "x")]),
        (b"retry: 5\nwhat\ndata: x\n\n", [Event("message", "x")]),
        (b"data: x\n", []),
        (b"\n\n\n", []),
    ],
)
def test_the_grammar_of_the_html_standard(stream: bytes, events: list[Event]) -> None:
    assert EventParser().feed(stream) == events


class TestLimits:
    def test_an_event_up_to_the_limit_passes(self) -> None:
        event = b"data: " + b"x" * 93 + b"\n"
        assert len(event) == 100
        assert len(EventParser(limit=101).feed(event + b"\n" + event + b"\n")) == 2

    @pytest.mark.parametrize(
        "stream",
        [
            b"x" * 101,
            b"data: " + b"x" * 94 + b"\n\n",
            b"data: 345678901234567890\n" * 5,
            b": comment without an end\n" * 5,
            b"data: x\n\n" * 20 + b"y" * 101,
        ],
    )
    def test_a_longer_one_is_an_error_however_it_comes(self, stream: bytes) -> None:
        with pytest.raises(ContractError, match="an event of more than 100 bytes"):
            EventParser(limit=100).feed(stream)
        parser = EventParser(limit=100)
        with pytest.raises(ContractError, match="an event of more than 100 bytes"):
            deque(map(parser.feed, (bytes([byte]) for byte in stream)), maxlen=0)

    def test_what_is_not_utf_8_is_an_error(self) -> None:
        with pytest.raises(ContractError, match="not UTF-8"):
            EventParser().feed(b"data: \xff\n")
