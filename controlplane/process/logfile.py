"""The output of a shadow: one file that its processes append to, so that it survives the registry.

Writers hold the file open with O_APPEND and nobody rotates it under them; whoever watches the shadow cuts the file
down in place. What is written between the reading and the cutting is lost: a few lines out of megabytes.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from controlplane.model.copy_log import Window

MAX_BYTES = 4 << 20
"""A hundred shadows at their limit are 400 MB of disk; a longer log than this is no help to anybody."""
KEPT_BYTES = 1 << 20
"""What remains after a cut: at 100 bytes a line the last ten thousand lines."""
MARKS = 1024
"""Of when a file was how long: at two looks a second, eight minutes of one that always grows."""
TAIL_BYTES = 256 << 10
"""How far back `tail` reads at most."""


def open_log(path: Path) -> int:
    """A file descriptor that appends; only the owner may read it, for applications log secrets."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def size(path: Path) -> int:
    """In bytes; 0 when there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Marks:
    """How long a file was when: a line that nobody wrote a time before came between two of our looks."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS)

    def clear(self) -> None:
        """What was remembered says nothing about the file any more."""
        self._marks.clear()

    def note(self, now: float, length: int) -> None:
        if not self._marks or self._marks[-1][1] != length:
            self._marks.append((now, length))
        elif len(self._marks) > 1 and self._marks[-2][1] == length:
            self._marks[-1] = (now, length)  # of a time in which nothing came the two ends are enough
        else:
            self._marks.append((now, length))

    def span(self, window: Window) -> tuple[int, int | None]:
        """Between which bytes what came in a window is; None: the end of the file."""
        start = max((length for time, length in self._marks if time <= window.since), default=0)
        end = min((length for time, length in self._marks if time >= window.until), default=None)
        return start, end


def tail(path: Path, lines: int, start: int = 0, end: int | None = None) -> str:
    """The last `lines` lines, without the final line break; "" when there is no such file.

    start, end: only what is between these bytes.
    """
    if lines <= 0:
        return ""
    try:
        found = _end_of(path, TAIL_BYTES, start, end)
    except OSError:
        return ""
    return "\n".join(found.decode(errors="replace").splitlines()[-lines:])


def cut(path: Path) -> bool:
    """Keep only the end of a file that has grown past MAX_BYTES. True when it was cut."""
    try:
        if path.stat().st_size <= MAX_BYTES:
            return False
        kept = _end_of(path, KEPT_BYTES)
        with path.open("r+b") as log:
            log.write(kept)
            log.truncate()
    except OSError:
        return False
    return True


def _end_of(path: Path, limit: int, first: int = 0, last: int | None = None) -> bytes:
    """The last `limit` bytes of a file, from the beginning of a line on where there is one."""
    with path.open("rb") as log:
        length = log.seek(0, os.SEEK_END)
        end = length if last is None else min(last, length)
        start = max(first, end - limit)
        log.seek(start)
        found = log.read(max(0, end - start))
    if start > first:
        _, broken, rest = found.partition(b"\n")
        return rest if broken else found
    return found
