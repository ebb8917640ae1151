"""Once per pair, and never without bounds."""

from __future__ import annotations

import logging

import pytest

from proxy.telemetry.notices import PAIRS, PERIOD_SECONDS, Notices, OncePerPair


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "skycap.notice")


def test_the_loss_of_a_key_is_said_once_per_pair(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices("shop/users", clock)
    for _ in range(100):
        notices.key_lost("payments", "POST", "/charge?card=4711", (), False)
        notices.key_lost("orders", "GET", "/" + "x" * 500, (), False)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "key may be lost at shop/users calling payments: POST /charge had no trace header"
    assert len(lines) == 2
    assert len(lines[1]) < 220


@pytest.mark.parametrize(
    ("fields", "disputed", "why"),
    [
        ([], False, "had no trace header"),
        (["traceparent", "b3"], False, "belongs to no request that is known, by its traceparent, b3"),
        (["x-request-id"], True, "shares its trace (x-request-id) with requests that have another key or none"),
    ],
)
def test_the_loss_of_a_key_is_said_with_the_names_of_the_ids(
    clock: Clock, caplog: pytest.LogCaptureFixture, fields: list[str], disputed: bool, why: str
) -> None:
    Notices("shop/users", clock).key_lost("payments", "GET", "/", fields, disputed)
    (record,) = caplog.records
    assert record.getMessage() == f"key may be lost at shop/users calling payments: GET / {why}"


def test_a_conflict_is_said_once_per_pair_of_carriers(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices("shop/users", clock)
    for number in range(100):
        notices.key_conflict("baggage", f"a{number}", "tracestate", "b")
    notices.key_conflict("baggage", "a", "x-key", "c")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "carriers disagree about the routing key at shop/users: baggage says a0, tracestate says b; baggage wins",
        "carriers disagree about the routing key at shop/users: baggage says a, x-key says c; baggage wins",
    ]


def test_again_in_the_next_period_with_what_was_left_out(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices("shop/users", clock)
    for _ in range(3):
        notices.key_lost("payments", "GET", "/", (), False)
    clock.now += PERIOD_SECONDS
    notices.key_lost("payments", "GET", "/", (), False)
    assert [record.getMessage() for record in caplog.records][1:] == [
        "2 more notices of the last 60 minutes were left out",
        "key may be lost at shop/users calling payments: GET / had no trace header",
    ]


def test_a_quiet_period_says_nothing_at_its_end(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    once = OncePerPair(clock=clock)
    assert once.first("a", "b")
    clock.now += PERIOD_SECONDS
    assert once.first("a", "b")
    assert caplog.records == []


def test_made_up_pairs_fill_neither_memory_nor_log(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices("shop/users", clock)
    for number in range(10_000):
        notices.key_lost(f"host-{number}", "GET", "/", (), False)
    assert len(caplog.records) == PAIRS
    assert repr(notices._losses) == f"<OncePerPair {PAIRS}/{PAIRS} left_out={10_000 - PAIRS}>"
