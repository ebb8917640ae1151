"""What comes in on a connection of HTTP/2 and is passed on: DATA, the blocks behind it, and what has to wait.

Windows of streams are those of the peers. The connection's own is ours: what was passed on is given back to the peer by
the quarter, and so is what waits, up to a limit.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from proxy.exchange.h2.budget import Budget
from proxy.exchange.h2.flow import EARLY, KEPT, LAST, LIMBO, OVER, Flow
from proxy.exchange.h2.outlet import Outlet
from proxy.wire.h2.faults import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    ConnectionFault,
)
from proxy.wire.h2.frames import (
    DATA,
    END_STREAM,
    HEAD_BYTES,
    PADDED,
    data_frame,
    header_frames,
    unpadded,
    window_frame,
)

CONNECTION_WINDOW: Final = 1 << 20
"""What a peer may have under way to us; given back by the quarter. A MiB in 1 ms is 8 Gbit/s, both ends are near."""

MAX_QUEUED: Final = 8 << 20
"""Bytes that wait on one connection for streams that do not take them, until its own window stalls as well: so much can
streams that stall keep, before they hold up the others of their client."""

NUISANCES: Final = 2_000
"""Frames that do nothing (PING, SETTINGS, empty DATA, PRIORITY, for streams that have ended) beyond ten for each stream
that was served: more than a peer has reason for. A PING behind DATA that went to it is no such frame: gRPC measures so
how much is under way, with one PING for each round trip, for as long as a stream lasts."""


class Intake(Outlet):
    """
    flows:   what comes in here, by stream.
    credit:  bytes that were passed on, and are to be given back to the peer; owed: the same of what still waits.
    queued:  bytes that came in here and wait.
    nuisances: frames that do nothing.
    whole:   the stream whose HEADERS is being looked at and may leave as it stands in `read`, from `start` to `stop`;
             0 for none.
    """

    __slots__ = ("credit", "flows", "nuisances", "owed", "queued", "read", "start", "stop", "whole")

    def __init__(self) -> None:
        super().__init__()
        self.flows: dict[int, Flow] = {}
        self.credit = self.owed = self.queued = 0
        self.nuisances = Budget()
        self.read = b""
        self.start = self.stop = self.whole = 0

    @abstractmethod
    def reset_by_us(self, sid: int, flow: Flow | None, code: int) -> None:
        """End a stream for what the peer did on it."""

    @abstractmethod
    def stray(self, sid: int, size: int) -> None:
        """So many bytes of DATA for a stream that is not open. Raises ConnectionFault."""

    # -- as it stands --------------------------------------------------------------------------------------------------

    def pass_data(self, flow: Flow, flags: int, data: bytes, start: int, stop: int) -> bool:
        """Pass on a frame of DATA as it stands, if it can be."""
        to, size = flow.sink, stop - start - HEAD_BYTES
        if flags & PADDED or not size or size > flow.window or size > to.window:
            return False
        came, all_of_it = flow.bytes + size, flow.expects
        if all_of_it >= 0 and (came != all_of_it if flags & END_STREAM else came > all_of_it):
            return False
        if flow.state:
            flow.exchange.keep(flow, data[start:stop])
        flow.bytes = came
        flow.window -= size
        to.window -= size
        self.credit += size
        to.pass_on(data, start, stop)
        return True

    def pass_block(self, sid: int, to: Outlet, end: int, block: bytes, *, changed: bool) -> None:
        """A block that has just come in here. changed: it is not as it came."""
        if changed or to.fresh or self.whole != sid:
            to.write(header_frames(sid, end, to.first(block)))
        else:
            to.pass_on(self.read, self.start, self.stop)

    # -- the connection's own window -----------------------------------------------------------------------------------

    def give_back(self) -> None:
        """The peer may send as much again as was passed on."""
        self.write(window_frame(0, self.credit))
        self.credit = 0

    def unqueued(self, size: int) -> None:
        """So many bytes that came in here wait no more."""
        self.queued -= size
        if self.owed:
            step = min(self.owed, size)
            self.owed -= step
            self.credit += step
        if self.credit > CONNECTION_WINDOW // 4:
            self.give_back()

    # -- DATA that is not passed on as it stands -----------------------------------------------------------------------

    def unusual_data(self, sid: int, flags: int, payload: bytes) -> None:
        """With padding, of no bytes, for a stream that has none to go to, or more than the other end takes."""
        flow, size = self.flows.get(sid), len(payload)
        body = unpadded(payload, flags)
        if flow is None or flow.state & (LAST | OVER | EARLY):
            self.credit += size
            if flow is None:
                self.stray(sid, size)
            else:
                self.reset_by_us(sid, flow, STREAM_CLOSED)
            return
        flow.bytes += len(body)
        if len(body) < size:
            self.credit += size - len(body)
            self.write(window_frame(sid, size - len(body)))
        if flow.expects >= 0 and (flow.bytes != flow.expects if flags & END_STREAM else flow.bytes > flow.expects):
            self.credit += len(body)
            self.reset_by_us(sid, flow, PROTOCOL_ERROR)
            return
        if not body and not flags & END_STREAM:
            self.annoyed()
            return
        frame = data_frame(sid, flags & END_STREAM, body)
        if flow.state & KEPT:
            flow.exchange.keep(flow, frame)
        if flags & END_STREAM:
            flow.state |= LAST
        if flow.queue or flow.state & LIMBO or len(body) > flow.window or len(body) > flow.sink.window:
            self._queue(sid, flow, frame)
            return
        flow.window -= len(body)
        flow.sink.window -= len(body)
        self.credit += len(body)
        flow.sink.write(frame)
        if flags & END_STREAM:
            self.finish(sid, flow)

    def _queue(self, sid: int, flow: Flow, frame: bytes) -> None:
        size = len(frame) - HEAD_BYTES
        self.queued += size
        if self.queued <= MAX_QUEUED:
            self.credit += size
        else:
            self.owed += size
            if self.owed > CONNECTION_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "more than the connection's window (section 6.9.1)")
        flow.enqueue(frame)
        if not flow.state & LIMBO:
            flow.sink.waiting[sid] = flow
            flow.sink.send_waiting(sid, flow)

    def forget(self, sid: int, flow: Flow) -> None:
        """A flow that came in here is given up."""
        queue, flow.queue = flow.queue, None
        size = sum([len(frame) - HEAD_BYTES for frame in queue or () if frame[3] == DATA])
        flow.sink.waiting.pop(sid, None)
        if size:
            self.unqueued(size)

    def pass_end_on(self, sid: int, flow: Flow, block: bytes, *, changed: bool) -> None:
        """Trailers that came in here, behind what waits for a window."""
        flow.state |= LAST
        if flow.queue or flow.state & LIMBO:
            flow.enqueue(header_frames(sid, END_STREAM, block))
            return
        self.pass_block(sid, flow.sink, END_STREAM, block, changed=changed)
        self.finish(sid, flow)

    def finish(self, sid: int, flow: Flow) -> None:
        """All of a direction has been passed on."""
        flow.state |= OVER
        if flow.back.state & OVER:
            flow.exchange.over()

    def annoyed(self, cost: int = 1) -> None:
        """A frame that does nothing, or costs as much as so many. Raises ConnectionFault when they are too many for the
        time."""
        if self.nuisances.spend(self.client.side.wheel.now, cost) > NUISANCES:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames that do nothing")
