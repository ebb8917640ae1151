"""Background tasks: a name, an owner, a logged end."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.net.tasks import Tasks
from tests.proxy.net.rig import on_uvloop


@on_uvloop
async def test_a_task_runs_under_its_name() -> None:
    tasks = Tasks()
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    task = tasks.spawn(work(), "some work")
    assert task.get_name() == "some work"
    await task
    assert done.is_set()
    await tasks.close()


@on_uvloop
async def test_an_exception_is_logged_and_hurts_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    going_on = asyncio.Event()

    async def broken() -> None:
        raise ValueError("a bug of ours")

    async def other() -> None:
        await going_on.wait()

    with caplog.at_level(logging.ERROR, "skycap.tasks"):
        failing, working = tasks.spawn(broken(), "broken work"), tasks.spawn(other(), "other work")
        await asyncio.wait([failing])
    (record,) = caplog.records
    assert record.getMessage() == "broken work failed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a bug of ours"
    going_on.set()
    await working
    await tasks.close()


@on_uvloop
async def test_the_end_of_the_owner_is_the_end_of_its_tasks(caplog: pytest.LogCaptureFixture) -> None:
    """It is waited for, and a cancellation is no failure."""
    tasks = Tasks()
    tidied: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tidied.append(name)

    running = [tasks.spawn(work(name), name) for name in ("a", "b")]
    await asyncio.sleep(0)
    with caplog.at_level(logging.ERROR, "skycap.tasks"):
        await tasks.close()
    assert sorted(tidied) == ["a", "b"]
    assert all(task.cancelled() for task in running)
    assert caplog.records == []
    await tasks.close()
