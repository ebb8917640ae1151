"""The keeper between us and an application: real processes that try to get away."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from controlplane.process.child import Child, Kept, SpawnError, spawn
from controlplane.process.command import Command
from controlplane.process.identity import identify
from controlplane.process.stamped import lines_of, older
from tests.controlplane.process.marked import Marked, eventually

STAMPED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z (.*)")

ESCAPE = "(env -i setsid sh -c 'echo $$ >{note}; exec sleep 300' </dev/null >/dev/null 2>&1 &) ; "
"""A program without environment, parent, session and output of its own: no list that one might look through has it."""

Run = Callable[..., Child]


@pytest.fixture
async def run(tmp_path: Path, marked: Marked) -> AsyncIterator[Run]:
    """Start a program behind a keeper."""
    children: list[Child] = []

    def start(*argv: str, cwd: str = "") -> Child:
        reader, writer = os.pipe()
        try:
            command = Command(argv, marked.environ, cwd)
            children.append(spawn(command, writer, str(tmp_path), Kept(reader, tmp_path / "log")))
        finally:
            os.close(reader)
            os.close(writer)
        return children[-1]

    yield start
    for child in children:
        child.kill()
        await asyncio.wait([child.exited], timeout=5)


def written(tmp_path: Path) -> list[str]:
    lines = [STAMPED.fullmatch(line) for line in lines_of(tmp_path / "log")]
    assert all(lines)
    return [line[1] for line in lines if line]


async def escaped(tmp_path: Path) -> int:
    """The one that got away, when it is on its way."""
    note = tmp_path / "escaped"
    await eventually(lambda: note.exists() and note.read_text().strip())
    return int(note.read_text())


async def test_each_line_stands_behind_its_time(run: Run, tmp_path: Path) -> None:
    child = run("sh", "-c", "echo one; echo two >&2; printf unfinished")
    assert await child.exited == 0
    assert written(tmp_path) == ["one", "two", "unfinished"]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert child.left == ()


async def test_what_waits_behind_no_line_feed_is_seen_all_the_same(run: Run, tmp_path: Path) -> None:
    run("sh", "-c", "printf 'password: '; exec sleep 60")
    await eventually(lambda: written(tmp_path) == ["password: "])


async def test_however_much_it_writes_two_files_of_two_mebibytes_are_all(run: Run, tmp_path: Path) -> None:
    child = run(sys.executable, "-c", "for n in range(200_000): print('line', n, 'x' * 40)")
    assert await child.exited == 0
    log = tmp_path / "log"
    for path in (log, older(log)):
        assert path.stat().st_size <= 2 << 20
    assert written(tmp_path)[-1].startswith("line 199999 ")
    assert not written(tmp_path)[0].startswith("line 0 ")


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", -15), ("kill -KILL $$", -9)])
async def test_it_ends_as_its_program_did(run: Run, script: str, status: int) -> None:
    assert await run("sh", "-c", script).exited == status


async def test_what_is_left_when_a_program_ends_by_itself_is_ended_and_named(run: Run, tmp_path: Path) -> None:
    child = run("sh", "-c", ESCAPE.format(note=tmp_path / "escaped") + f"until [ -s {tmp_path}/escaped ]; do :; done")
    assert await child.exited == 0
    pid = int((tmp_path / "escaped").read_text())
    assert identify(pid) is None
    assert f"process {pid} (sleep 300)" in child.left
    assert "which was ended too: it seems to put itself into the background" in child.how_it_ended()


@pytest.mark.parametrize("how", ["end", "kill"])
async def test_what_has_got_away_is_ended_with_its_program(run: Run, tmp_path: Path, how: str) -> None:
    child = run("sh", "-c", ESCAPE.format(note=tmp_path / "escaped") + "exec sleep 300")
    pid = await escaped(tmp_path)
    if how == "end":
        await child.end(5)
    else:
        child.kill()
        await eventually(lambda: identify(pid) is None)
    assert identify(pid) is None
    assert await child.exited in (-signal.SIGTERM, -signal.SIGKILL)


async def test_adopted_by_another_registry_it_is_ended_just_the_same(run: Run, tmp_path: Path) -> None:
    child = run("sh", "-c", ESCAPE.format(note=tmp_path / "escaped") + "exec sleep 300")
    pid = await escaped(tmp_path)
    again = Child(child.identity, ours=False, mark=str(tmp_path), left=tmp_path / "log.left")
    again.kill()
    await eventually(lambda: identify(pid) is None)


async def test_killed_itself_it_takes_its_program_along(run: Run, tmp_path: Path, marked: Marked) -> None:
    child = run("sh", "-c", "echo $$; exec sleep 300")
    await eventually(lambda: written(tmp_path))
    os.kill(child.pid, signal.SIGKILL)
    assert await child.exited == -signal.SIGKILL
    await eventually(lambda: identify(int(written(tmp_path)[0])) is None)


async def test_a_program_that_cannot_be_run_is_told_at_once_or_in_its_output(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SpawnError, match="there is no program '/no/such'"):
        run("/no/such")
    with pytest.raises(SpawnError, match="there is no program 'no-such-program'"):
        run("no-such-program")
    with pytest.raises(SpawnError, match="the working directory /no/such cannot be used"):
        run("true", cwd="/no/such")
    plain = tmp_path / "plain"
    plain.write_text("no program")
    with pytest.raises(SpawnError, match=r"plain' cannot be run: Permission denied"):
        run(str(plain))
    plain.write_bytes(b"\x7fELF but not really")
    plain.chmod(0o700)
    assert await run(str(plain)).exited == 127
    assert written(tmp_path) == [f"skycap: '{plain}' cannot be run: Exec format error"]


async def test_a_disk_without_room_holds_nobody_up(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    child = run(sys.executable, "-c", "for n in range(50_000): print('line', n)")
    assert await child.exited == 0
