"""The two bodies that are not chunked: one of a known length, one that ends with the connection.

All bodies are followed in the same way (see `proxy.wire.chunked` for the third): `feed(data, start)` returns where
the body ends in `data`, or len(data) when it goes on, and `done` says whether it has ended. The bytes themselves
stay with the caller.
"""

from __future__ import annotations

from typing import Protocol

from proxy.errors import Failure
from proxy.wire.chunked import NO_LINE, ChunkedReader
from proxy.wire.framing import CHUNKED, UNTIL_CLOSE


class BodyReader(Protocol):
    """Finds the end of one body.

    work: what that has cost, 1 for a byte of a small chunk, which is 10 ns; its user sets it back.
    line: a line of its framing, or its trailers, has begun in the bytes fed last, or, LASTS, before them.
    """

    done: bool
    work: int
    line: int

    def feed(self, data: bytes, start: int = 0) -> int:
        """Where the body ends in `data`. Raises Refused when it cannot be what it claims to be."""
        ...


class LengthReader:
    """`left` bytes are still to come (RFC 9112 section 6.2)."""

    __slots__ = ("done", "left", "line", "work")

    def __init__(self, length: int) -> None:
        self.left = length
        self.line = NO_LINE
        self.done = not length
        self.work = 0

    def __repr__(self) -> str:
        return f"<LengthReader left={self.left}>"

    def feed(self, data: bytes, start: int = 0) -> int:
        stop = min(len(data), start + self.left)
        self.left -= stop - start
        self.done = not self.left
        return stop

    def skip(self, count: int) -> None:
        """So many bytes of it have passed unseen."""
        self.left -= count
        self.done = not self.left


class CloseReader:
    """Whatever comes until the connection ends (RFC 9112 section 6.3, step 8)."""

    __slots__ = ("done", "line", "work")

    def __init__(self) -> None:
        self.done = False
        self.line = NO_LINE
        self.work = 0

    def feed(self, data: bytes, start: int = 0) -> int:
        return len(data)


def body_reader(body: int, failure: Failure, *, padded: bool = False) -> BodyReader:
    """The reader for what `proxy.wire.framing` decided."""
    if body == CHUNKED:
        return ChunkedReader(failure, padded=padded)
    return CloseReader() if body == UNTIL_CLOSE else LengthReader(body)
