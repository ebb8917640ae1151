from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from controlplane.local import supervised, unit
from controlplane.local.events import Ended, Event, NotReady, Ready
from controlplane.local.unit import Surroundings, Unit
from controlplane.process.command import Command
from controlplane.process.readiness import Readiness
from proxy.base.tasks import Tasks
from tests.controlplane.process.marked import Marked, eventually

Make = Callable[..., Unit]


class Stage:
    """Units whose readiness is what the test says it is."""

    def __init__(self, marked: Marked) -> None:
        self.missing = ""
        self.events: list[Event] = []
        self.changes = 0
        self.tasks = Tasks("the test")
        self._around = Surroundings(Readiness(), self.tasks, self.events.append, self._changed)
        self._environ = marked.environ

    def run(self, *argv: str, seconds: float = 10.0, **more: Any) -> Unit:
        command = Command(argv, self._environ, "")
        made = Unit("users", command, self._probe, seconds, self._around, **more)
        self.tasks.spawn(made.process.run(), "users")
        return made

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    async def _probe(self) -> str:
        return self.missing

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
async def stage(marked: Marked, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(supervised, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(unit, "RETRY_SECONDS", 0.01)
    stage = Stage(marked)
    yield stage
    await stage.tasks.close()


async def test_ready(stage: Stage) -> None:
    users = stage.run("sleep", "60")
    assert repr(users) == "<Unit users has not been started>"
    assert await users.until_ready() == ""
    assert repr(users) == "<Unit users ready>"
    assert len(stage.of(Ready)) == 1
    assert stage.changes == 1
    await users.process.stop(10.0)


async def test_late_is_better_than_never(stage: Stage) -> None:
    stage.missing = "not yet"
    users = stage.run("sleep", "60", seconds=0.05, hint=lambda pid: f", {'alive' if pid else 'dead'}")
    assert await users.until_ready() == "users: is not ready: not yet"
    await eventually(lambda: stage.events[-1] == NotReady("users", "not yet, alive"))
    stage.missing = ""
    await eventually(lambda: users.ready.is_set())
    assert len(stage.of(Ready)) == 1
    await users.process.stop(10.0)


async def test_a_death_is_what_is_wrong_with_it(stage: Stage) -> None:
    stage.missing = "not yet"
    users = stage.run("sh", "-c", "exit 3", seconds=0.1)
    await eventually(lambda: len(stage.of(Ended)) >= 2)
    assert (await users.until_ready()).startswith("users: ")
    assert stage.of(NotReady) == []
    await users.process.stop(10.0)


async def test_every_life_has_to_become_ready(stage: Stage) -> None:
    users = stage.run("sleep", "60")
    assert await users.until_ready() == ""
    stage.missing = "not yet"
    child = users.process.child
    assert child is not None
    child.kill()
    await eventually(lambda: stage.of(Ended))
    assert not users.ready.is_set()
    stage.missing = ""
    await eventually(lambda: len(stage.of(Ready)) == 2)
    await users.process.stop(10.0)


async def test_what_comes_after_the_probe_is_tried_until_it_is_done(stage: Stage) -> None:
    answers = iter(["the registry said no", "the registry said no", ""])

    async def register() -> str:
        return next(answers)

    users = stage.run("sleep", "60", after_probe=register)
    assert await users.until_ready() == ""
    assert stage.of(NotReady) == [NotReady("users", "the registry said no")] * 2
    await users.process.stop(10.0)


async def test_what_comes_after_the_probe_ends_with_the_process(stage: Stage) -> None:
    tried = asyncio.Event()

    async def register() -> str:
        tried.set()
        return "never"

    users = stage.run("sleep", "60", after_probe=register)
    await tried.wait()
    await users.process.stop(10.0)
    await eventually(lambda: len(stage.tasks) == 0)
    assert stage.of(Ready) == []
