"""Generated conversations through the exchange in memory; the laws of `laws.py` hold for all of them.

SKYCAP_FUZZ_EXAMPLES sets how many are tried per property (200 by default; `make fuzz` tries many more).
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.grammars import Cut, bent_requests, bent_responses, cuts, requests, response
from tests.conformance.laws import complaints
from tests.conformance.memory import MemoryLane
from tests.conformance.messages import Malformed, Message, read_message, read_requests, read_responses
from tests.conformance.play import Observation

EXAMPLES = int(os.environ.get("SKYCAP_FUZZ_EXAMPLES", "200"))

settings.register_profile(
    "conformance", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
_profile = settings.get_profile("conformance")
pytestmark = pytest.mark.timeout(60 + EXAMPLES // 4)

SIDES = st.sampled_from(["inbound", "outbound"])
ASK = b"GET /first HTTP/1.1\r\nHost: shop\r\n\r\n"
NEXT = b"GET /second HTTP/1.1\r\nHost: shop\r\n\r\n"


def _essence(seen: Observation) -> tuple[object, ...]:
    """What must not depend on how the bytes were cut. Whether an unfinished message is refused does: what is wrong
    with it may be seen at once or with the next line."""
    return [message.meaning() for message in seen.arrived], seen.client.partition(b"HTTP/1.1 4")[0], seen.client_ended


@_profile
@given(requests.flatmap(cuts), SIDES)
def test_good_requests_arrive_as_they_were_sent(cut: Cut, side: str) -> None:
    seen = MemoryLane(side).converse(cut.pieces, None)
    sent = read_requests(cut.data).messages
    assert complaints(seen) == []
    assert [message.head for message in seen.arrived] == [message.head for message in sent]
    assert [message.meaning() for message in seen.arrived] == [message.meaning() for message in sent]


@_profile
@given(bent_requests.flatmap(cuts), SIDES)
def test_bent_requests_break_no_law_however_they_are_cut(cut: Cut, side: str) -> None:
    seen = MemoryLane(side).converse(cut.pieces, None)
    assert complaints(seen) == []
    assert _essence(seen) == _essence(MemoryLane(side).converse([cut.data], None))


@_profile
@given(bent_requests)
def test_no_bent_request_arrives_as_more_than_the_reference_reader_saw(data: bytes) -> None:
    seen = MemoryLane("inbound").converse([data], None)
    assert len(seen.arrived) <= len(_readable(data)), f"arrived: {[str(message) for message in seen.arrived]}"


@_profile
@given(response().flatmap(cuts), SIDES, st.booleans())
def test_good_answers_arrive_as_they_were_given(cut: Cut, side: str, ends: bool) -> None:
    until_close = b"ontent-Length" not in cut.data and b"chunked" not in cut.data
    ends = ends or until_close
    seen = MemoryLane(side).converse([ASK], cut.pieces, ends=ends)
    assert complaints(seen, first=2) == []
    given_, got = (read_responses(data, [b"GET"], True).messages for data in (cut.data, seen.client))
    assert [message.body for message in got] == [message.body for message in given_]
    assert [message.start[1:] for message in got] == [message.start[1:] for message in given_]


@_profile
@given(bent_responses.flatmap(cuts), SIDES, st.booleans())
def test_bent_answers_break_no_law_and_never_answer_the_next_request(cut: Cut, side: str, ends: bool) -> None:
    seen = MemoryLane(side).converse([ASK], cut.pieces, ends=ends, then=NEXT)
    assert complaints(seen, first=2) == []


def _readable(data: bytes) -> list[Message]:
    """The complete requests at the start of `data`, without the empty lines in front of them."""
    messages: list[Message] = []
    at = 0
    while True:
        while data.startswith(b"\r\n", at):
            at += 2
        try:
            message = read_message(data, at, None)
        except Malformed:
            return messages
        if message is None or not message.complete:
            return messages
        messages.append(message)
        at += message.size
