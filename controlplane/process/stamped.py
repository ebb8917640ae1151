"""Files of lines that each stand behind the time at which they came, as `skycap up` writes what services say.

users.log            2026-01-31T12:00:00.000Z the line
users.log.1          the lines before those
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

READ_BYTES = 512 << 10
"""Of the end of each of the two files, for a window of time: some thousand lines, read in a millisecond."""

_STAMP = len("2026-01-31T12:00:00.000Z")


def stamp(moment: float) -> str:
    """Seconds since 1970 as RFC 3339, UTC, milliseconds: such texts sort as the times do, for the next 7,000 years."""
    moment = min(max(moment, 0.0), 253402300799.0)
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def older(path: Path) -> Path:
    """Where the lines before those of a file are."""
    return path.with_name(f"{path.name}.1")


def lines_of(path: Path) -> Iterator[str]:
    """All that is kept, the oldest first, with their times."""
    for each in (older(path), path):
        with suppress(OSError):
            yield from each.read_text(errors="replace").splitlines()


def within(path: Path, since: float, until: float, lines: int) -> list[str]:
    """The last `lines` of what came in a window of time, without their times. Empty when there is no such file."""
    found = [line for each in (older(path), path) for line in _end(each)]
    start = bisect_left(found, stamp(since), key=_time)
    end = bisect_right(found, stamp(until), key=_time)
    return [line[_STAMP + 1 :] for line in found[max(start, end - lines) : end]]


def _time(line: str) -> str:
    return line[:_STAMP]


def _end(path: Path) -> list[str]:
    """The last lines of a file; only those that have a time."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - READ_BYTES)
            file.seek(start)
            data = file.read(READ_BYTES)
    except OSError:
        return []
    lines = data.decode(errors="replace").split("\n")
    if start:
        del lines[0]
    return [line for line in lines if line[_STAMP - 1 : _STAMP + 1] == "Z "]
