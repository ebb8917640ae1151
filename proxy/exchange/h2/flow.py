"""One direction of a stream: the request's, or the answer's.

What keeps a frame of DATA from being passed on as it stands is a bit of `state`; while it is 0, that is all there is to
look at besides the windows.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from proxy.wire.h2.frames import DATA, HEAD_BYTES, data_frame, word_of

if TYPE_CHECKING:
    from proxy.exchange.h2.link import Link
    from proxy.exchange.h2.way import StreamWay

SMALL: Final = 1_024
"""Smaller frames of DATA are joined in a queue: one of a byte weighs 60, and what waits is counted by its bytes."""

OVER: Final = 1
"""All of it has been passed on."""
LIMBO: Final = 2
"""There is no connection to pass it on to yet."""
QUEUED: Final = 4
"""Frames wait: for a window, or for that connection."""
KEPT: Final = 8
"""What passes is kept, in case it has to be sent again."""
LAST: Final = 16
"""Its sender has said that this was all."""
EARLY: Final = 32
"""An answer whose head has not come: it has no content yet."""


class Flow:
    """
    sink:    where it goes.
    back:    the other direction.
    window:  what the sink's peer takes of it.
    queue:   whole frames that wait, DATA or HEADERS; None until one has.
    bytes:   of its content that have come, without padding.
    expects: how many of them were announced, -1 when none were.
    """

    __deletable__ = ("back", "exchange")
    """When a stream is settled, so that its objects are no cycle, for which the garbage collector would have to run."""

    __slots__ = ("back", "bytes", "exchange", "expects", "queue", "sink", "state", "window")

    back: Flow

    def __init__(self, exchange: StreamWay, sink: Link, window: int, state: int) -> None:
        self.exchange = exchange
        self.sink = sink
        self.window = window
        self.state = state
        self.bytes = 0
        self.expects = -1
        self.queue: deque[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Flow {self.bytes} bytes, window {self.window}, state {self.state}, {len(self.queue or ())} queued>"

    def enqueue(self, frame: bytes) -> None:
        self.state |= QUEUED
        queue = self.queue
        if queue is None:
            queue = self.queue = deque()
        elif queue and len(frame) <= SMALL and frame[3] == DATA:
            last = queue[-1]
            if len(last) <= SMALL and last[3] == DATA:
                queue[-1] = data_frame(word_of(last, 5), frame[4], last[HEAD_BYTES:] + frame[HEAD_BYTES:])
                return
        queue.append(frame)
