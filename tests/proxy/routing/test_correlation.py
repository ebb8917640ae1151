"""Whose call it is: the rules of `proxy.routing.correlation`, one class for each question that they answer."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.names import ROUTING_KEY
from proxy.routing import correlation as module
from proxy.routing.correlation import (
    DISPUTED,
    GENERATION_SECONDS,
    GENERATIONS,
    MAX_REMEMBERED,
    TRACE_SECONDS,
    UNKEYED,
    UNKNOWN,
    Correlation,
    Flight,
)
from proxy.routing.trace import KEPT_BYTES, MAX_IDS, names

MARK = b"5ca1ab1e"
LONG = b"3" * 24 + b"00000001"
OTHER = b"4" * 16 + LONG[16:]
"""Another trace with the same lower half."""
SHORT = LONG[16:]
W3C_EXAMPLE = b"4bf92f3577b34da6a3ce929d0e0e4736"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(limit: int = MAX_REMEMBERED, clock: Clock | None = None) -> Correlation:
    return Correlation(clock or Clock(), MARK, limit)


class Request:
    """A request that entered, and leaves once."""

    def __init__(self, correlation: Correlation, key: str, *ids: bytes) -> None:
        self.correlation = correlation
        self.names = names(ids)
        self.flight = correlation.enter(self.names, key)

    def leave(self) -> None:
        self.correlation.leave(self.names, self.flight)


def age(correlation: Correlation) -> None:
    """TRACE_SECONDS pass, and no more."""
    for _ in range(GENERATIONS - 1):
        correlation.rotate()


def test_nothing_is_known() -> None:
    correlation = make()
    assert not correlation.awake
    assert correlation.recall([b"=1"]) == correlation.recall([]) == UNKNOWN
    assert correlation.flight([b"=1"], "k") is None
    assert len(correlation) == 0
    assert repr(correlation) == "<Correlation 0 remembered, 0 in flight>"


def test_what_stands_in_place_of_a_key_is_none() -> None:
    for verdict in (UNKNOWN, UNKEYED, DISPUTED):
        assert not ROUTING_KEY.fullmatch(verdict)


class TestWhoseItIs:
    def test_every_id_of_a_request_in_flight_leads_to_its_key(self) -> None:
        correlation = make()
        request = Request(correlation, "agent-42", LONG, b"=a")
        assert correlation.awake
        for ids in ([LONG], [b"=a"], [b"=unknown", b"=a"], [SHORT]):
            assert correlation.recall(ids) == "agent-42"
            assert correlation.flight(ids, "agent-42") is request.flight
        assert correlation.recall([b"=b"]) == UNKNOWN
        assert repr(correlation) == "<Correlation 0 remembered, 3 in flight>"
        assert repr(request.flight) == "<Flight agent-42>"

    def test_what_is_in_flight_is_never_forgotten(self) -> None:
        """A WebSocket of an hour, beside a flood of other people's requests."""
        correlation = make(limit=10)
        request = Request(correlation, "agent-42", LONG)
        for number in range(1000):
            Request(correlation, "evil", *(b"=%d-%d" % (number, n) for n in range(MAX_IDS))).leave()
        age(correlation)
        age(correlation)
        assert correlation.recall([LONG]) == "agent-42"
        request.leave()
        assert correlation.recall([LONG]) == "agent-42", "and from then on it is remembered"

    def test_an_id_is_remembered_from_the_end_of_its_request_on(self) -> None:
        clock = Clock()
        correlation = make(clock=clock)
        request = Request(correlation, "a", b"=1")
        clock.now += 1000
        correlation.tick()
        request.leave()
        for _ in range(int(TRACE_SECONDS) - 1):
            clock.now += 1
            correlation.tick()
            assert correlation.recall([b"=1"]) == "a"
        assert correlation.flight([b"=1"], "a") is None
        for _ in range(GENERATIONS):
            clock.now += GENERATION_SECONDS
            correlation.tick()
        assert correlation.recall([b"=1"]) == UNKNOWN
        assert not correlation.awake
        assert correlation.dropped == 0

    def test_what_unkeyed_requests_carried_is_not_remembered(self) -> None:
        correlation = make()
        request = Request(correlation, UNKEYED, LONG)
        assert correlation.recall([LONG]) == UNKEYED
        assert correlation.keyed_in_flight == 0
        request.leave()
        assert correlation.recall([LONG]) == UNKNOWN
        assert len(correlation) == 0

    def test_without_ids(self) -> None:
        correlation = make()
        request = Request(correlation, "k")
        assert correlation.keyed_in_flight == 1
        assert correlation.awake
        request.leave()
        assert correlation.keyed_in_flight == 0
        correlation.rotate()
        assert not correlation.awake

    @pytest.mark.parametrize("ident", [W3C_EXAMPLE, b"0af7651916cd43dd8448eb211c80319c", W3C_EXAMPLE[16:]])
    def test_what_a_specification_prints_belongs_to_who_is_in_flight_with_it(self, ident: bytes) -> None:
        correlation = make()
        one = Request(correlation, "one", ident)
        assert correlation.recall([ident]) == "one"
        one.leave()
        assert correlation.recall([ident]) == UNKNOWN
        both = [Request(correlation, "two", ident) for _ in range(2)]
        assert correlation.recall([ident]) == "two", "whoever copied it before has no part in it"
        for request in both:
            request.leave()
        assert correlation.recall([ident]) == UNKNOWN


class TestWhoMayClaim:
    @pytest.mark.parametrize("first", ["one", UNKEYED])
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
    def test_an_id_of_two_names_none(self, first: str, order: tuple[int, int]) -> None:
        """Neither while one of them is in flight, nor for a late call, whoever came and went first."""
        correlation = make()
        requests = [Request(correlation, first, b"=1"), Request(correlation, "two", b"=1")]
        assert correlation.disputes == 1
        for index in order:
            assert correlation.recall([b"=1"]) == DISPUTED
            assert correlation.flight([b"=1"], "two") is correlation.flight([b"=1"], first) is None
            requests[index].leave()
        age(correlation)
        assert correlation.recall([b"=1"]) == DISPUTED
        correlation.rotate()
        assert correlation.recall([b"=1"]) == UNKNOWN
        assert correlation.disputes == 1

    @pytest.mark.parametrize("second", ["two", UNKEYED])
    def test_an_id_that_is_remembered_is_not_given_away(self, second: str) -> None:
        """An unkeyed request masks it, and so do others; the late calls of either go nowhere else."""
        correlation = make()
        Request(correlation, "one", b"=1").leave()
        request = Request(correlation, second, b"=1")
        assert correlation.recall([b"=1"]) == DISPUTED
        request.leave()
        age(correlation)
        assert correlation.recall([b"=1"]) == DISPUTED
        assert correlation.disputes == 1

    def test_a_dispute_that_is_remembered_goes_on(self) -> None:
        correlation = make()
        for key in ("one", "two"):
            Request(correlation, key, b"=1").leave()
        request = Request(correlation, "one", b"=1")
        assert correlation.recall([b"=1"]) == DISPUTED
        request.leave()
        assert correlation.recall([b"=1"]) == DISPUTED
        assert correlation.disputes == 1, "told once"

    def test_the_other_ids_of_a_request_are_not_concerned(self) -> None:
        correlation = make()
        Request(correlation, "one", LONG, b"=1")
        Request(correlation, UNKEYED, b"=1")
        assert correlation.recall([b"=1", LONG]) == correlation.recall([LONG, b"=1"]) == "one"

    def test_the_same_key_again_is_no_dispute(self) -> None:
        correlation = make()
        Request(correlation, "one", b"=1").leave()
        requests = [Request(correlation, "one", b"=1") for _ in range(3)]
        assert correlation.recall([b"=1"]) == "one"
        for request in requests:
            request.leave()
        assert correlation.recall([b"=1"]) == "one"
        assert correlation.disputes == 0

    def test_many_unkeyed_requests_with_one_id(self) -> None:
        correlation = make()
        requests = [Request(correlation, UNKEYED, b"=health") for _ in range(3)]
        assert correlation.recall([b"=health"]) == UNKEYED
        for request in requests:
            request.leave()
        assert correlation.recall([b"=health"]) == UNKNOWN
        assert repr(correlation) == "<Correlation 0 remembered, 0 in flight>"

    def test_128_bits_are_compared_where_both_have_them(self) -> None:
        correlation = make()
        Request(correlation, "one", LONG)
        Request(correlation, "two", OTHER)
        assert correlation.recall([LONG]) == "one"
        assert correlation.recall([OTHER]) == "two"
        assert correlation.recall([SHORT]) == DISPUTED, "and 64 of them are not enough then"
        assert correlation.recall([b"5" * 16 + SHORT]) == UNKNOWN

    def test_64_bits_decide_where_one_has_no_more(self) -> None:
        correlation = make()
        Request(correlation, "one", SHORT)
        assert correlation.recall([LONG]) == correlation.recall([OTHER]) == correlation.recall([SHORT]) == "one"
        Request(correlation, "two", LONG)
        assert correlation.recall([LONG]) == "two", "all of its bits"
        assert correlation.recall([OTHER]) == "one"
        assert correlation.recall([SHORT]) == DISPUTED
        Request(correlation, UNKEYED, b"7" * 32)
        Request(correlation, "two", b"7" * 16)
        assert correlation.recall([b"7" * 32]) == UNKEYED, "a guess of its lower half wins nothing"

    def test_what_is_remembered_counts_as_much(self) -> None:
        correlation = make()
        Request(correlation, "one", LONG).leave()
        Request(correlation, "two", OTHER).leave()
        assert [correlation.recall([ident]) for ident in (LONG, OTHER, SHORT)] == ["one", "two", DISPUTED]


class TestWhichOneACallGoesBy:
    def test_an_id_that_is_known_goes_before_others(self) -> None:
        correlation = make()
        Request(correlation, "one", b"=1", b"=a")
        Request(correlation, "two", b"=1")
        assert correlation.recall([b"=unknown", b"=1", b"=a"]) == "one"
        assert correlation.recall([b"=unknown", b"=1"]) == DISPUTED

    @pytest.mark.parametrize("second", ["two", UNKEYED])
    def test_ids_that_do_not_agree_name_none(self, second: str) -> None:
        correlation = make()
        Request(correlation, "one", b"=1")
        Request(correlation, second, b"=2")
        for ids in ([b"=1", b"=2"], [b"=2", b"=1"], [b"=1", b"=2", b"=1"]):
            assert correlation.recall(ids) == DISPUTED

    @pytest.mark.parametrize("made", [MARK + LONG[8:], b"=" + MARK + b"-0000"])
    def test_what_we_made_goes_before_what_a_client_chose(self, made: bytes) -> None:
        correlation = make()
        Request(correlation, "one", b"=1")
        Request(correlation, "two", made)
        assert correlation.recall([b"=1", made]) == correlation.recall([made, b"=1"]) == "two"
        Request(correlation, "three", made)
        assert correlation.recall([made, b"=1"]) == "one", "when it is not disputed itself"


class TestServed:
    def test_is_collected_while_a_request_is_in_flight(self) -> None:
        correlation = make()
        request = Request(correlation, "k", LONG, b"=a")
        for ids in ([LONG], [b"=a"], [SHORT], [b"=2", b"=a"]):
            assert correlation.flight(ids, "k") is request.flight
        assert correlation.flight([LONG], "another") is None
        assert request.flight.calls == b""
        request.flight.collect(b"a/b;baseline")
        request.flight.collect(b"c/d;baseline, a/b;baseline")
        assert request.flight.calls == b"a/b;baseline, c/d;baseline"
        request.leave()
        assert correlation.flight([LONG, b"=a"], "k") is None

    def collect(self, correlation: Correlation, ident: bytes, item: bytes) -> None:
        flight = correlation.flight([ident], "k")
        assert flight is not None
        flight.collect(item)

    def test_requests_of_one_trace_that_overlap_share_what_cannot_be_told_apart(self) -> None:
        correlation = make()
        one = Request(correlation, "k", LONG, b"=a")
        self.collect(correlation, LONG, b"before/second")
        two = Request(correlation, "k", LONG, b"=b")
        self.collect(correlation, LONG, b"of/either")
        self.collect(correlation, b"=a", b"of/one")
        self.collect(correlation, b"=b", b"of/two")
        assert one.flight.calls == b"before/second, of/one, of/either"
        assert two.flight.calls == b"of/two, of/either"
        one.leave()
        self.collect(correlation, LONG, b"after/first")
        assert two.flight.calls == b"of/two, of/either, after/first"
        two.leave()
        assert correlation.flight([LONG, b"=a", b"=b"], "k") is None

    def test_nothing_of_another_key_is_collected(self) -> None:
        correlation = make()
        mine = [Request(correlation, "k", b"=1"), Request(correlation, "k", b"=1")]
        self.collect(correlation, b"=1", b"mine/only")
        theirs = Request(correlation, "other", b"=1")
        late = Request(correlation, "k", b"=1")
        assert correlation.flight([b"=1"], "k") is correlation.flight([b"=1"], "other") is None
        assert [request.flight.calls for request in (*mine, theirs, late)] == [b"mine/only", b"mine/only", b"", b""]

    def test_a_trace_that_is_never_idle_does_not_grow(self) -> None:
        """A load test under one `traceparent`, with request ids of its own: one request is always in flight."""
        correlation = make()
        before = Request(correlation, "k", LONG, b"=0")
        for number in range(1, 200):
            request = Request(correlation, "k", LONG, b"=%d" % number)
            before.leave()
            before = request
            self.collect(correlation, LONG, b"a/b%d;baseline" % number)
        assert len(before.flight.shared) == 2, "its 128 bits and its 64"
        assert len(before.flight.calls) < 4096
        before.leave()
        assert repr(correlation).endswith(" 0 in flight>")

    def test_an_id_that_is_named_twice(self) -> None:
        correlation = make()
        flight = correlation.enter([b"=a", b"=a"], "k")
        correlation.leave([b"=a", b"=a"], flight)
        assert repr(correlation) == "<Correlation 1 remembered, 0 in flight>"


class TestTime:
    def test_the_promise_is_kept_under_1000_keyed_requests_per_second(self) -> None:
        """With a trace and a request id of its own for each; a second stands for a hundred of them."""
        clock = Clock()
        correlation = make(limit=MAX_REMEMBERED // 100, clock=clock)
        ends: dict[bytes, float] = {}
        for number in range(10 * 400):
            clock.now += 0.1
            ident = b"%032x" % (number + 2**100)
            Request(correlation, "k", ident, b"=%d" % number).leave()
            ends[ident] = clock.now
            correlation.tick()
        for ident, end in ends.items():
            if clock.now - end < TRACE_SECONDS:
                assert correlation.recall([ident]) == "k"
        assert correlation.lifetime >= TRACE_SECONDS
        assert correlation.dropped == 0

    def test_how_long_ids_really_live_is_told(self) -> None:
        clock = Clock()
        correlation = make(limit=10, clock=clock)
        assert correlation.lifetime == TRACE_SECONDS
        for number in range(66):
            clock.now += 1
            Request(correlation, "k", b"=%d" % number).leave()
        assert correlation.lifetime == 22, "two generations of eleven"
        assert correlation.dropped == 44
        assert correlation.recall([b"=65"]) == correlation.recall([b"=44"]) == "k"
        assert correlation.recall([b"=21"]) == UNKNOWN
        for _ in range(GENERATIONS):
            clock.now += GENERATION_SECONDS
            correlation.rotate()
        assert correlation.lifetime == TRACE_SECONDS
        correlation.rotate()
        assert correlation.lifetime == TRACE_SECONDS, "nothing was forgotten since"

    def test_forgotten_ids_are_let_go_piece_by_piece(self) -> None:
        """180,000 at once are a pause of 10 ms."""
        correlation = make()
        assert not correlation.release(10)
        flights = [Request(correlation, "k", b"=%d" % number) for number in range(25)]
        for request in flights:
            request.leave()
        for _ in range(GENERATIONS):
            correlation.rotate()
        assert [correlation.release(10) for _ in range(4)] == [True, True, False, False]

    def test_what_is_let_go_is_bounded_as_well(self) -> None:
        correlation = make(limit=4)
        for number in range(1000):
            Request(correlation, "k", b"=%d" % number).leave()
        left = 0
        while correlation.release(1):
            left += 1
        assert left < 2 * 5
        assert len(correlation) <= GENERATIONS * 5

    def test_memory_is_what_is_written_beside_the_bound(self) -> None:
        correlation = make()
        text = re.search(r"take (\d+) to (\d+) bytes", _source())
        assert text is not None
        size = 12_000
        for number in range(size):
            Request(correlation, "k", b"=%064d" % number).leave()
        young = correlation._young
        assert len(young) == size
        weight = (sys.getsizeof(young) + sum(map(sys.getsizeof, young))) / size
        assert all(len(name) <= KEPT_BYTES + 1 for name in young)
        assert weight <= int(text[2])


def _source() -> str:
    assert module.__file__ is not None
    return " ".join(Path(module.__file__).with_name("correlation.py").read_text("utf-8").split())


IDS = (LONG, OTHER, SHORT, b"=a", b"=b")


@given(
    steps=st.lists(
        st.tuples(
            st.lists(st.sampled_from(IDS), max_size=3, unique=True),
            st.sampled_from(["one", "two", UNKEYED]),
            st.integers(0, 5),
        ),
        max_size=30,
    ),
    limit=st.integers(1, 4),
)
@settings(deadline=None, max_examples=100)
def test_any_order_of_requests(steps: list[tuple[list[bytes], str, int]], limit: int) -> None:
    """Requests come (with their ids) and go (by number). Nobody gets the key of somebody else, and nothing is left."""
    correlation = make(limit)
    in_flight: list[tuple[list[bytes], Request]] = []
    for ids, key, number in steps:
        if number < len(in_flight):
            in_flight.pop(number)[1].leave()
        else:
            in_flight.append((ids, Request(correlation, key, *ids)))
        assert correlation.keyed_in_flight == sum(request.flight.key != UNKEYED for _, request in in_flight)
        for ident in IDS:
            holders = {request.flight.key for ids, request in in_flight if ident in ids}
            verdict = correlation.recall([ident])
            if len(holders) > 1:
                assert verdict == DISPUTED
            elif holders and len(ident) == 32:
                assert verdict in {*holders, DISPUTED}, "in flight before anything that is remembered"
    for _, request in in_flight:
        request.leave()
    for _ in range(GENERATIONS):
        correlation.rotate()
    assert repr(correlation) == "<Correlation 0 remembered, 0 in flight>"
    assert not correlation.awake


def test_a_flight_is_small() -> None:
    """One per request in flight."""
    assert sys.getsizeof(Flight("k", 0)) <= 88
