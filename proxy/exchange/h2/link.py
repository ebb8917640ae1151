"""A connection of HTTP/2: what the client's and those to upstreams have in common.

Streams have the same number on both connections, so that DATA is passed on in runs, as slices of what was read. Windows
of streams are those of the peers: each end is told the other's initial window, and WINDOW_UPDATEs pass, joined per
stream and wake-up. Windows of connections are ours: what one does not admit waits in its flow's queue. So memory is
bounded by windows, and a peer that takes nothing keeps only its own streams waiting.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from proxy.exchange.h2.flow import KEPT, LIMBO, OVER, Flow
from proxy.exchange.h2.inlet import Inlet
from proxy.exchange.h2.intake import CONNECTION_WINDOW
from proxy.exchange.h2.mirror import tellable
from proxy.wire.h2.faults import (
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
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
    head_of,
    ping_ack,
    window_frame,
    word_of,
)
from proxy.wire.h2.hpack import NO_TABLE, Table
from proxy.wire.h2.settings import INITIAL_WINDOW_SIZE, SETTINGS_ACK, read_settings

SOME_SETTINGS: Final = 96
SOME_STREAMS: Final = 16
"""Bytes of SETTINGS, and streams whose window they change, that cost as much as a frame."""


class Link(Inlet):
    """
    table:   the peer's, None when it has none.
    last:    the highest stream that was begun on it.
    """

    __slots__ = ("_grants", "_greeted", "_pinged", "last", "table")

    def __init__(self, most: int) -> None:
        """most: fields of a block, beyond which the peer is not listened to any more."""
        super().__init__()
        self.table: Table | None = Table(most)
        self.last = 0
        self._greeted = False
        self._grants: dict[int, int] = {}
        self._pinged = 0

    # -- what the two kinds differ in ----------------------------------------------------------------------------------

    @abstractmethod
    def headers(self, sid: int, flags: int, block: bytes) -> None:
        """A block in the form that needs no table."""

    @abstractmethod
    def was_reset(self, sid: int, code: int) -> None:
        """The peer has ended a stream."""

    @abstractmethod
    def told(self, values: dict[int, int]) -> None:
        """The peer's settings."""

    @abstractmethod
    def leaves(self, last: int) -> None:
        """GOAWAY: it looks at no stream above `last`."""

    @abstractmethod
    def check_idle(self, sid: int) -> None:
        """Raises ConnectionFault for a stream that never began."""

    def no_settings(self, data: bytes) -> str:
        return "no SETTINGS first (section 3.4)"

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def frames(self, data: bytes) -> None:
        """What was read, from the beginning of a frame on."""
        if not self._greeted and len(data) >= HEAD_BYTES and data[3] != SETTINGS:
            raise ConnectionFault(PROTOCOL_ERROR, self.no_settings(data))
        pos, end = 0, len(data)
        flows = self.flows
        head: int
        flags: int
        sid: int
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
                if flow is None or flow.state & ~KEPT or not self.pass_data(flow, flags, data, pos, stop):
                    self.unusual_data(sid & MAX_WINDOW, flags, data[pos + HEAD_BYTES : stop])
                elif flags & END_STREAM:
                    self.finish(sid, flow)
            elif kind == HEADERS:
                stop = self._block(flags, sid, data, pos, stop)
                if not stop:
                    break
            elif kind == WINDOW_UPDATE and size == 4 and (step := word_of(data, pos + HEAD_BYTES)):
                # Dozens in a row are usual: one is passed on per wake-up.
                before = self._grants.get(sid, 0)
                if not before and sid & MAX_WINDOW and sid not in flows:
                    self.check_idle(sid & MAX_WINDOW)  # now: it may begin behind this frame
                self._grants[sid] = before + step
            else:
                self._control(kind, flags, sid & MAX_WINDOW, data[pos + HEAD_BYTES : stop])
            if self.closed:
                return
            pos = stop
        if pos < end:
            self.held = data[pos:] if pos else data
        if self._grants:
            self._pass_grants()
        if self.credit > CONNECTION_WINDOW // 4:
            self.give_back()

    def _pass_grants(self) -> None:
        grants, self._grants = self._grants, {}
        for sid, step in grants.items():
            self._grant(sid & MAX_WINDOW, step)

    def earliest(self, fault: ConnectionFault) -> ConnectionFault:
        try:
            self._pass_grants()
        except ConnectionFault as earlier:
            return earlier
        return fault

    def _block(self, flags: int, sid: int, data: bytes, start: int, stop: int) -> int:
        """HEADERS, with its CONTINUATIONs. Returns where the next frame begins, 0 when not all of it has come."""
        if flags & (PADDED | WITH_PRIORITY | END_HEADERS) == END_HEADERS:
            block = data[start + HEAD_BYTES : stop]
            if self.table is None and not flags & ~(END_STREAM | END_HEADERS) and block[:1] != NO_TABLE:
                self.read, self.start, self.stop, self.whole = data, start, stop, sid
                self.headers(sid & MAX_WINDOW, flags & END_STREAM, block)
                self.read, self.whole = b"", 0
                return stop
        else:
            found, stop = assemble(data, start, flags, sid & MAX_WINDOW)
            if found is None:
                return 0
            block = found
        self.headers(sid & MAX_WINDOW, flags & END_STREAM, self._plain(block))
        return stop

    def _plain(self, block: bytes) -> bytes:
        """The block in a form that needs no table."""
        table = self.table
        if table is not None:
            if table.allowed or block[:1] != NO_TABLE:
                return table.plain(block)
            self.table = None
        return block.lstrip(NO_TABLE) if block[:1] == NO_TABLE else block

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
            passed = self.passed
            if passed == self._pinged or flags & ACK:
                self.annoyed()
            self._pinged = passed
            if not flags & ACK:
                self.write(ping_ack(payload))
        elif kind == SETTINGS:
            self.annoyed(1 + len(payload) // SOME_SETTINGS)
            if not flags & ACK:
                self._pass_grants()  # what stands before it is added to windows of before
                if not self.closed:
                    values = read_settings(payload)
                    self.write(SETTINGS_ACK)  # first: it may hold us to its old windows until it has read that
                    self._settle(values)
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
            flows = list(self.flows.items())
            self.annoyed(len(flows) // SOME_STREAMS)
            if step > 0 and any(flow.back.window + step > MAX_WINDOW for _, flow in flows):
                raise ConnectionFault(FLOW_CONTROL_ERROR, "SETTINGS that let a window overflow (section 6.9.2)")
            for sid, flow in flows:
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
            return
        back, client = flow.back, self.client
        if flow.state & LIMBO or (flow.sink.clogged and flow.sink is not client):
            flow.exchange.granted += step  # for the answer; nobody is there yet who could use it
        elif not back.state & OVER and back.window + step <= MAX_WINDOW:  # or it is reset: no frame says so much
            told = step
            if flow.sink is client and back.window + step + client.granted > MAX_WINDOW:
                told = tellable(flow.exchange, step)
            if told:
                flow.sink.write(window_frame(sid, told))
        self._widen(sid, flow.back, step)
