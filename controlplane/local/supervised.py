"""One process that is kept running.

    run --> start --> wait for its end --> asked to stop? --> done
              ^                                 | no
              +--------- back-off <-------------+

A process that ends by itself is started again after a pause that doubles with every early death, so that a broken
service does not eat the machine, and that is forgotten once the process has been stable for a while.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from controlplane.local.events import Ended, Observer, Output, Started
from controlplane.process.child import Child, SpawnError, spawn
from controlplane.process.command import Command

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STABLE_SECONDS = 10.0
"""A process that lived this long had started well: its next death is a new story."""
LAST_LINES = 10
MAX_LINE_BYTES = 16 << 10
"""A longer line is shown in pieces: it must not be held back until it ends."""
_READ_BYTES = 64 << 10
_LAST_READS = 4
"""A pipe holds 64 KiB; one that never runs dry is written by somebody who has left the process's group."""


class BackOff:
    """Pauses between restarts: doubling up to LONGEST_PAUSE, half of each at random.

    Services that died together, of the same cause, must not come back in step.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._deaths = 0

    def pause(self, lived: float) -> float:
        """Seconds until the next start of a process that lived for `lived` seconds."""
        if lived >= STABLE_SECONDS:
            self._deaths = 0
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._deaths)
        self._deaths = min(self._deaths + 1, 16)
        return longest * (0.5 + 0.5 * self._chance())


class Lines:
    """Reads a pipe and calls `each` with every line."""

    def __init__(self, pipe: int, each: Callable[[str], None]) -> None:
        self._pipe = pipe
        self._each = each
        self._held = b""
        self._open = True
        self._loop = asyncio.get_running_loop()
        os.set_blocking(pipe, False)
        self._loop.add_reader(pipe, self._read)

    def finish(self) -> None:
        """Read what is there, hand out the unfinished last line, and close the pipe."""
        for _ in range(_LAST_READS):
            if not self._open or not self._read():
                break
        self._close()

    def _read(self) -> bool:
        """True when there may be more at once."""
        try:
            piece = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        if not piece:
            self._close()
            return False
        *lines, self._held = (self._held + piece).split(b"\n")
        while len(self._held) > MAX_LINE_BYTES:
            lines.append(self._held[:MAX_LINE_BYTES])
            self._held = self._held[MAX_LINE_BYTES:]
        for line in lines:
            self._each(line.decode(errors="replace").rstrip("\r"))
        return True

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        if self._held:
            self._each(self._held.decode(errors="replace"))


class Supervised:
    """A named process, started again whenever it ends, until it is stopped.

    on_start: called with each new process.
    mark:     by which its kin is known.
    hopeless: whether it is no use to start it again, given the exit status with which it has ended.
    """

    def __init__(
        self,
        name: str,
        command: Command,
        observe: Observer,
        on_start: Callable[[Child], None],
        mark: str = "",
        hopeless: Callable[[int | None], bool] = lambda status: False,
    ) -> None:
        self.name = name
        self._command = command
        self._mark = mark
        self._hopeless = hopeless
        self._restarting = False
        self._observe = observe
        self._on_start = on_start
        self._back_off = BackOff()
        self._stopping = asyncio.Event()
        self._child: Child | None = None
        self._last: deque[str] = deque(maxlen=LAST_LINES)

    def __repr__(self) -> str:
        return f"<Supervised {self.name} {self._child!r}{' stopping' if self._stopping.is_set() else ''}>"

    @property
    def child(self) -> Child | None:
        """The process that runs now."""
        return self._child

    async def run(self) -> None:
        """Returns after `stop` or `kill`, or when it is hopeless. Cancelled: the process is killed."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            how, status = await self._live()
            if self._stopping.is_set():
                return
            if self._restarting:
                self._restarting = False
                continue
            hopeless = self._hopeless(status)
            pause = 0.0 if hopeless else self._back_off.pause(loop.time() - began)
            self._observe(Ended(self.name, how, tuple(self._last), None if hopeless else round(pause, 3)))
            if hopeless:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def restart(self, grace: float) -> None:
        """End it as `stop` does; it is started again at once."""
        if self._child is not None and not self._stopping.is_set():
            self._restarting = True
            await self._child.end(grace)

    async def stop(self, grace: float) -> None:
        """End it for good: SIGTERM, and SIGKILL after `grace` seconds."""
        self._stopping.set()
        if self._child is not None:
            await self._child.end(grace)

    def kill(self) -> None:
        """End it for good, at once."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()

    async def _live(self) -> tuple[str, int | None]:
        """One life of the process. Returns how it ended, and its exit status where it had one."""
        self._last.clear()
        reader, writer = os.pipe()
        try:
            child = spawn(self._command, writer, self._mark)
        except SpawnError as error:
            os.close(reader)
            return f"could not be started: {error}", None
        finally:
            os.close(writer)
        lines = Lines(reader, self._line)
        self._child = child
        try:
            self._observe(Started(self.name, child.pid))
            self._on_start(child)
            await asyncio.wait([child.exited])
        except BaseException:
            child.kill()
            raise
        finally:
            self._child = None
            lines.finish()
        return child.how_it_ended(), child.exited.result()

    def _line(self, line: str) -> None:
        self._last.append(line)
        self._observe(Output(self.name, line))
