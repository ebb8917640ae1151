from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from controlplane.process.child import Child, SpawnError, describe_end, spawn
from controlplane.process.command import Command
from controlplane.process.identity import Identity, identify, identify_child
from controlplane.process.kin import kin
from tests.controlplane.process.marked import Marked, eventually

Start = Callable[..., Child]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def start(marked: Marked, log: int) -> Start:
    def start(*argv: str, mark: str = "") -> Child:
        return spawn(Command(argv, marked.environ, ""), log, mark)

    return start


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", text)


async def exited(child: Child) -> int | None:
    async with asyncio.timeout(10):
        return await asyncio.shield(child.exited)


async def line(tmp_path: Path, text: str) -> None:
    """Wait until the log holds this line."""
    await eventually(lambda: text in (tmp_path / "log").read_text().splitlines())


@pytest.mark.parametrize("polling", [False, True])
async def test_an_end_is_seen_with_its_status(start: Start, monkeypatch: pytest.MonkeyPatch, polling: bool) -> None:
    if polling:
        monkeypatch.delattr(os, "pidfd_open")
    child = start("sh", "-c", "exit 7")
    assert await exited(child) == 7
    assert repr(child) == f"<Child {child.pid} exited=7>"
    assert identify_child(child.pid).started == ""  # reaped


async def test_a_signal_is_seen(start: Start) -> None:
    child = start("sleep", "60")
    assert repr(child) == f"<Child {child.pid} running>"
    os.kill(child.pid, signal.SIGSEGV)
    assert await exited(child) == -signal.SIGSEGV


async def test_its_children_die_with_it(start: Start, marked: Marked) -> None:
    child = start("sh", "-c", "sleep 61 & exec sleep 62")
    await eventually(lambda: len(marked.alive()) == 2)
    os.kill(child.pid, signal.SIGKILL)
    await exited(child)
    await eventually(lambda: not marked.alive())


async def test_asked_to_end_it_ends(start: Start) -> None:
    child = start("sleep", "60")
    await child.end(10.0)
    assert child.exited.result() == -signal.SIGTERM


async def test_one_that_does_not_listen_is_killed(start: Start, tmp_path: Path) -> None:
    child = start("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.01; done")
    await line(tmp_path, "deaf")
    await child.end(0.05)
    assert child.exited.result() == -signal.SIGKILL


async def test_the_grace_is_for_the_whole_group(start: Start, tmp_path: Path) -> None:
    """A shell dies of SIGTERM at once; what it had started gets its time all the same."""
    slow = "trap 'sleep 0.2; echo finished; exit' TERM; echo waiting; while :; do sleep 0.01; done"
    child = start("sh", "-c", f'sh -c "{slow}" & wait')
    await line(tmp_path, "waiting")
    await child.end(10.0)
    assert "finished" in (tmp_path / "log").read_text()


DAEMON = """
import os, signal, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
signal.signal(signal.SIGTERM, lambda *_: (print("asked", flush=True), os._exit(0)))
print("daemon", flush=True)
time.sleep(60)
"""

LEAVER = """
import os, subprocess, time
subprocess.Popen(["sleep", "61"], start_new_session=True)
print("alone", flush=True)
time.sleep(60)
"""


async def test_one_that_puts_itself_into_the_background_leaves_nothing_and_is_told_so(
    start: Start, marked: Marked
) -> None:
    child = start(*script(DAEMON), mark=f"{marked.mark}:users")
    assert await exited(child) == 0
    await eventually(lambda: not marked.alive())
    how = child.how_it_ended()
    assert re.fullmatch(
        r"ended with exit code 0 and left process [0-9]+.* behind, which was ended too: "
        r"it seems to put itself into the background, and has to run in the foreground",
        how.replace("\n", " "),
    )


async def test_a_program_that_fails_means_nothing_by_what_it_leaves(start: Start, marked: Marked) -> None:
    child = start("sh", "-c", "sleep 61 & exit 3", mark=f"{marked.mark}:users")
    assert await exited(child) == 3
    assert child.how_it_ended() == "ended with exit code 3"
    await eventually(lambda: not marked.alive())


async def test_what_has_left_its_session_is_asked_to_end_with_it(start: Start, marked: Marked, tmp_path: Path) -> None:
    parent = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', sys.argv[1]]); time.sleep(60)"
    child = start(*script(parent), DAEMON, mark=f"{marked.mark}:users")
    await line(tmp_path, "daemon")
    await child.end(10.0)
    assert marked.alive() == {}
    assert "asked" in (tmp_path / "log").read_text()


async def test_killing_finds_it_too(start: Start, marked: Marked, tmp_path: Path) -> None:
    child = start(*script(LEAVER), mark=f"{marked.mark}:users")
    await line(tmp_path, "alone")
    child.kill()
    await exited(child)
    await eventually(lambda: not marked.alive())
    assert child.how_it_ended() == "was ended by SIGKILL"


async def test_the_kin_of_others_is_left_alone(start: Start, marked: Marked, tmp_path: Path) -> None:
    other = start("sleep", "62", mark=f"{marked.mark}:users/sidecar")
    child = start(*script(LEAVER), mark=f"{marked.mark}:users")
    await line(tmp_path, "alone")
    await child.end(10.0)
    assert list(marked.alive()) == [other.pid]
    assert [each.pid for each in kin(f"{marked.mark}:", below=True)] == [other.pid]
    other.kill()
    await exited(other)


async def test_a_process_without_a_mark_has_no_kin(start: Start) -> None:
    child = start("sleep", "60")
    assert list(kin("")) == []
    await child.end(10.0)


async def test_ending_twice_is_no_error(start: Start) -> None:
    child = start("sleep", "60")
    await asyncio.gather(child.end(10.0), child.end(10.0))
    await child.end(10.0)
    child.kill()


async def test_a_process_of_an_earlier_life_is_watched_and_ended(marked: Marked) -> None:
    with marked.stranger("sleep", "60") as process:
        identity = identify(process.pid)
        assert identity is not None
        child = Child(identity, ours=False)
        assert not child.exited.done()
        ending = asyncio.get_running_loop().run_in_executor(None, process.wait)  # its parent reaps it
        await child.end(10.0)
        assert await ending == -signal.SIGTERM
    assert child.exited.result() is None


async def test_an_end_is_seen_though_nobody_reaps_it(marked: Marked) -> None:
    with marked.stranger("sleep", "60") as process:
        identity = identify(process.pid)
        assert identity is not None
        child = Child(identity, ours=False)
        async with asyncio.timeout(5):
            await child.end(60.0)
        assert process.wait() == -signal.SIGTERM


async def test_a_stranger_with_the_same_pid_is_left_alone(marked: Marked) -> None:
    with marked.stranger("sleep", "60") as stranger:
        child = Child(Identity(stranger.pid, "an earlier process"), ours=False)
        assert child.exited.done()
        child.kill()
        await child.end(1.0)
        assert stranger.poll() is None
        stranger.kill()


async def test_the_group_of_a_leader_that_was_gone_before_is_left_alone(marked: Marked) -> None:
    """Its id may mean another group by now."""
    with marked.stranger("sh", "-c", "sleep 60 & echo $!") as process:
        assert process.stdout is not None
        sleeper = int(process.stdout.readline())
    child = Child(Identity(process.pid, "gone"), ours=False)
    child.kill()
    await child.end(0.05)
    assert list(marked.alive()) == [sleeper]
    os.kill(sleeper, signal.SIGKILL)
    await eventually(lambda: not marked.alive())


async def test_where_sigchld_is_ignored_the_status_is_unknown(start: Start) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert await exited(start("true")) is None
    finally:
        signal.signal(signal.SIGCHLD, before)


async def test_it_reads_nothing_and_writes_to_the_log(start: Start, tmp_path: Path) -> None:
    child = start(*script("import sys; print(repr(sys.stdin.read())); sys.stderr.write('to both')"))
    assert await exited(child) == 0
    assert (tmp_path / "log").read_text() in ("''\nto both", "to both''\n")


async def test_it_inherits_no_descriptor(start: Start, tmp_path: Path) -> None:
    child = start("sh", "-c", "ls /proc/self/fd")
    await exited(child)
    assert (tmp_path / "log").read_text().split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_all_of_it_on_the_loop_of_the_data_path(marked: Marked, log: int) -> None:
    async def live() -> tuple[int | None, int | None]:
        first = spawn(Command(("sh", "-c", "exit 7"), marked.environ, ""), log)
        second = spawn(Command(("sleep", "60"), marked.environ, ""), log)
        again = Child(second.identity, ours=False)
        status = await exited(first)
        await again.end(10.0)
        return status, await exited(second)

    assert uvloop.run(live()) == (7, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("argv", "cwd", "message"),
    [
        (("no-such-program",), "", "there is no program 'no-such-program'"),
        (("/etc/passwd",), "", "'/etc/passwd' cannot be run: Permission denied"),
        (
            ("true",),
            "/no/such/folder",
            "the working directory /no/such/folder cannot be used: No such file or directory",
        ),
        (("true",), "/etc/passwd", "the working directory /etc/passwd cannot be used: Not a directory"),
        (("true", "a\0b"), "", "'true' cannot be run: embedded null byte"),
    ],
)
async def test_what_cannot_be_run(marked: Marked, log: int, argv: tuple[str, ...], cwd: str, message: str) -> None:
    with pytest.raises(SpawnError) as caught:
        spawn(Command(argv, marked.environ, cwd), log)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "ended"),
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was ended by SIGKILL"),
        (-63, "was ended by signal 63"),
    ],
)
def test_how_an_end_is_told(status: int | None, words: str) -> None:
    assert describe_end(status) == words
