"""Which key a trace carries, for how long, and who served its calls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.routing.correlation import MAX_SERVED, Correlation, Served


class TestRecall:
    def test_nothing_is_known(self) -> None:
        correlation = Correlation()
        assert not correlation.known
        assert correlation.recall([b"1"]) == ""
        assert correlation.recall([]) == ""
        assert len(correlation) == 0
        assert repr(correlation) == "<Correlation 0 traces, 0 in flight>"

    def test_every_id_of_a_request_leads_to_its_key(self) -> None:
        correlation = Correlation()
        correlation.enter([b"1", b"=a"], "agent-42")
        assert correlation.known
        for ids in ([b"1"], [b"=a"], [b"unknown", b"=a"], [b"1", b"=a"]):
            assert correlation.recall(ids) == "agent-42"
        assert correlation.recall([b"2", b"=b"]) == ""
        assert repr(correlation) == "<Correlation 2 traces, 1 in flight>"

    def test_the_first_known_id_decides(self) -> None:
        correlation = Correlation()
        correlation.enter([b"1"], "one")
        correlation.enter([b"2"], "two")
        assert correlation.recall([b"2", b"1"]) == "two"

    def test_the_last_request_of_a_trace_decides(self) -> None:
        correlation = Correlation()
        correlation.enter([b"1"], "one")
        correlation.rotate()
        correlation.enter([b"1"], "two")
        assert correlation.recall([b"1"]) == "two"

    def test_the_key_outlives_the_request(self) -> None:
        correlation = Correlation()
        correlation.leave([b"1"], correlation.enter([b"1"], "a"))
        assert correlation.recall([b"1"]) == "a"

    def test_a_trace_is_known_for_one_to_two_rotations(self) -> None:
        correlation = Correlation()
        correlation.enter([b"1"], "a")
        correlation.rotate()
        correlation.enter([b"2"], "b")
        assert correlation.recall([b"1"]) == "a"
        assert len(correlation) == 2
        correlation.rotate()
        assert correlation.recall([b"1"]) == ""
        assert correlation.recall([b"2"]) == "b"
        assert repr(correlation) == "<Correlation 1 traces, 2 in flight>"
        correlation.rotate()
        assert not correlation.known
        assert correlation.dropped == 0

    def test_memory_is_bounded_and_the_oldest_go_first(self) -> None:
        correlation = Correlation(limit=10)
        for number in range(100):
            correlation.leave([b"%d" % number], correlation.enter([b"%d" % number], "a"))
            assert len(correlation) <= 22
        assert correlation.recall([b"99"]) == "a"
        assert correlation.recall([b"89"]) == "a", "the last `limit` at least"
        assert correlation.recall([b"50"]) == ""
        assert correlation.dropped + len(correlation) == 100

    def test_a_rotation_when_full_loses_nothing_that_was_just_remembered(self) -> None:
        correlation = Correlation(limit=1)
        correlation.enter([b"1", b"2", b"3"], "a")
        assert [correlation.recall([ident]) for ident in (b"1", b"2", b"3")] == ["a", "a", "a"]
        assert correlation.dropped == 0


class TestServed:
    def test_is_found_while_a_request_is_in_flight(self) -> None:
        correlation = Correlation()
        served = correlation.enter([b"1", b"=a"], "k")
        assert correlation.keyed_in_flight == 1
        for ids in ([b"1"], [b"=a"], [b"2", b"1"]):
            assert correlation.served(ids) is served
        assert correlation.served([b"2"]) is None
        assert correlation.served([]) is None
        correlation.leave([b"1", b"=a"], served)
        assert correlation.served([b"1", b"=a"]) is None
        assert correlation.keyed_in_flight == 0

    def test_a_rotation_does_not_end_a_request(self) -> None:
        correlation = Correlation()
        served = correlation.enter([b"1"], "k")
        correlation.rotate()
        correlation.rotate()
        assert correlation.served([b"1"]) is served
        correlation.leave([b"1"], served)
        assert correlation.served([b"1"]) is None

    def test_requests_of_one_trace_that_overlap_share_it(self) -> None:
        correlation = Correlation()
        first = correlation.enter([b"1"], "k")
        assert correlation.enter([b"1"], "k") is first
        assert correlation.keyed_in_flight == 2
        correlation.leave([b"1"], first)
        assert correlation.served([b"1"]) is first
        correlation.leave([b"1"], first)
        assert correlation.served([b"1"]) is None
        assert correlation.enter([b"1"], "k") is not first

    @pytest.mark.parametrize("order", ["first", "second"])
    def test_nothing_is_left_of_requests_that_shared_a_trace(self, order: str) -> None:
        """Each has a request id of its own, so the one that leaves last knows only some of the ids."""
        correlation = Correlation()
        requests = [[b"1", b"=a"], [b"1", b"=b"]]
        served = [correlation.enter(ids, "k") for ids in requests]
        assert served[0] is served[1]
        for index in (0, 1) if order == "first" else (1, 0):
            correlation.leave(requests[index], served[index])
            assert correlation.served([requests[index][1]]) is None
        assert correlation.served([b"1", b"=a", b"=b"]) is None
        assert not served[0].shared

    def test_a_trace_that_is_never_idle_does_not_grow(self) -> None:
        """A load test under one `traceparent`, with request ids of its own: one request is always in flight."""
        correlation = Correlation()
        before = [b"1", b"=0"]
        served = correlation.enter(before, "k")
        for number in range(1, 200):
            ids = [b"1", b"=%d" % number]
            assert correlation.enter(ids, "k") is served
            correlation.leave(before, served)
            before = ids
        assert not served.shared
        assert correlation.served([b"=198"]) is None
        assert correlation.served([b"=199"]) is served

    def test_a_request_that_joins_two_traces(self) -> None:
        correlation = Correlation()
        one, two = correlation.enter([b"1"], "k"), correlation.enter([b"2"], "k")
        both = correlation.enter([b"1", b"2"], "k")
        assert both is one
        assert correlation.served([b"2"]) is both
        correlation.leave([b"2"], two)
        assert correlation.served([b"2"]) is both, "the other one is still in flight"
        correlation.leave([b"1", b"2"], both)
        assert correlation.served([b"1"]) is one
        correlation.leave([b"1"], one)
        assert correlation.served([b"1", b"2"]) is None

    def test_an_id_that_is_named_twice(self) -> None:
        correlation = Correlation()
        for _ in range(2):
            served = correlation.enter([b"=a", b"=a"], "k")
        for _ in range(2):
            correlation.leave([b"=a", b"=a"], served)
        assert correlation.served([b"=a"]) is None

    def test_without_ids(self) -> None:
        correlation = Correlation()
        correlation.leave([], correlation.enter([], "k"))
        assert not correlation.known

    def test_items_are_kept_once_in_order_and_bounded(self) -> None:
        served = Served()
        for value in (b"b", b"a", b"b"):
            served.add(value)
        assert list(served.items) == [b"b", b"a"]
        for number in range(2 * MAX_SERVED):
            served.add(b"%d" % number)
        assert len(served.items) == MAX_SERVED
        assert list(served.items[:3]) == [b"b", b"a", b"0"]


IDS = (b"1", b"2", b"=a", b"=b", b"=c")


@given(
    steps=st.lists(
        st.tuples(st.lists(st.sampled_from(IDS), max_size=3, unique=True), st.integers(0, 5)),
        max_size=30,
    ),
    limit=st.integers(1, 4),
)
@settings(deadline=None, max_examples=50)
def test_any_order_of_requests(steps: list[tuple[list[bytes], int]], limit: int) -> None:
    """Requests come (with their ids) and go (by number); whatever happens, the last one leaves nothing behind."""
    correlation = Correlation(limit)
    in_flight: list[tuple[list[bytes], Served]] = []
    for ids, number in steps:
        if number < len(in_flight):
            correlation.leave(*in_flight.pop(number))
        else:
            served = correlation.enter(ids, "k")
            in_flight.append((ids, served))
            assert all(correlation.served([ident]) is served for ident in ids)
            assert all(correlation.recall([ident]) == "k" for ident in ids)
        assert correlation.keyed_in_flight == len(in_flight)
        assert len(correlation) <= 2 * (limit + 3)
        named = {ident for ids, _ in in_flight for ident in ids}
        assert not [ident for ident in IDS if ident not in named and correlation.served([ident])]
    for ids, served in in_flight:
        correlation.leave(ids, served)
        correlation.rotate()
    correlation.rotate()
    correlation.rotate()
    assert repr(correlation) == "<Correlation 0 traces, 0 in flight>"
    assert correlation.served(IDS) is None
