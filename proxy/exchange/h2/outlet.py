"""What goes out on a connection of HTTP/2: windows, and what waits for them.

What is written goes out together when all that was read has been looked at (`ClientLink.flush`). Frames that leave as
they came are a run: a slice of what was read, which grows for as long as the next frame stands behind the last one.
DATA that a window does not admit waits in the queue of its flow; other frames do not wait, unless they stand behind
such DATA.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from proxy.exchange.h2.flow import QUEUED, Flow
from proxy.exchange.ports import Stream
from proxy.wire.h2.faults import FLOW_CONTROL_ERROR, ConnectionFault
from proxy.wire.h2.frames import DATA, END_STREAM, FRAME, HEAD_BYTES, MAX_WINDOW, data_frame, reset_frame
from proxy.wire.h2.hpack import NO_TABLE
from proxy.wire.h2.settings import DEFAULT_WINDOW

if TYPE_CHECKING:
    from proxy.exchange.h2.client import ClientLink

JOIN: Final = 65_536
"""Up to so many bytes are joined for one write; larger ones are not worth copying."""


class Outlet(ABC):
    """
    client:  the link of the client, which all links of it belong to.
    stream:  the way out, None while it is dialled.
    out:     what was written and not sent.
    waiting: what goes out here and waits for a window.
    window:  what the peer takes on the connection, `initial` on a new stream.
    allowed: what it has ever said that it takes.
    parked:  of the window, while the connection takes no more (`clogged`).
    fresh:   no block was sent there yet.
    closed:  nothing goes out any more.
    """

    __slots__ = (
        "_read", "_start", "_stop", "allowed", "client", "clogged", "closed", "fresh", "initial", "out", "parked",
        "stream", "waiting", "window",
    )  # fmt: skip

    client: ClientLink
    initial: int

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.out: list[bytes] = []
        self._read = b""
        self._start = self._stop = 0
        self.waiting: dict[int, Flow] = {}
        self.window = self.initial = self.allowed = DEFAULT_WINDOW
        self.parked = 0
        self.clogged = False
        self.fresh = True
        self.closed = False

    @abstractmethod
    def unqueued(self, size: int) -> None:
        """So many bytes that came in here wait no more."""

    @abstractmethod
    def finish(self, sid: int, flow: Flow) -> None:
        """All of a direction that came in here has been passed on."""

    def write(self, piece: bytes) -> None:
        if self._stop:
            self._end_run()
        elif not self.out:
            self.client.dirty.append(self)
        self.out.append(piece)

    def pass_on(self, read: bytes, start: int, stop: int) -> None:
        """Write a frame as it stands in what was read."""
        if self._stop:
            if self._stop == start and self._read is read:
                self._stop = stop
                return
            self._end_run()
        elif not self.out:
            self.client.dirty.append(self)
        self._read = read
        self._start, self._stop = start, stop

    def end(self, words: bytes) -> None:
        """Send what was written, and that behind it."""
        if self._stop:
            self._end_run()
        self.out.append(words)
        Outlet.push(self)

    def discard(self) -> None:
        """Nobody takes what was written."""
        self.out.clear()
        self._read = b""
        self._start = self._stop = 0

    def _end_run(self) -> None:
        read, start, stop = self._read, self._start, self._stop
        self.out.append(read[start:stop] if start or stop < len(read) else read)
        self._read = b""
        self._start = self._stop = 0

    def push(self) -> None:
        """Send what was written."""
        stream = self.stream
        if stream is None:
            return
        if self._stop:
            self._end_run()
        out = self.out
        if not out:
            return
        self.out = []
        if stream.is_closing():
            return
        if len(out) == 1:
            stream.write(out[0])
        elif len(out[-1]) > FRAME and sum([len(piece) for piece in out]) > JOIN:
            for piece in out:
                stream.write(piece)
        else:
            stream.write(b"".join(out))

    def reset_stream(self, sid: int, code: int) -> None:
        if not self.closed:
            self.write(reset_frame(sid, code))

    def first(self, block: bytes) -> bytes:
        """To each peer, the first block says that we use no table (RFC 7541 section 4.2)."""
        if self.fresh:
            self.fresh = False
            return NO_TABLE + block
        return block

    def send_waiting(self, sid: int, flow: Flow) -> None:
        """Send of a queue to here what windows allow."""
        queue, source = flow.queue, flow.back.sink
        while queue:
            frame = queue[0]
            if frame[3] == DATA:
                size = len(frame) - HEAD_BYTES
                room = min(flow.window, self.window)
                if room < size:
                    if room <= 0:
                        return
                    queue[0] = data_frame(sid, frame[4], frame[HEAD_BYTES + room :])
                    frame = data_frame(sid, 0, frame[HEAD_BYTES : HEAD_BYTES + room])
                    size = room
                else:
                    queue.popleft()
                flow.window -= size
                self.window -= size
                source.unqueued(size)
            else:
                queue.popleft()
            self.write(frame)
            if frame[4] & END_STREAM:
                source.finish(sid, flow)
        flow.state &= ~QUEUED
        self.waiting.pop(sid, None)

    @property
    def passed(self) -> int:
        """The bytes of DATA that went there."""
        return self.allowed - self.window - self.parked

    def widen_all(self, step: int) -> None:
        """The peer takes so much more of all streams together."""
        self.allowed += step
        if self.clogged:
            self.parked += step
            return
        self.window += step
        if self.window + self.parked > MAX_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "a window of more than 2^31-1 (section 6.9.1)")
        for sid, flow in list(self.waiting.items()):
            self.send_waiting(sid, flow)

    def park(self) -> None:
        """The connection takes no more: what goes there waits, as for a window."""
        self.clogged = True
        self.parked, self.window = self.window, 0

    def unpark(self) -> None:
        self.clogged = False
        parked, self.parked = self.parked, 0
        self.allowed -= parked
        self.widen_all(parked)
