"""Pipes, through which the kernel moves bytes from one socket to another: splice(2) wants one in between.

A pipe's memory belongs to the kernel, which limits it per user and not per process: beyond fs.pipe-user-pages-soft
(16,384 pages, 64 MiB) an ordinary user gets pipes of two pages that cannot be made larger (pipe(7)). The application
may run as the same user. So at most MAX_PIPES exist, half of that limit, and who gets none copies as before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass

PIPE_BYTES = 256 * 1024
"""Of one pipe: a quarter of what an ordinary user may ask for (fs.pipe-max-size); 256 of them are that user's limit."""

MAX_PIPES = 128
"""In use at a time: 128 x 256 KiB = 32 MiB of the kernel's memory at most, and 256 descriptors."""

KEPT_PIPES = 32
"""Empty ones, kept for the next body: 64 descriptors, and no memory but their tables (64 entries of 40 bytes each)."""

DESCRIPTORS_PER_PIPE = 2

SHARE = 8
"""Of the descriptors, pipes take one in so many: half of what `proxy.net.descriptors` keeps from accepting."""


@dataclass(slots=True)
class Pipe:
    """reading, writing: its two descriptors. held: bytes that are in it."""

    reading: int
    writing: int
    held: int = 0

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


class Pipes:
    """The pipes of one process.

    limit: how many may exist at a time.
    lent:  how many are in use.
    room:  whether there are descriptors for another one.
    """

    def __init__(self, limit: int = MAX_PIPES, room: Callable[[], bool] = lambda: True) -> None:
        self.limit = limit
        self.lent = 0
        self._room = room
        self._kept: list[Pipe] = []

    def __repr__(self) -> str:
        return f"<Pipes lent={self.lent} kept={len(self._kept)} limit={self.limit}>"

    def take(self) -> Pipe | None:
        """An empty pipe of PIPE_BYTES, None when none is to be had."""
        if self._kept:
            self.lent += 1
            return self._kept.pop()
        if self.lent >= self.limit or not self._room():
            return None
        try:
            pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:  # no descriptor
            return None
        with contextlib.suppress(OSError):  # EPERM beyond the user's limit; then it has kept the size that it had
            fcntl.fcntl(pipe.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        if fcntl.fcntl(pipe.writing, fcntl.F_GETPIPE_SZ) < PIPE_BYTES:
            pipe.close()
            return None
        self.lent += 1
        return pipe

    def give(self, pipe: Pipe) -> None:
        """Take it back. One that still holds somebody's bytes must not meet another body."""
        self.lent -= 1
        if pipe.held or len(self._kept) >= min(KEPT_PIPES, self.limit):
            pipe.close()
        else:
            self._kept.append(pipe)

    def close(self) -> None:
        """Close those that nobody uses."""
        for pipe in self._kept:
            pipe.close()
        self._kept.clear()


def pipe_limit(descriptors: int) -> int:
    """How many pipes a process may have that may have so many descriptors."""
    return min(MAX_PIPES, descriptors // SHARE // DESCRIPTORS_PER_PIPE)
