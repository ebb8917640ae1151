"""The harness has to be able to fail: parsers that differ are told apart, and a careless proxy is found guilty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.corpus import Case, End, Forward, Kind, load_corpus
from tests.conformance.deliveries import BYTEWISE, PIPED, WHOLE, Delivery, places
from tests.conformance.judge import WAITED, judge
from tests.conformance.laws import client_complaints, upstream_complaints
from tests.conformance.memory import MemoryLane
from tests.conformance.messages import Framing, Malformed, read_message, read_requests, read_responses
from tests.conformance.panel import MEMBERS, Question, Refusal, disagreements
from tests.conformance.peers import Relay
from tests.conformance.play import Run, Upstream
from tests.conformance.rig import Rig, rig

CASES = load_corpus()

GET = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# -- the reference reader


def test_the_reader_reads_a_stream_of_requests() -> None:
    stream = read_requests(GET + POST + CHUNKED + b"GET /unfin")
    assert [message.framing for message in stream.messages] == [Framing.NONE, Framing.LENGTH, Framing.CHUNKED]
    assert [message.body for message in stream.messages] == [b"", b"hello", b"hello"]
    assert stream.messages[2].trailers == ((b"x", b"y"),)
    assert stream.rest == b"GET /unfin"


@pytest.mark.parametrize("data", [GET, POST, CHUNKED])
def test_the_reader_takes_no_beginning_for_a_whole(data: bytes) -> None:
    for end in range(len(data)):
        assert read_requests(data[:end]).complete == []


@pytest.mark.parametrize(
    "data",
    [
        GET.replace(b"\r\n", b"\n"),
        GET.replace(b"Host: shop", b"Host : shop"),
        GET.replace(b"Host", b"Ho st"),
        GET.replace(b"shop", b"sh\0op"),
        GET.replace(b"HTTP/1.1", b"HTTP/1.2"),
        POST.replace(b"5\r", b"+5\r"),
        POST.replace(b"Host: shop", b"Content-Length: 5"),
        POST.replace(b"Host: shop", b"Transfer-Encoding: chunked"),
        CHUNKED.replace(b"chunked", b"chunked, chunked"),
        CHUNKED.replace(b"5;", b"0x5;"),
        CHUNKED.replace(b"hello", b"hell"),
    ],
)
def test_the_reader_guesses_nothing(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_requests(data)


def test_the_reader_knows_which_answers_have_bodies() -> None:
    head_only = OK.removesuffix(b"ok")
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    stream = read_responses(
        head_only + interim + OK + OK.replace(b"200", b"304")[:-2], [b"HEAD", b"GET", b"GET"], False
    )
    assert [message.body for message in stream.messages] == [b"", b"", b"ok", b""]
    assert [message.status for message in stream.final] == [200, 200, 304]
    with pytest.raises(Malformed, match="nobody asked for"):
        read_responses(OK + OK, [b"GET"], False)


def test_a_body_until_close_is_complete_only_then() -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\nhello"
    assert not read_responses(data, [b"GET"], False).messages[0].complete
    assert read_responses(data, [b"GET"], True).messages[0].complete


# -- the panel


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("data", [GET, POST, CHUNKED])
def test_a_member_sees_where_a_message_ends(member: str, data: bytes) -> None:
    reading = MEMBERS[member](Question(data + GET, None, len(data)))
    assert reading.size == len(data)
    assert reading.body == (b"" if data is GET else b"hello")
    for end in range(len(data)):
        assert MEMBERS[member](Question(data[:end], None, len(data))).size is None


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_that_sees_another_end_is_told_from_one_that_refuses(member: str) -> None:
    claimed = read_message(POST, 0, None)
    assert claimed is not None
    found = disagreements([claimed], POST.replace(b"5\r\n\r\nhello", b"3\r\n\r\nhello"), None)
    assert found[member].framing
    with pytest.raises(Refusal):
        MEMBERS[member](Question(GET.replace(b"GET / HTTP/1.1", b"GET / HTTP/x.y"), None, len(GET)))


def test_request_smuggling_would_be_seen() -> None:
    """Two framings at once: whoever reads one message here, the panel does not agree on it."""
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
    claimed = read_message(data.replace(b"Transfer-Encoding", b"X"), 0, None)
    assert claimed is not None
    assert disagreements([claimed], data, None) != {}


# -- the judge


def _case(case_id: str) -> Case:
    return next(case for case in CASES if case.id == case_id)


def test_a_good_run_has_no_complaints_and_every_change_to_it_has_one() -> None:
    case = _case("content-length/plain")
    run = Run(case, "inbound", WHOLE)
    good = MemoryLane("inbound").run(run)
    assert judge(run, good, b"") == []
    changes: tuple[dict[str, Any], ...] = (
        {"client": b""},
        {"client": good.client.replace(b"answer 1", b"answer 2")},
        {"client": good.client.removesuffix(b"probe")},
        {"client": good.client + OK},
        {"client_ended": True},
        {"arrived": []},
        {"arrived": good.arrived * 2},
        {"arrived": read_requests(case.client.replace(b"hello", b"HELLO")).complete},
        {"arrived": read_requests(case.client.replace(b"Host", b"host")).complete},
        {"stuck": ["something"]},
        {"upstream": [Upstream(case.client[:-1], "", True, False)]},
        {"upstream": [Upstream(case.client, "why", True, False)]},
    )
    for change in changes:
        assert judge(run, replace(good, **change), b"") != [], change


def test_an_unfinished_message_on_an_open_connection_is_told() -> None:
    case = _case("chunked/size-plus")
    run = Run(case, "inbound", BYTEWISE)
    good = MemoryLane("inbound").run(run)
    assert judge(run, good, b"") == []
    assert good.upstream
    open_ones = [Upstream(upstream.received, "", False, False) for upstream in good.upstream]
    left_open = replace(good, upstream=open_ones)
    assert any("unfinished message" in complaint for complaint in judge(run, left_open, b""))
    assert any("unfinished message" in complaint for complaint in upstream_complaints(left_open))


def test_answers_in_the_wrong_order_are_told() -> None:
    seen = MemoryLane("inbound").converse([GET + GET], None)
    assert client_complaints(seen) == []
    one, two = b"answer 1", b"answer 2"
    seen.client = seen.client.replace(one, b"answer x").replace(two, one).replace(b"answer x", two)
    assert client_complaints(seen) == ["request 1 got the answer b'answer 2'", "request 2 got the answer b'answer 1'"]


# -- deliveries


def test_deliveries_cut_and_lose_nothing() -> None:
    for delivery in (WHOLE, PIPED, BYTEWISE, Delivery("split", 7)):
        assert b"".join(delivery.cut(POST)) == POST
    assert len(BYTEWISE.cut(POST)) == len(POST)
    assert [len(piece) for piece in Delivery("split", 7).cut(POST)] == [7, len(POST) - 7]


def test_places_lie_around_line_ends_and_inside() -> None:
    everywhere = places(GET, 1000)
    assert {14, 15, 16} <= set(everywhere)
    assert all(0 < place < len(GET) for place in everywhere)
    assert len(places(GET, 3)) == 3


# -- a proxy without any check


@pytest.fixture(scope="module")
def relay() -> Iterator[Rig]:
    with rig(Relay(), 8) as made:
        yield made


def test_a_blind_relay_passes_what_is_good(relay: Rig) -> None:
    cases = [case for case in CASES if case.verdict == _case("content-length/plain").verdict]
    good = [case for case in cases if case.kind is Kind.REQUEST and case.stays and not case.origin]
    assert len(good) > 80
    for result in relay.run([Run(case, "inbound", delivery) for case in good for delivery in (WHOLE, PIPED)]):
        assert judge(result.run, result.seen, result.authority) == [], str(result.run)


def test_a_blind_relay_is_guilty_of_everything_that_must_be_refused(relay: Rig) -> None:
    bad = [
        case
        for case in CASES
        if case.verdict.forward is Forward.NOTHING and case.verdict.end is End.REFUSE and not case.half_close
        if case.kind is not Kind.RESPONSE and "inbound" in case.sides and b"\r\n\r\n" in case.client
    ]
    assert len(bad) > 250
    innocent = []
    for result in relay.watch([Run(case, "inbound", PIPED) for case in bad]):
        complaints = judge(result.run, result.seen, result.authority)
        if all(complaint.startswith(WAITED) for complaint in complaints):  # to be slow is no crime
            innocent.append(str(result.run))
    assert innocent == []
