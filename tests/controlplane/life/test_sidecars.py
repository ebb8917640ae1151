from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from controlplane.life import sidecars as module
from controlplane.life.sidecars import Sidecars
from controlplane.life.watchers import Watcher
from proxy.base.tasks import Tasks
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.registry import Wire
from tests.controlplane.sandboxes import USERS

Begin = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks("test")
    yield tasks
    await tasks.close()


@pytest.fixture
def begin(tasks: Tasks) -> Begin:
    return lambda work: tasks.begin(work, "test")


@pytest.fixture
async def sidecars(clock: FakeClock, tasks: Tasks) -> Sidecars:
    return Sidecars(clock, tasks, restarted=False)


@pytest.fixture
async def returning(clock: FakeClock, tasks: Tasks) -> Sidecars:
    """Those of a registry that has just come back."""
    return Sidecars(clock, tasks, restarted=True)


def connect(sidecars: Sidecars, ident: str, applied: int = 0, sent: int = 0, workload: str = USERS) -> Watcher:
    watcher = Watcher(workload, ident, Wire())
    watcher.sent = sent
    sidecars.connected(watcher, applied)
    return watcher


def heard(sidecars: Sidecars, ident: str) -> Watcher:
    """One that has acknowledged its first table."""
    watcher = connect(sidecars, ident)
    sidecars.reported(ident, USERS, 1)
    return watcher


async def test_in_sync_is_connected_and_nothing_unacknowledged(sidecars: Sidecars) -> None:
    watcher = connect(sidecars, "a", sent=5)
    (shown,) = sidecars.all()
    assert (shown.connected, shown.in_sync, shown.sent_revision, shown.applied_revision) == (True, False, 5, 0)
    sidecars.reported("a", USERS, 5)
    assert sidecars.all()[0].in_sync
    watcher.sent = 6
    assert not sidecars.all()[0].in_sync
    sidecars.disconnected(watcher)
    (shown,) = sidecars.of(USERS)
    assert (shown.connected, shown.in_sync, shown.applied_revision) == (False, False, 5)
    assert sidecars.of("shop/cart") == []


async def test_who_connects_again_begins_with_what_it_resumes(sidecars: Sidecars) -> None:
    connect(sidecars, "a", applied=7)
    assert sidecars.all()[0].applied_revision == 7
    connect(sidecars, "a", applied=0)
    assert sidecars.all()[0].applied_revision == 0


async def test_a_second_stream_of_one_sidecar_cuts_the_first(sidecars: Sidecars) -> None:
    wire = Wire()
    first = Watcher(USERS, "a", wire)
    sidecars.connected(first, 0)
    connect(sidecars, "a")
    assert wire.closed
    sidecars.disconnected(first)
    assert sidecars.all()[0].connected


async def test_a_sidecar_that_moves_to_another_workload(sidecars: Sidecars) -> None:
    connect(sidecars, "a")
    connect(sidecars, "a", workload="shop/cart")
    assert sidecars.of(USERS) == []
    assert [shown.workload for shown in sidecars.all()] == ["shop/cart"]


async def test_in_force_when_all_that_are_connected_have_acknowledged(sidecars: Sidecars, begin: Begin) -> None:
    heard(sidecars, "a")
    heard(sidecars, "b")
    connect(sidecars, "cart", workload="shop/cart")
    waiting = begin(sidecars.in_force(USERS, 5))
    await asyncio.sleep(0)
    sidecars.reported("a", USERS, 5)
    sidecars.reported("b", USERS, 4)
    await asyncio.sleep(0)
    assert not waiting.done()
    sidecars.reported("b", USERS, 6)
    assert await waiting == []


async def test_in_force_at_once_when_nobody_is_behind(sidecars: Sidecars) -> None:
    assert await sidecars.in_force(USERS, 5) == []
    connect(sidecars, "a", applied=5)
    assert await sidecars.in_force(USERS, 5) == []


async def test_those_that_do_not_acknowledge_in_time_are_named(
    sidecars: Sidecars, begin: Begin, clock: FakeClock
) -> None:
    heard(sidecars, "b")
    heard(sidecars, "a")
    connect(sidecars, "c", applied=9)
    waiting = begin(sidecars.in_force(USERS, 5))
    await eventually(lambda: clock.sleeping() == [5.0])
    clock.advance(5)
    assert await waiting == ["a", "b"]


async def test_who_does_not_acknowledge_delays_one_change_and_no_other(
    sidecars: Sidecars, begin: Begin, clock: FakeClock
) -> None:
    heard(sidecars, "hung")
    heard(sidecars, "well")
    waiting = begin(sidecars.in_force(USERS, 5))
    await eventually(lambda: clock.sleeping() == [5.0])
    sidecars.reported("well", USERS, 5)
    clock.advance(5)
    assert await waiting == ["hung"]
    waiting = begin(sidecars.in_force(USERS, 6))
    await asyncio.sleep(0)
    sidecars.reported("well", USERS, 6)
    assert await waiting == ["hung"]  # named, and not waited for
    sidecars.reported("hung", USERS, 6)
    waiting = begin(sidecars.in_force(USERS, 7))
    await asyncio.sleep(0)
    sidecars.reported("well", USERS, 7)
    await asyncio.sleep(0)
    assert not waiting.done()  # it has acknowledged again, and is waited for again
    sidecars.reported("hung", USERS, 7)
    assert await waiting == []


async def test_who_has_never_acknowledged_is_named_and_delays_nothing(sidecars: Sidecars) -> None:
    for number in range(3):
        connect(sidecars, f"silent-{number}")
    assert await sidecars.in_force(USERS, 5) == ["silent-0", "silent-1", "silent-2"]


async def test_after_a_restart_old_tables_are_waited_for(returning: Sidecars, begin: Begin, clock: FakeClock) -> None:
    connect(returning, "a", applied=3)
    waiting = begin(returning.in_force(USERS, 5))
    await eventually(lambda: clock.sleeping() == [5.0])
    returning.reported("a", USERS, 5)
    assert await waiting == []


async def test_nobody_waits_for_one_that_has_gone(sidecars: Sidecars, begin: Begin) -> None:
    watcher = heard(sidecars, "a")
    waiting = begin(sidecars.in_force(USERS, 5))
    await asyncio.sleep(0)
    sidecars.disconnected(watcher)
    assert await waiting == []


async def test_caught_up_has_no_bound(sidecars: Sidecars, begin: Begin, clock: FakeClock) -> None:
    connect(sidecars, "a")
    waiting = begin(sidecars.caught_up(USERS, 5))
    await asyncio.sleep(0)
    clock.advance(3600)
    await asyncio.sleep(0)
    assert not waiting.done()
    sidecars.reported("a", USERS, 5)
    await waiting


async def test_an_old_shadow_waits_for_one_that_has_just_gone(
    sidecars: Sidecars, begin: Begin, clock: FakeClock
) -> None:
    sidecars.disconnected(connect(sidecars, "a"))
    clock.advance(1)
    waiting = begin(sidecars.abandoned(USERS, 5))
    await eventually(lambda: clock.sleeping() == [2.0])
    clock.advance(1.9)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(0.2)
    await waiting


async def test_an_old_shadow_does_not_wait_for_one_that_has_long_gone(sidecars: Sidecars, clock: FakeClock) -> None:
    sidecars.disconnected(connect(sidecars, "a"))
    clock.advance(3)
    await sidecars.abandoned(USERS, 5)


async def test_an_old_shadow_waits_for_one_that_goes_meanwhile_until_it_is_back(
    sidecars: Sidecars, begin: Begin
) -> None:
    watcher = connect(sidecars, "a")
    waiting = begin(sidecars.abandoned(USERS, 5))
    await asyncio.sleep(0)
    sidecars.disconnected(watcher)
    await asyncio.sleep(0)
    assert not waiting.done()
    connect(sidecars, "a")
    sidecars.reported("a", USERS, 5)
    await waiting


async def test_an_old_shadow_waits_5_seconds_for_one_that_hangs(
    sidecars: Sidecars, begin: Begin, clock: FakeClock
) -> None:
    connect(sidecars, "a")
    waiting = begin(sidecars.abandoned(USERS, 5))
    await eventually(lambda: clock.sleeping() == [5.0])
    clock.advance(5)
    await waiting


async def test_after_a_restart_an_old_shadow_waits_the_whole_grace(
    returning: Sidecars, begin: Begin, clock: FakeClock
) -> None:
    connect(returning, "a", applied=5)
    waiting = begin(returning.abandoned(USERS, 5))
    await eventually(lambda: clock.sleeping() == [10.0])
    returning.reported("a", USERS, 6)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(10)
    await waiting
    await returning.abandoned(USERS, 6)


async def test_after_a_restart_ready_waits_for_the_first_that_comes_back(
    returning: Sidecars, begin: Begin, clock: FakeClock
) -> None:
    waiting = begin(returning.in_force(USERS, 5))
    await eventually(lambda: clock.sleeping() == [5.0])
    connect(returning, "a")
    await asyncio.sleep(0)
    assert not waiting.done()
    returning.reported("a", USERS, 5)
    assert await waiting == []
    waiting = begin(returning.in_force("shop/cart", 5))
    await eventually(lambda: clock.sleeping() == [5.0])
    clock.advance(5)
    assert await waiting == []
    clock.advance(5)
    assert await returning.in_force("shop/cart", 5) == []


async def test_the_end_of_the_registry_ends_every_wait(sidecars: Sidecars, begin: Begin) -> None:
    connect(sidecars, "a")
    waits = [
        begin(sidecars.in_force(USERS, 5)),
        begin(sidecars.caught_up(USERS, 5)),
        begin(sidecars.abandoned(USERS, 5)),
    ]
    await asyncio.sleep(0)
    sidecars.hurry()
    await asyncio.gather(*waits)
    await sidecars.abandoned(USERS, 9)


async def test_those_long_gone_are_forgotten(sidecars: Sidecars, clock: FakeClock) -> None:
    sidecars.disconnected(connect(sidecars, "a"))
    connect(sidecars, "b")
    clock.advance(601)
    sidecars.forget_gone()
    assert [shown.id for shown in sidecars.all()] == ["b"]
    assert repr(sidecars) == "<Sidecars 1 connected of 1>"


async def test_ids_that_somebody_invents_do_not_fill_the_memory(
    sidecars: Sidecars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SIDECARS", 10)
    connect(sidecars, "real", applied=1)
    for number in range(1000):
        sidecars.reported(f"invented-{number}", USERS, 1)
    assert len(sidecars.all()) <= 10
    assert sidecars.all()[-1].id == "real"
