"""A process that we started, in this life or in an earlier one.

Each gets a session of its own, so that whatever it starts can be ended with it and a Ctrl-C on the terminal reaches
us alone. Its end is seen through a pidfd (pidfd_open(2)): that works on any event loop, for children and for
processes that an earlier life of ours started, and cannot mean another process that got the same pid.

    spawn --> running --> exited            by itself: the rest of its group, and its kin, is killed at once
                 |
                 +-- end --> exited          asked: SIGTERM to the group, SIGKILL after a grace period

A child stays a zombie until it is reaped here, which keeps its pid, and with it the id of its group, from being
reused in the meantime.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from controlplane.process.command import Command
from controlplane.process.identity import Identity, group_runs, identify_child
from controlplane.process.kin import MARK, kill_kin, kill_tree, kin, send
from controlplane.process.listeners import named

POLL_SECONDS = 0.02
"""Between two looks at what no event tells: whether a group is empty, and everything where there is no pidfd."""
KIN_POLL_SECONDS = 0.1
"""The same where the environment of every process is read."""
KILL_SECONDS = 5.0
"""SIGKILL ends a process at once unless the kernel itself is stuck in it; then waiting longer is no help."""


class SpawnError(Exception):
    """A process could not be started. `str()` is one sentence without a full stop."""


class Child:
    """A process and its group.

    exited: resolves when it is gone, with its exit status as `subprocess` writes it (negative: by that signal), or
            with None when it was not our own child. Nobody may cancel it.
    mark:   by which its kin is known (`controlplane.process.kin`), "" for none.
    left (when it is made): the process is a keeper, which names there what its application has left behind; absent:
            there is none between us and the process.
    left:   what still ran of it when it ended by itself, as a person would name it; all of that was ended too.
    """

    def __init__(self, identity: Identity, *, ours: bool, mark: str = "", left: Path | None = None) -> None:
        self.identity = identity
        self._kept = left
        self.left: tuple[str, ...] = ()
        self._ours = ours
        self._mark = mark
        self._ending = False
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int | None] = self._loop.create_future()
        self._group_is_ours = ours or identity.alive()
        """May the group be signalled? Its id is its leader's pid, which means nothing once all of it is gone."""
        if self._group_is_ours:
            self._watch()
        else:
            self.exited.set_result(None)

    def __repr__(self) -> str:
        state = f"exited={self.exited.result()}" if self.exited.done() else "running"
        return f"<Child {self.pid} {state}>"

    @property
    def pid(self) -> int:
        return self.identity.pid

    def how_it_ended(self) -> str:
        """To stand behind its name, once it has: "ended with exit code 3"."""
        status = self.exited.result()
        how = describe_end(status)
        if not self.left or status != 0:  # a program that fails leaves its workers behind and means nothing by it
            return how
        what = f"{how} and left {', '.join(self.left)} behind, which was ended too"
        return f"{what}: it seems to put itself into the background, and has to run in the foreground"

    def kill(self) -> None:
        """SIGKILL to the whole group and its kin, at once. `exited` resolves soon after."""
        if self._kept is not None and self.identity.alive():
            kill_tree(self.identity)  # before its keeper, to which all of it comes back
        self._signal(signal.SIGKILL)
        kill_kin(self._mark)

    async def end(self, grace: float) -> None:
        """SIGTERM to the group and its kin, and SIGKILL when something is left after `grace` seconds.

        Returns when all of it is gone.
        """
        self._ending = True
        self._signal(signal.SIGTERM)
        for each in kin(self._mark):
            if each != self.identity:
                send(each, signal.SIGTERM)
        if not await self._group_ends(grace):
            self.kill()
            await self._group_ends(KILL_SECONDS)
        self._group_is_ours = False

    def _signal(self, number: signal.Signals) -> None:
        if self._group_is_ours and identify_child(self.pid).started in ("", self.identity.started):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def _group_ends(self, seconds: float) -> bool:
        deadline = self._loop.time() + seconds
        await asyncio.wait([self.exited], timeout=seconds)
        while (of_group := self._group_left()) or kin(self._mark):
            if self._loop.time() >= deadline:
                return False
            await asyncio.sleep(POLL_SECONDS if of_group else KIN_POLL_SECONDS)
        return True

    def _group_left(self) -> bool:
        return not self.exited.done() or (self._group_is_ours and group_runs(self.pid))

    def _watch(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except (OSError, AttributeError):
            self._poll()  # gone already, no descriptor left, or no such call on this system
        else:
            self._loop.add_reader(descriptor, self._ended, descriptor)
            if not self._ours and not self.identity.alive():
                self._ended(descriptor)  # it may mean a later process with the same pid

    def _ended(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._gone()

    def _poll(self) -> None:
        if self.identity.alive():
            self._loop.call_later(POLL_SECONDS, self._poll)
        else:
            self._gone()

    def _named_by_keeper(self) -> list[str]:
        with suppress(OSError):
            return self._kept.read_text().splitlines() if self._kept is not None else []
        return []

    def _gone(self) -> None:
        if not self._ending:
            left = [named(each.pid) for each in kin(self._mark) if each != self.identity]
            self.kill()
            self._group_is_ours = False
            self.left = (*self._named_by_keeper(), *left)
        status = None
        if self._ours:
            with suppress(ChildProcessError):  # SIGCHLD is ignored: the kernel has reaped it
                status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.exited.set_result(status)


@dataclass(frozen=True, slots=True)
class Kept:
    """A keeper stands between us and the process (`controlplane.process.keeper`).

    reader: of the pipe into which the process writes; it is closed for us by who made it.
    log:    the file into which it is written, line by line, each behind its time.
    groups: control groups in which it is to run (`controlplane.process.limits`).
    """

    reader: int
    log: Path
    groups: tuple[str, ...] = ()

    @property
    def left(self) -> Path:
        """Where the keeper says what the process has left behind."""
        return left_of(self.log)


def left_of(log: Path) -> Path:
    return log.with_name(f"{log.name}.left")


def spawn(command: Command, output: int, mark: str = "", kept: Kept | None = None) -> Child:
    """Start a process that reads nothing and writes to the descriptor `output`. Raises SpawnError.

    mark: see `Child`.
    kept: by a keeper, which is the child that is returned: it ends, as the process did, when nothing of that is left.

    It takes about two milliseconds and is deliberately not done in a thread: a cancelled start must know for sure
    whether there is a process to end.
    """
    argv = [*command.within, *command.argv]
    if kept is not None:
        _check_program(command)
        told = (str(kept.reader), str(kept.log), str(kept.left), ":".join(kept.groups))
        argv = [sys.executable, "-I", "-S", _KEEPER, *told, *argv]
    try:
        process = subprocess.Popen(  # noqa: S603 (running what the user wrote is the purpose)
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**command.env, MARK: mark} if mark else command.env,
            cwd=command.cwd or None,
            start_new_session=True,
            pass_fds=(kept.reader,) if kept is not None else (),
        )
    except (OSError, ValueError) as error:
        raise SpawnError(_why_not(argv[0] if kept is not None else command.argv[0], command.cwd, error)) from None
    process.returncode = 0  # `Child` reaps it; without this the object would complain when it is dropped
    return Child(identify_child(process.pid), ours=True, mark=mark, left=kept.left if kept is not None else None)


_KEEPER = str(Path(__file__).with_name("keeper.py"))


def _check_program(command: Command) -> None:
    """What the keeper could only tell later. Raises SpawnError."""
    if any("\0" in part for part in (*command.argv, *command.within)):
        raise SpawnError(f"{command.argv[0]!r} cannot be run: embedded null byte")
    program = (command.within or command.argv)[0]
    there = Path(command.cwd or ".", program) if "/" in program else None
    if there is None and not shutil.which(program, path=command.env.get("PATH", os.defpath)):
        raise SpawnError(f"there is no program {command.argv[0]!r}")
    if there is not None and Path(command.cwd or ".").is_dir():
        if not there.exists():
            raise SpawnError(f"there is no program {command.argv[0]!r}")
        if there.is_dir() or not os.access(there, os.X_OK):
            raise SpawnError(f"{command.argv[0]!r} cannot be run: Permission denied")


def _why_not(program: str, cwd: str, error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        if error.filename == cwd and cwd:
            return f"the working directory {cwd} cannot be used: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            return f"there is no program {program!r}"
        return f"{program!r} cannot be run: {error.strerror}"
    return f"{program!r} cannot be run: {error}"  # a NUL byte in an argument


def describe_end(status: int | None) -> str:
    """How a process ended, to stand behind its name: "ended with exit code 3"."""
    if status is None:
        return "ended"
    if status >= 0:
        return f"ended with exit code {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"
