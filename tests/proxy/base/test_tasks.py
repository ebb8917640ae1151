"""Background tasks: a name, an owner, a logged end."""

from __future__ import annotations

import asyncio

import pytest

from proxy.base import tasks as module
from proxy.base.tasks import Tasks, ended


async def fail() -> None:
    raise LookupError("nothing there")


async def test_a_failure_of_a_background_task_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks("test")
    task = tasks.spawn(fail(), "the job")
    assert repr(tasks) == "<Tasks of test: the job>"
    await asyncio.wait({task})
    await tasks.finish()
    assert "the task 'the job' failed" in caplog.text
    assert "nothing there" in caplog.text
    assert repr(tasks) == "<Tasks of test: none>"


async def test_what_is_kept_is_begun_again_and_told_until_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "STABLE_SECONDS", 0.05)
    tasks = Tasks("test")
    lives = 0
    goes_on = asyncio.Event()

    async def work() -> None:
        nonlocal lives
        lives += 1
        if lives < 3:
            raise LookupError(f"life {lives}")
        goes_on.set()
        await asyncio.Event().wait()

    tasks.keep(work, "the job")
    assert tasks.trouble == ""
    await asyncio.wait_for(goes_on.wait(), 10)
    assert tasks.trouble == "the job: LookupError: life 2"
    assert caplog.text.count("the task 'the job' failed; it is begun again in") == 2
    await asyncio.sleep(0.1)
    assert tasks.trouble == ""
    await tasks.close()


async def test_what_returns_is_not_begun_again_and_one_of_many_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    tasks = Tasks("test")
    lives = 0

    async def work() -> None:
        nonlocal lives
        lives += 1
        if lives == 1:
            raise LookupError("once")

    kept = tasks.keep(work, "one of many", told=False)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tasks.trouble == ""
    await asyncio.wait_for(kept, 10)
    assert lives == 2


async def test_who_awaits_gets_the_failure() -> None:
    with pytest.raises(LookupError):
        await Tasks("test").begin(fail(), "the job")


async def test_closing_cancels_and_waits(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks("test")
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    tasks.spawn(work(), "a")
    tasks.spawn(work(), "b")
    await asyncio.sleep(0)
    await tasks.close()
    assert cleaned == [True, True]
    assert len(tasks) == 0
    assert caplog.text == ""


async def test_finishing_waits_for_tasks_that_tasks_start() -> None:
    tasks = Tasks("test")
    done = []

    async def child() -> None:
        await asyncio.sleep(0)
        done.append("child")

    async def parent() -> None:
        tasks.spawn(child(), "child")

    tasks.spawn(parent(), "parent")
    await tasks.finish()
    assert done == ["child"]


async def test_the_first_ends_the_rest() -> None:
    tasks = Tasks("test")
    event = asyncio.Event()
    cancelled = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    event.set()
    await tasks.first(slow(), event.wait(), name="race")
    assert cancelled == [True]
    assert len(tasks) == 0


async def test_a_race_that_is_cancelled_leaves_nothing_running() -> None:
    tasks = Tasks("test")
    race = tasks.begin(tasks.first(asyncio.Event().wait(), asyncio.Event().wait(), name="race"), "outer")
    await asyncio.sleep(0)
    assert len(tasks) == 3
    await ended(race)
    assert len(tasks) == 0
