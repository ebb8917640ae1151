"""Hops on their way out of the data path: the ring in which they wait until a batch of them is sent.

The data path makes one tuple per keyed request and puts it here; nothing is written as text, and nothing waits. When
nobody takes them the oldest are dropped and counted, and no request notices.

What is captured of messages is bounded for the whole sidecar: CAPTURED_BYTES of it wait at a time, however many
requests fail. Beyond that hops go without, and say so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

RING_HOPS: Final = 2_000
"""Hops that wait: two seconds of a thousand keyed requests a second while the registry is slow. 2,000 x 1 KB are 2 MB;
what is captured has a bound of its own."""

CAPTURED_BYTES: Final = 8 << 20
"""Of heads and bodies that wait in the ring or belong to requests in flight."""


HOP_ID: Final = b"%b%08x"
HOP_COUNTS: Final = 0xFFFFFFFF
"""An id is the ring's prefix and a count in eight digits: `HOP_ID % (prefix, next(ids) & HOP_COUNTS)`."""


class Capture:
    """What is kept of a request and its answer, as the bytes that passed, framing of chunks included.

    request, answer:         the head and what is kept of the body behind it.
    request_end, answer_end: where that body begins.
    no_room:                 something was left out because CAPTURED_BYTES were waiting.
    """

    __slots__ = ("answer", "answer_end", "no_room", "request", "request_end")

    def __init__(self, request: bytes, request_end: int, answer: bytes, answer_end: int) -> None:
        self.request = request
        self.request_end = request_end
        self.answer = answer
        self.answer_end = answer_end
        self.no_room = False

    def __repr__(self) -> str:
        return f"<Capture request={len(self.request)} answer={len(self.answer)}>"

    def __len__(self) -> int:
        return len(self.request) + len(self.answer)


class Told(NamedTuple):
    """One keyed request that is over. The data path makes a plain tuple of these fields, which is cheaper.

    fixed:   what all hops of its plan have in common, as JSON members without braces.
    began:   seconds since 1970.
    trace:   b"" when the request had none.
    error:   the code of an answer of our own, or how it ended early, "" when it did not.
    seconds, first_byte: how long it took, and until the answer's head; 0 when there was none.
    further: JSON members that other protocols than HTTP/1.1 have, each behind a comma.
    """

    fixed: bytes
    id: bytes
    parent: bytes
    began: float
    trace: bytes
    method: bytes
    path: bytes
    status: int
    error: str
    seconds: float
    first_byte: float
    request_bytes: int
    answer_bytes: int
    further: bytes
    capture: Capture | None


Raw = tuple[
    bytes, bytes, bytes, float, bytes, bytes, bytes, int, str, float, float, int, int, bytes, Capture | None
]  # fmt: skip


class HopRing:
    """prefix: eight hexadecimal digits that no other process has: a hop's id is these and a count.
    wake:   called when the ring was empty and is not any more.

    ids:      the counts of the hops to come, see HOP_ID.
    dropped:  hops that nobody took in time.
    captured: bytes of messages that are held at this moment.
    """

    __slots__ = ("_prefix", "_wake", "captured", "dropped", "ids", "limit", "waiting")

    def __init__(self, prefix: str, wake: Callable[[], None], limit: int = RING_HOPS) -> None:
        self._prefix = prefix.encode()
        self._wake = wake
        self.limit = limit
        self.ids = count(1)
        self.waiting: deque[Raw] = deque()
        self.dropped = 0
        self.captured = 0

    def __repr__(self) -> str:
        return f"<HopRing {len(self.waiting)} dropped={self.dropped} captured={self.captured}>"

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def prefix(self) -> bytes:
        return self._prefix

    def put(self, told: Raw) -> None:
        waiting = self.waiting
        if not waiting:
            self._wake()
        elif len(waiting) >= self.limit:
            self.dropped += 1
            self._let_go(waiting.popleft())
        waiting.append(told)

    def take(self) -> Told:
        """The oldest. What it captured counts no more: it is about to be sent. Raises IndexError when there is none."""
        told = self.waiting.popleft()
        self._let_go(told)
        return Told(*told)

    def room(self, size: int) -> bool:
        """Whether `size` more bytes may be captured; then they count."""
        if self.captured + size > CAPTURED_BYTES:
            return False
        self.captured += size
        return True

    def _let_go(self, told: Raw) -> None:
        capture = told[-1]
        if capture is not None:
            self.captured -= len(capture)
