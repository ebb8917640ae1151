"""A connection of HTTP/2: what the client's and those to upstreams have in common.

Streams have the same number on both connections, so that DATA is passed on in runs, as slices of what was read. Windows
of streams are those of the peers: each end is told the other's initial window, and WINDOW_UPDATEs pass, joined per
stream and wake-up. Windows of connections are ours: what one does not admit waits in its flow's queue. So memory is
bounded by windows, and a peer that takes nothing keeps only its own streams waiting.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from proxy.exchange.h2.budget import Budget
from proxy.exchange.h2.flow import EARLY, KEPT, LAST, LIMBO, OVER, Flow
from proxy.exchange.h2.outlet import Outlet
from proxy.wire.h2.faults import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    ConnectionFault,
)
from proxy.wire.h2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    MAX_WINDOW,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    assemble,
    check_control,
    code_of,
    data_frame,
    head_of,
    ping_ack,
    unpadded,
    window_frame,
    word_of,
)
from proxy.wire.h2.hpack import NO_TABLE, Table
from proxy.wire.h2.settings import INITIAL_WINDOW_SIZE, SETTINGS_ACK, read_settings

if TYPE_CHECKING:
    pass

CONNECTION_WINDOW: Final = 1 << 20
"""What a peer may have under way to us; given back by the quarter. A MiB in 1 ms is 8 Gbit/s, both ends are near."""

MAX_QUEUED: Final = 8 << 20
"""Bytes that wait on one connection for streams that do not take them, until its own window stalls as well: so much can
streams that stall keep, before they hold up the others of their client."""

NUISANCES: Final = 2_000
"""Frames that do nothing (PING, SETTINGS, empty DATA, PRIORITY, for streams that have ended) beyond ten for each stream
that was served: more than a client has reason for. gRPC sends a PING with a burst of data."""


class Link(Outlet):
    """
    held:    the beginning of a frame that is not complete.
    flows:   what comes in here, by stream.
    credit:  bytes that were passed on, and are to be given back to the peer; owed: the same of what still waits.
    queued:  bytes that came in here and wait.
    table:   the peer's, None when it has none.
    last:    the highest stream that was begun on it.
    nuisances: frames that do nothing.
    """

    __slots__ = ("_greeted", "credit", "flows", "held", "last", "nuisances", "owed", "queued", "table")

    def __init__(self) -> None:
        super().__init__()
        self.held = b""
        self.flows: dict[int, Flow] = {}
        self.credit = self.owed = self.queued = 0
        self.table: Table | None = Table()
        self.last = 0
        self._greeted = False
        self.nuisances = Budget()

    # -- what the two kinds differ in ----------------------------------------------------------------------------------

    @abstractmethod
    def headers(self, sid: int, flags: int, block: bytes) -> None:
        """A block in the form that needs no table."""

    @abstractmethod
    def was_reset(self, sid: int, code: int) -> None:
        """The peer has ended a stream."""

    @abstractmethod
    def reset_by_us(self, sid: int, flow: Flow | None, code: int) -> None:
        """End a stream for what the peer did on it."""

    @abstractmethod
    def told(self, values: dict[int, int]) -> None:
        """The peer's settings."""

    @abstractmethod
    def leaves(self, last: int) -> None:
        """GOAWAY: it looks at no stream above `last`."""

    @abstractmethod
    def check_idle(self, sid: int) -> None:
        """Raises ConnectionFault for a stream that never began."""

    @abstractmethod
    def stray(self, sid: int) -> None:
        """DATA or a block for a stream that is not open. Raises ConnectionFault."""

    def no_settings(self, data: bytes) -> str:
        return "no SETTINGS first (section 3.4)"

    @abstractmethod
    def failed(self, fault: ConnectionFault) -> None:
        """The peer has broken a rule of connections."""

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self.closed:
            return
        try:
            held, self.held = self.held, b""
            if not held:
                self._frames(data)
            else:
                # Only the frame that was cut is joined; what follows it stays where it is.
                rest = HEAD_BYTES + (head_of(held)[0] >> 8) - len(held) if len(held) >= HEAD_BYTES else 0
                if rest <= 0 or held[3] == HEADERS:
                    self._frames(held + data)
                elif rest > len(data):
                    self.held = held + data
                else:
                    self._frames(held + data[:rest])
                    if rest < len(data) and not self.closed:
                        self._frames(data[rest:])
        except ConnectionFault as fault:
            if not self.closed:  # else a frame before it has ended the connection
                self.failed(fault)
        self.client.flush()

    def _frames(self, data: bytes) -> None:
        """Pass on what can be passed on as it stands, in runs: `start` is where the run to `sink` begins."""
        if not self._greeted and len(data) >= HEAD_BYTES and data[3] != SETTINGS:
            raise ConnectionFault(PROTOCOL_ERROR, self.no_settings(data))
        start = pos = 0
        end = len(data)
        sink: Link | None = None
        flows = self.flows
        grants: dict[int, int] = {}
        while end - pos >= HEAD_BYTES:
            head, flags, sid = head_of(data, pos)
            size, kind = head >> 8, head & 255
            stop = pos + HEAD_BYTES + size
            if size > FRAME:
                raise ConnectionFault(FRAME_SIZE_ERROR, "a frame of more than 16,384 bytes (section 4.2)")
            if stop > end:
                break
            if kind == DATA:
                flow = flows.get(sid)
                if flow is not None and not flow.state & ~KEPT and not flags & PADDED and size:
                    to = flow.sink
                    if size <= flow.window and size <= to.window:
                        flow.bytes += size
                        left = flow.expects
                        if left < 0 or (flow.bytes == left if flags & END_STREAM else flow.bytes <= left):
                            if flow.state:
                                flow.exchange.keep(flow, data[pos:stop])
                            flow.window -= size
                            to.window -= size
                            self.credit += size
                            if to is not sink:
                                if sink is not None:
                                    sink.write(data[start:pos])
                                sink, start = to, pos
                            if flags & END_STREAM:
                                self.finish(sid, flow)
                            pos = stop
                            continue
                        flow.bytes -= size
            if sink is not None:
                sink.write(data[start:pos])
                sink = None
            if kind == HEADERS:
                sid &= MAX_WINDOW
                if flags & (PADDED | WITH_PRIORITY | END_HEADERS) == END_HEADERS:
                    block: bytes | None = data[pos + HEAD_BYTES : stop]
                else:
                    block, stop = assemble(data, pos, flags, sid)
                if block is None:
                    break
                self.headers(sid, flags & END_STREAM, self._plain(block))
                if self.closed:
                    return
            elif kind == DATA:
                self._unusual_data(sid & MAX_WINDOW, flags, data[pos + HEAD_BYTES : stop])
            elif kind == WINDOW_UPDATE and size == 4 and (step := word_of(data, pos + HEAD_BYTES)):
                grants[sid] = grants.get(sid, 0) + step  # dozens in a row are usual: one is passed on per wake-up
            else:
                self._control(kind, flags, sid & MAX_WINDOW, data[pos + HEAD_BYTES : stop])
                if self.closed:
                    return
            pos = start = stop
        if sink is not None:
            sink.write(data[start:pos] if start or pos < end else data)
        if pos < end:
            self.held = data[pos:] if pos else data
        for sid, step in grants.items():
            self._grant(sid & MAX_WINDOW, step)
        if self.credit > CONNECTION_WINDOW // 4:
            self.give_back()

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

    def _plain(self, block: bytes) -> bytes:
        """The block in a form that needs no table."""
        table = self.table
        if table is not None:
            if table.allowed or block[:1] != NO_TABLE:
                return table.plain(block)
            self.table = None
        return block.lstrip(NO_TABLE) if block[:1] == NO_TABLE else block

    # -- DATA that is not passed on as it stands -----------------------------------------------------------------------

    def _unusual_data(self, sid: int, flags: int, payload: bytes) -> None:
        """With padding, of no bytes, for a stream that has none to go to, or more than the other end takes."""
        flow, size = self.flows.get(sid), len(payload)
        body = unpadded(payload, flags)
        if flow is None or flow.state & (LAST | OVER | EARLY):
            self.credit += size
            self._stray(sid, flow)
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

    def pass_end_on(self, sid: int, flow: Flow, frames: bytes) -> None:
        """Trailers that came in here, behind what waits for a window."""
        flow.state |= LAST
        if flow.queue or flow.state & LIMBO:
            flow.enqueue(frames)
        else:
            flow.sink.write(frames)
            self.finish(sid, flow)

    def finish(self, sid: int, flow: Flow) -> None:
        """All of a direction has been passed on."""
        flow.state |= OVER
        if flow.back.state & OVER:
            flow.exchange.over()

    def _stray(self, sid: int, flow: Flow | None) -> None:
        """DATA behind the end of its stream, or for one that has ended or never began."""
        if flow is None:
            self.annoyed()
            self.stray(sid)
        else:
            self.reset_by_us(sid, flow, STREAM_CLOSED)

    def annoyed(self) -> None:
        """A frame that does nothing. Raises ConnectionFault when they are too many for the time."""
        if self.nuisances.spend(self.client.side.wheel.now) > NUISANCES:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames that do nothing")

    # -- the connection itself -----------------------------------------------------------------------------------------

    def _control(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        check_control(kind, flags, sid, len(payload))
        self._greeted = True
        if kind == RST_STREAM:
            if sid not in self.flows:
                self.check_idle(sid)
                self.annoyed()
            else:
                self.was_reset(sid, code_of(payload))
        elif kind == PING:
            self.annoyed()
            if not flags & ACK:
                self.write(ping_ack(payload))
        elif kind == SETTINGS:
            self.annoyed()
            if not flags & ACK:
                self._settle(read_settings(payload))
                self.write(SETTINGS_ACK)
            elif self.table is not None:
                self.table.allowed = 0
        elif kind == GOAWAY:
            self.leaves(word_of(payload))
        elif kind == WINDOW_UPDATE:  # of 0
            if not sid:
                raise ConnectionFault(PROTOCOL_ERROR, "a WINDOW_UPDATE of 0 (section 6.9)")
            self.check_idle(sid)
            self.reset_by_us(sid, self.flows.get(sid), PROTOCOL_ERROR)
        else:
            self.annoyed()
            if kind == PRIORITY and word_of(payload) == sid:
                self.reset_by_us(sid, self.flows.get(sid), PROTOCOL_ERROR)

    def _settle(self, values: dict[int, int]) -> None:
        initial = values.get(INITIAL_WINDOW_SIZE, self.initial)
        step, self.initial = initial - self.initial, initial
        if step:
            for sid, flow in list(self.flows.items()):
                self._widen(sid, flow.back, step)
        self.told(values)

    def _widen(self, sid: int, back: Flow, step: int) -> None:
        """The peer takes so much more of a stream."""
        back.window += step
        if back.window > MAX_WINDOW:
            self.reset_by_us(sid, back.back, FLOW_CONTROL_ERROR)
        elif back.queue:
            self.send_waiting(sid, back)

    def _grant(self, sid: int, step: int) -> None:
        """WINDOW_UPDATE."""
        if not sid:
            self.widen_all(step)
            return
        flow = self.flows.get(sid)
        if flow is None:
            self.check_idle(sid)
            return
        if flow.state & LIMBO:
            flow.exchange.granted += step  # for the answer; nobody is there yet who could use it
        elif not flow.back.state & OVER:
            flow.sink.write(window_frame(sid, step))
        self._widen(sid, flow.back, step)
