"""What the feed tells: readiness, age, and giving up exactly once."""

from __future__ import annotations

from proxy.feed.holder import FeedState
from proxy.routing.table import RouteTable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_age_is_the_time_since_the_source_last_confirmed() -> None:
    clock = Clock()
    state = FeedState("none", RouteTable("shop/users"), clock)
    assert state.age() is None
    assert repr(state) == "<FeedState none applied=0 never confirmed>"
    state.confirm()
    clock.now += 7.5
    assert state.age() == 7.5
    assert repr(state) == "<FeedState none applied=0 confirmed 7.5s ago>"


def test_ready_with_the_first_table() -> None:
    table = RouteTable("shop/users")
    state = FeedState("none", table)
    assert not state.ready
    table.replace({})
    assert state.ready


def test_giving_up_is_told_once_and_makes_ready() -> None:
    told = []
    state = FeedState("none", RouteTable("shop/users"))
    state.watchers.append(lambda: told.append(state.ready))
    state.give_up()
    state.give_up()
    assert told == [True]
    assert state.given_up
    assert repr(state).endswith("given up>")


def test_nobody_gives_up_a_feed_that_has_delivered() -> None:
    table = RouteTable("shop/users")
    table.replace({})
    state = FeedState("none", table)
    state.watchers.append(lambda: (_ for _ in ()).throw(AssertionError("told")))
    state.give_up()
    assert not state.given_up
