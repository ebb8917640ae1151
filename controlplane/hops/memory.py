"""Hop records in this process's memory: one ring per key.

A hop is kept as the line that came and decoded when somebody asks. Half a million of them, 100 sandboxes with full
rings, are so 200 MB instead of a gigabyte of objects.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice

from controlplane.hops.port import KEPT_BYTES, KEPT_HOPS, Kept, Line
from proxy.contract.hops import Hop, decode_hop

FOLLOWED_AT_ONCE = 200
"""Hops that a follower gets in one piece: decoding them takes some milliseconds, and others run in between."""


class _Ring:
    """The hops of one key. `first` is the position of the oldest one, `ended` that the key is forgotten."""

    def __init__(self) -> None:
        self.lines: deque[Line] = deque()
        self.first = 1
        self.size = 0
        self.ended = False
        self.grown = asyncio.Event()

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    def __repr__(self) -> str:
        return f"<Ring {self.first}-{self.last}, {self.size} bytes>"


class MemoryHops:
    """`HopStore` in memory.

    kept_hops, kept_bytes: of each key.
    """

    def __init__(self, kept_hops: int = KEPT_HOPS, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_hops = kept_hops
        self._kept_bytes = kept_bytes
        self._rings: dict[str, _Ring] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<MemoryHops {len(self)} hops of {len(self._rings)} keys>"

    def __len__(self) -> int:
        return sum(len(ring.lines) for ring in self._rings.values())

    async def add(self, key: str, lines: Sequence[Line]) -> int:
        ring = self._rings.setdefault(key, _Ring())
        ring.lines.extend(lines)
        ring.size += sum(len(line.text) for line in lines)
        while len(ring.lines) > self._kept_hops or ring.size > self._kept_bytes:
            ring.size -= len(ring.lines.popleft().text)
            ring.first += 1
        ring.grown.set()
        return len(lines)

    async def newest(self, key: str, limit: int, before: int | None = None) -> list[Kept]:
        ring = self._rings.get(key)
        if ring is None:
            return []
        end = ring.last + 1 if before is None else max(ring.first, min(before, ring.last + 1))
        start = max(ring.first, end - limit)
        return _decoded(ring, start, end)[::-1]

    async def trace(self, key: str, trace: str) -> list[Hop]:
        ring = self._rings.get(key)
        if ring is None:
            return []
        wanted = related(ring.lines, trace)
        return [decode_hop(line.text) for line in ring.lines if line.id in wanted]

    async def newer(self, key: str, after: int, seconds: float) -> list[Kept] | None:
        ring = self._rings.setdefault(key, _Ring())
        if after >= ring.last and not self._closed:
            ring.grown.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ring.grown.wait()
        if self._closed or ring.ended:
            return None
        start = max(after + 1, ring.first)
        return _decoded(ring, start, min(ring.last + 1, start + FOLLOWED_AT_ONCE))

    async def last(self, key: str) -> int:
        ring = self._rings.get(key)
        return ring.last if ring is not None else 0

    async def forget(self, key: str) -> None:
        ring = self._rings.pop(key, None)
        if ring is not None:
            ring.ended = True
            ring.lines.clear()
            ring.grown.set()

    async def close(self) -> None:
        self._closed = True
        for ring in self._rings.values():
            ring.grown.set()


def _decoded(ring: _Ring, start: int, end: int) -> list[Kept]:
    """The hops from the position `start` up to `end`, that one not included."""
    lines = islice(ring.lines, start - ring.first, end - ring.first)
    return [Kept(position, decode_hop(line.text)) for position, line in enumerate(lines, start)]


def related(lines: Iterable[Line], trace: str) -> set[str]:
    """The ids of the hops of a trace, and of those that are above or below one of them."""
    beside: dict[str, list[str]] = {}
    waiting = []
    for line in lines:
        if line.trace == trace:
            waiting.append(line.id)
        if line.parent:
            beside.setdefault(line.parent, []).append(line.id)
            beside.setdefault(line.id, []).append(line.parent)
    found: set[str] = set()
    while waiting:
        ident = waiting.pop()
        if ident not in found:
            found.add(ident)
            waiting += beside.get(ident, ())
    return found
