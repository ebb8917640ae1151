"""The timer wheel: late by up to a tick, never early; postponing costs a store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import cast

import pytest

from proxy.exchange.ports import FAR
from proxy.exchange.settings import NO_LIMIT, TICK_SECONDS
from proxy.net.timers import SLOTS, STALL_TICKS, TimerWheel
from tests.proxy.net.rig import on_uvloop


class Item:
    """Something with a deadline, and when it was told."""

    def __init__(self, wheel: TimerWheel) -> None:
        self.wheel = wheel
        self.due = 0
        self.slot = FAR
        self.told: list[int] = []

    def expired(self) -> None:
        self.told.append(self.wheel.now)

    def in_ticks(self, ticks: int) -> Item:
        """As every owner sets a deadline."""
        self.due = self.wheel.now + ticks
        if self.due < self.slot:
            self.wheel.arm(self)
        return self


def turn(wheel: TimerWheel, ticks: int) -> None:
    for _ in range(ticks):
        wheel.advance()


@pytest.fixture(params=[0, 1, SLOTS - 1, 5 * SLOTS + 17])
def wheel(request: pytest.FixtureRequest) -> TimerWheel:
    """A wheel that has turned for a while."""
    wheel = TimerWheel()
    turn(wheel, request.param)
    return wheel


@pytest.mark.parametrize("ticks", [1, 2, SLOTS - 2, SLOTS - 1, SLOTS, SLOTS + 1, 3 * SLOTS, 3 * SLOTS + 5])
def test_a_deadline_is_met_to_the_tick(wheel: TimerWheel, ticks: int) -> None:
    start = wheel.now
    item = Item(wheel).in_ticks(ticks)
    turn(wheel, ticks + 3 * SLOTS)
    assert item.told == [start + ticks]
    assert item.due == 0
    assert repr(wheel).endswith(" items=0>")


def test_a_deadline_of_this_very_tick_is_met_with_the_next(wheel: TimerWheel) -> None:
    """Its slot may have been looked through already."""
    turn(wheel, 1)
    item = Item(wheel).in_ticks(0)
    turn(wheel, 1)
    assert item.told == [wheel.now]


def test_postponing_is_a_store(wheel: TimerWheel) -> None:
    item = Item(wheel).in_ticks(10)
    for _ in range(50):
        turn(wheel, 9)
        item.due = wheel.now + 10
        assert repr(wheel).endswith(" items=1>")
    turn(wheel, 9)
    assert item.told == []
    turn(wheel, 1)
    assert item.told == [wheel.now]


def test_a_nearer_deadline_takes_the_place_of_a_far_one(wheel: TimerWheel) -> None:
    item = Item(wheel).in_ticks(NO_LIMIT)
    assert repr(wheel).endswith(" items=1>")
    item.in_ticks(5)
    assert repr(wheel).endswith(" items=1>")
    turn(wheel, 4)
    assert item.told == []
    turn(wheel, 2 * SLOTS)
    assert len(item.told) == 1


def test_no_limit_is_never(wheel: TimerWheel) -> None:
    item = Item(wheel).in_ticks(NO_LIMIT)
    turn(wheel, 5 * SLOTS)
    assert item.told == []
    assert repr(wheel).endswith(" items=1>")


def test_what_is_disarmed_is_forgotten(wheel: TimerWheel) -> None:
    item = Item(wheel).in_ticks(5)
    wheel.disarm(item)
    assert repr(wheel).endswith(" items=0>")
    assert item.slot == FAR
    wheel.disarm(item)
    turn(wheel, 2 * SLOTS)
    assert item.told == []
    item.in_ticks(3)
    turn(wheel, 3)
    assert item.told == [wheel.now]


def test_a_deadline_that_was_withdrawn_is_not_told(wheel: TimerWheel) -> None:
    item = Item(wheel).in_ticks(5)
    item.due = 0
    turn(wheel, SLOTS)
    assert item.told == []
    assert repr(wheel).endswith(" items=0>")


def test_who_is_told_may_set_the_next_deadline(wheel: TimerWheel) -> None:
    class Again(Item):
        def expired(self) -> None:
            super().expired()
            self.in_ticks(7)

    item = Again(wheel).in_ticks(7)
    start = wheel.now
    turn(wheel, 70)
    assert item.told == [start + 7 * number for number in range(1, 11)]


def test_who_is_told_may_end_others_that_are_due_with_it(wheel: TimerWheel) -> None:
    """A connection that expires takes its upstream along, and that may stand in the same slot."""
    items: list[Item] = []

    class Ender(Item):
        def expired(self) -> None:
            super().expired()
            for other in items:
                other.due = 0
                wheel.disarm(other)

    items += [Ender(wheel).in_ticks(5) for _ in range(10)]
    turn(wheel, 2 * SLOTS)
    assert sum(len(item.told) for item in items) == 1
    assert repr(wheel).endswith(" items=0>")


def test_many_at_random_are_all_met_in_time() -> None:
    wheel = TimerWheel()
    source = random.Random(7)
    expected: dict[Item, int] = {}
    for _ in range(6000):
        if source.random() < 0.3:
            item = Item(wheel)
        else:
            item = source.choice(list(expected)) if expected and source.random() < 0.5 else Item(wheel)
        if item.told:
            continue
        ticks = source.choice([1, 3, 50, 700, 2500])
        item.in_ticks(ticks)
        expected[item] = wheel.now + ticks
        turn(wheel, source.choice([0, 0, 1, 2]))
    turn(wheel, 4000)
    assert all(item.told == [due] for item, due in expected.items())


class SteppedLoop:
    """As much of an event loop as the wheel asks for. Its time is the test's."""

    def __init__(self) -> None:
        self.now = 50.0
        self.planned: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.planned.append((when, callback))

    def resume(self, seconds: float) -> None:
        """Time has passed, and the loop runs what was planned last."""
        self.now += seconds
        when, callback = self.planned[-1]
        assert when <= self.now
        callback()


def test_behind_a_long_turn_of_the_loop_the_wheel_catches_up() -> None:
    """Several ticks at once."""
    wheel, loop = TimerWheel(), SteppedLoop()
    item = Item(wheel).in_ticks(3)
    wheel.start(cast(asyncio.AbstractEventLoop, loop))
    assert wheel.now == 0
    loop.resume(0.45)
    assert wheel.now == 4
    assert item.told == [3]
    assert [when for when, _ in loop.planned] == pytest.approx([50.1, 50.5])


def test_a_stop_of_the_process_counts_for_nobody() -> None:
    """Libuv looks at its timers before it looks at what has come, so all would have been silent for that long."""
    wheel, loop = TimerWheel(), SteppedLoop()
    item = Item(wheel).in_ticks(20)
    wheel.start(cast(asyncio.AbstractEventLoop, loop))
    loop.resume(60.05)
    assert wheel.now == STALL_TICKS
    assert item.told == []
    assert [when for when, _ in loop.planned] == pytest.approx([50.1, 110.1])
    for _ in range(20 - STALL_TICKS):
        loop.resume(0.1)
    assert item.told == [20]


@on_uvloop
async def test_it_turns_by_itself_until_it_is_stopped() -> None:
    wheel = TimerWheel()
    wheel.stop()
    turn(wheel, 3)
    told = asyncio.Event()

    class Waiting(Item):
        def expired(self) -> None:
            super().expired()
            told.set()

    item = Waiting(wheel).in_ticks(2)
    loop = asyncio.get_running_loop()
    started = loop.time()
    wheel.start(loop)
    await asyncio.wait_for(told.wait(), 10)
    assert item.told == [5]
    assert loop.time() - started >= 2 * TICK_SECONDS - 0.001, "never early"
    wheel.stop()


# -- what is put off to the next turn of the loop -----------------------------------------------------------------


def test_what_is_put_off_waits_for_a_turn_and_what_it_puts_off_for_the_next() -> None:
    wheel, done = TimerWheel(), list[str]()

    def first() -> None:
        done.append("first")
        wheel.soon(lambda: done.append("third"))

    wheel.soon(first)
    wheel.soon(lambda: done.append("second"))
    assert done == []
    assert wheel.turn()
    assert done == ["first", "second"]
    assert wheel.turn()
    assert done == ["first", "second", "third"]
    assert not wheel.turn()


@on_uvloop
async def test_the_loop_makes_the_turns() -> None:
    wheel, done = TimerWheel(), list[int]()
    wheel.start(asyncio.get_running_loop())

    def put_off(number: int) -> None:
        done.append(number)
        if number < 3:
            wheel.soon(lambda: put_off(number + 1))

    wheel.soon(lambda: put_off(1))
    for turns in range(3):
        assert done == list(range(1, turns + 1))
        await asyncio.sleep(0)
    assert done == [1, 2, 3]
    wheel.stop()
