"""What keeps hop records, as the rest of the registry sees it.

Hops are kept per routing key in a ring: the newest KEPT_HOPS of them, of KEPT_BYTES together at most. A hop that was
kept has a position, a whole number that grows within its key, so that a reader goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from proxy.contract.hops import Hop

KEPT_HOPS = 5_000
"""Per key. An agent's test run of 100 requests through ten services, both sides, is 2,000."""

KEPT_BYTES = 64 << 20
"""Per key, of the lines as they came: 5,000 hops with 13 KB each."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A hop and its position."""

    position: int
    hop: Hop


class Line(NamedTuple):
    """A hop as it came: what it is looked up by, and the line that `decode_hop` has accepted."""

    id: str
    parent: str
    trace: str
    text: bytes


class HopsUnavailableError(Exception):
    """Where hops are kept cannot be asked now. `str()` is one sentence that says why."""


class HopStore(Protocol):
    """Where hops are kept. Nothing here raises for a hop that is already gone.

    Those that ask raise HopsUnavailableError where the hops are kept elsewhere; `add` and `forget` never do.
    """

    async def add(self, key: str, lines: Sequence[Line]) -> int:
        """Keep hops of `key`. Returns how many could be kept."""
        ...

    async def newest(self, key: str, limit: int, before: int | None = None) -> list[Kept]:
        """At most `limit` hops below the position `before`, the newest first."""
        ...

    async def trace(self, key: str, trace: str) -> list[Hop]:
        """The hops of one trace and all that are above or below one of them, in the order in which they were kept.

        A service that forwards a request id alone begins another trace: the causes hold them together.
        """
        ...

    async def newer(self, key: str, after: int, seconds: float) -> list[Kept] | None:
        """What is kept above the position `after`, the oldest first, waiting up to `seconds` for something to come.

        A piece at a time; empty when nothing came; None when the key was forgotten meanwhile, or the store closed.
        """
        ...

    async def last(self, key: str) -> int:
        """The newest position, 0 when there is none."""
        ...

    async def forget(self, key: str) -> None:
        """The sandbox of this key has ended."""
        ...

    async def close(self) -> None:
        """Nobody waits any more."""
        ...
