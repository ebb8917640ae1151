"""What a test has started, seen from outside: every process that inherited the test's own mark (proc(5))."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

VARIABLE = "TEST_OF_SKYCAP"


class Marked:
    """Processes that carry one mark in the environment they were started with."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.environ = {**os.environ, VARIABLE: self.mark}

    def alive(self) -> dict[int, str]:
        """pid -> command line, zombies not counted: those have neither environment nor command line."""
        found = {}
        sought = f"{VARIABLE}={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):
                    if sought in (folder / "environ").read_bytes().split(b"\0"):
                        command = (folder / "cmdline").read_bytes().decode(errors="replace")
                        found[int(folder.name)] = command.replace("\0", " ").strip()
        return found

    def stranger(self, *argv: str) -> subprocess.Popen[bytes]:
        """A process that nobody but the test knows of, in a session of its own."""
        return subprocess.Popen(argv, start_new_session=True, env=self.environ, stdout=subprocess.PIPE)

    def end(self) -> list[str]:
        """Kill what is still there: a failing test must not leave anything behind. Returns the command lines."""
        found = self.alive()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return list(found.values())


@pytest.fixture
def marked() -> Iterator[Marked]:
    """An environment to start processes with. At the end of the test none of them may be left."""
    marked = Marked()
    yield marked
    deadline = time.monotonic() + 5.0
    while marked.alive() and time.monotonic() < deadline:
        time.sleep(0.01)  # a killed process needs a moment to be gone
    assert marked.end() == []


async def eventually(check: Callable[[], object], seconds: float = 20.0) -> None:
    """Return as soon as `check` holds; TimeoutError when it does not within `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            if check():
                return
            await asyncio.sleep(0.01)
