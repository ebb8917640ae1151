from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from controlplane.local import supervised
from controlplane.local.events import Ended, Event, Output, Started
from controlplane.local.supervised import FIRST_PAUSE, LONGEST_PAUSE, MAX_LINE_BYTES, BackOff, Lines, Supervised
from controlplane.process.child import Child
from controlplane.process.command import Command
from tests.controlplane.process.marked import Marked, eventually


def test_pauses_double_and_have_a_limit() -> None:
    back_off = BackOff(lambda: 1.0)
    assert [back_off.pause(0.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    for _ in range(2000):
        back_off.pause(0.0)
    assert back_off.pause(0.0) == LONGEST_PAUSE


def test_half_of_a_pause_is_chance() -> None:
    assert BackOff(lambda: 0.0).pause(0.0) == FIRST_PAUSE / 2
    pauses = {BackOff().pause(0.0) for _ in range(100)}
    assert len(pauses) > 50
    assert min(pauses) >= FIRST_PAUSE / 2
    assert max(pauses) <= FIRST_PAUSE


def test_a_stable_life_is_a_new_beginning() -> None:
    back_off = BackOff(lambda: 1.0)
    for _ in range(5):
        back_off.pause(9.9)
    assert back_off.pause(10.0) == FIRST_PAUSE


class Pipe:
    """A pipe whose lines are collected."""

    def __init__(self) -> None:
        reader, self.writer = os.pipe()
        self.found: list[str] = []
        self.lines = Lines(reader, self.found.append)


async def test_lines_come_as_they_are_written() -> None:
    pipe = Pipe()
    os.write(pipe.writer, b"one\ntw")
    await eventually(lambda: pipe.found == ["one"])
    os.write(pipe.writer, b"o\r\n\ncaf\xe9\nrest")
    await eventually(lambda: pipe.found == ["one", "two", "", "caf\N{REPLACEMENT CHARACTER}"])
    os.close(pipe.writer)
    await eventually(lambda: pipe.found[-1] == "rest")
    pipe.lines.finish()
    assert pipe.found[4:] == ["rest"]


async def test_a_line_without_end_is_shown_in_pieces() -> None:
    pipe = Pipe()
    os.write(pipe.writer, b"x" * (2 * MAX_LINE_BYTES + 5))
    await eventually(lambda: len(pipe.found) == 2)
    pipe.lines.finish()
    assert [len(piece) for piece in pipe.found] == [MAX_LINE_BYTES, MAX_LINE_BYTES, 5]
    os.close(pipe.writer)


async def test_finishing_reads_what_is_there_and_waits_for_nobody() -> None:
    pipe = Pipe()
    os.write(pipe.writer, b"last words")
    pipe.lines.finish()
    assert pipe.found == ["last words"]
    with pytest.raises(BrokenPipeError):
        os.write(pipe.writer, b"too late")
    os.close(pipe.writer)


class Stage:
    """Runs supervised processes and collects what is told about them."""

    def __init__(self, marked: Marked) -> None:
        self.events: list[Event] = []
        self.children: list[Child] = []
        self._marked = marked
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Stage:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._group.__aexit__(None, None, None)

    def run(
        self, *argv: str, hopeless: Callable[[int | None], bool] = lambda status: False
    ) -> tuple[Supervised, asyncio.Task[None]]:
        command = Command(argv, self._marked.environ, "")
        process = Supervised("users", command, self.events.append, self.children.append, hopeless=hopeless)
        return process, self._group.create_task(process.run())

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def stage(marked: Marked, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(supervised, "FIRST_PAUSE", 0.01)
    async with Stage(marked) as stage:
        yield stage


async def test_one_that_cannot_work_is_not_started_again(stage: Stage) -> None:
    process, running = stage.run("sh", "-c", "echo no; exit 2", hopeless=lambda status: status == 2)
    async with asyncio.timeout(20):
        await running
    assert stage.of(Ended) == [Ended("users", "ended with exit code 2", ("no",), None)]
    assert len(stage.of(Started)) == 1
    await process.stop(1.0)


async def test_one_that_is_restarted_is_no_death(stage: Stage) -> None:
    process, running = stage.run("sleep", "60")
    await eventually(lambda: len(stage.of(Started)) == 1)
    await process.restart(10.0)
    await eventually(lambda: len(stage.of(Started)) == 2)
    assert stage.of(Ended) == []
    await process.stop(10.0)
    await running
    await process.restart(1.0)
    assert len(stage.of(Started)) == 2


async def test_one_that_ends_is_told_of_with_its_last_words_and_started_again(stage: Stage) -> None:
    process, running = stage.run("sh", "-c", "echo hello; echo ouch >&2; exit 3")
    await eventually(lambda: len(stage.of(Started)) == 3)
    await process.stop(1.0)
    await running
    ended = stage.of(Ended)[0]
    assert isinstance(ended, Ended)
    assert (ended.process, ended.how, ended.last_lines) == ("users", "ended with exit code 3", ("hello", "ouch"))
    assert stage.events[1:3] == [Output("users", "hello"), Output("users", "ouch")]
    assert stage.events[0] == Started("users", stage.children[0].pid)


async def test_only_the_last_lines_of_this_life(stage: Stage) -> None:
    process, running = stage.run("sh", "-c", "seq 1 30; exit 1")
    await eventually(lambda: len(stage.of(Ended)) == 2)
    process.kill()
    await running
    for ended in stage.of(Ended):
        assert isinstance(ended, Ended)
        assert ended.last_lines == tuple(map(str, range(21, 31)))


async def test_one_that_cannot_be_started_is_tried_again(stage: Stage) -> None:
    process, running = stage.run("no-such-program")
    await eventually(lambda: len(stage.of(Ended)) == 3)
    await process.stop(1.0)
    await running
    (how,) = {event.how for event in stage.of(Ended) if isinstance(event, Ended)}
    assert how == "could not be started: there is no program 'no-such-program'"
    assert stage.of(Started) == []


async def test_one_that_is_stopped_is_not_started_again(stage: Stage) -> None:
    process, running = stage.run("sleep", "60")
    await eventually(lambda: stage.children)
    assert process.child is stage.children[0]
    await process.stop(10.0)
    await running
    assert repr(process) == "<Supervised users None stopping>"
    assert stage.of(Ended) == []
    assert stage.children[0].exited.result() == -signal.SIGTERM
    await process.stop(1.0)


async def test_a_pause_is_cut_short_by_a_stop(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(supervised, "LONGEST_PAUSE", 3600.0)
    process, running = stage.run("false")
    await eventually(lambda: stage.of(Ended))
    await process.stop(1.0)
    await running
    assert repr(process) == "<Supervised users None stopping>"


async def test_killed_it_ends_at_once(stage: Stage) -> None:
    process, running = stage.run("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.01; done")
    await eventually(lambda: Output("users", "deaf") in stage.events)
    process.kill()
    await running
    assert stage.children[0].exited.result() == -signal.SIGKILL


async def test_cancelled_it_leaves_nothing(stage: Stage, marked: Marked) -> None:
    _, running = stage.run("sleep", "60")
    await eventually(lambda: stage.children)
    running.cancel()
    await eventually(lambda: running.cancelled())
    await eventually(lambda: not marked.alive())


async def test_a_daemon_that_floods_the_pipe_does_not_hold_up_the_restart(
    stage: Stage, marked: Marked, tmp_path: Path
) -> None:
    """It has left the process's group and goes on writing; our own end of the pipe is closed."""
    daemon = f"setsid sh -c 'touch {tmp_path}/left; exec yes' & until [ -e {tmp_path}/left ]; do sleep 0.01; done"
    process, running = stage.run("sh", "-c", f"{daemon}; exit 1")
    await eventually(lambda: len(stage.of(Ended)) >= 2)
    await process.stop(1.0)
    await running
    await eventually(lambda: not marked.alive())  # of a broken pipe
