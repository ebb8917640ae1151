"""A closed loop: connections with so many streams each, and as soon as one is answered the next is asked.

One thread, `epoll` and plain sockets: what it costs stands beside the origin on the load's core, and must leave the
proxy to be the slower one. Every answer is checked: head, each byte of each message, trailers. What was begun is
finished, so that CPU per request is exact.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.http2 import frames
from benchmarks.http2.answers import Judge, SpoiledError
from benchmarks.http2.frames import HEAD
from benchmarks.http2.requests import FRAMED_BYTES, Blocks, Kind, message, opened

_READ = 1 << 18
_APART = 65_537
"""Between the numbers of two connections' first requests: no divisor of it is one of the number of keys."""

_TIMEOUT_SECONDS = 10.0
"""Within which something must come while something is due."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked.

    role:      who has to answer.
    streams:   at once on each of `connections`.
    fresh:     a new connection for every request.
    messages:  of one call, echoed one by one; 1: unary calls.
    in_flight: of these, so many at once.
    """

    kind: Kind
    role: str
    connections: int
    streams: int
    fresh: bool = False
    messages: int = 1
    in_flight: int = 1


@dataclass(slots=True)
class Outcome:
    """requests and messages that were answered, rightly. problems: one line each, empty when all was right."""

    requests: int = 0
    messages: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class Connection:
    """One connection: settings, flow control of what is sent, and frames taken apart. `lane` gets what they say."""

    def __init__(self, port: int, judge: Judge) -> None:
        self.judge = judge
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.table = -1
        self.credit = frames.DEFAULT_WINDOW
        self.window = frames.DEFAULT_WINDOW
        self.out: list[bytes] = []
        self.lane: Lane | None = None
        self._held = b""
        self._taken = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def flush(self) -> None:
        if self.out:
            self.socket.sendall(b"".join(self.out))
            self.out.clear()

    def receive(self) -> None:
        """All that is there. Raises SpoiledError and OSError."""
        data = self.socket.recv(_READ)
        if not data:
            raise SpoiledError("the connection was closed under us")
        self._taken += len(data)
        if self._taken > frames.WINDOW_STEP:
            self.out.append(frames.window_update(0, self._taken))
            self._taken = 0
        data = self._held + data if self._held else data
        at, end = 0, len(data)
        unpack, lane = HEAD.unpack_from, self.lane
        while end - at >= 9:
            size, flags, stream = unpack(data, at)
            kind = size & 0xFF
            after = at + 9 + (size >> 8)
            if after > end:
                break
            if kind == frames.DATA or kind == frames.HEADERS:
                payload = data[at + 9 : after]
                if flags & 0x28:
                    payload = frames.without_padding(flags, payload)
                assert lane is not None
                if kind == frames.DATA:
                    lane.data(stream, payload)
                elif not flags & frames.END_HEADERS:
                    raise SpoiledError("a header block in several frames")
                else:
                    lane.headers(stream, payload, flags)
                if flags & frames.END_STREAM:
                    lane.ended(stream)
            else:
                self._control(kind, flags, stream, data[at + 9 : after])
                lane = self.lane
            at = after
        self._held = data[at:]

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.SETTINGS and not flags & frames.ACK:
            said = frames.read_settings(payload)
            self.out.append(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
            window = said.get(frames.WINDOW, self.window)
            if self.lane is not None:
                self.lane.widened_all(window - self.window)  # of streams that are open too (RFC 9113, 6.9.2)
            self.window = window
            self.table = min(said.get(frames.TABLE_SIZE, frames.DEFAULT_TABLE), frames.DEFAULT_TABLE)
        elif kind == frames.PING and not flags & frames.ACK:
            self.out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW_UPDATE:
            size = int.from_bytes(payload, "big")
            if stream == 0:
                self.credit += size
            elif self.lane is not None:
                self.lane.widened(stream, size)
        elif kind == frames.RST_STREAM and self.lane is not None:
            self.lane.reset(stream, int.from_bytes(payload, "big"))
        elif kind == frames.GOAWAY:
            raise SpoiledError(f"GOAWAY with error {int.from_bytes(payload[4:8], 'big')}: {payload[8:80]!r}")


class Lane:
    """What is asked on one connection.

    more: whether something new may be begun. Answered calls and messages are counted in `calls` and `messages`.
    """

    def __init__(
        self, connection: Connection, order: Order, blocks: Blocks, more: Callable[[], bool], numbers: int
    ) -> None:
        self._connection = connection
        self._order = order
        self._more = more
        self._blocks = blocks
        self._first = True
        self._number = numbers
        self._stream = 1
        self.open: dict[int, _Call] = {}
        self.calls = self.messages = 0

    def fill(self) -> None:
        """Begin what may be begun."""
        while len(self.open) < self._order.streams and not self.over and self._connection.credit >= FRAMED_BYTES:
            self._begin()

    @property
    def over(self) -> bool:
        """Whether nothing new is begun here. Each connection is asked once, however short the time is."""
        return not self._first and (self._order.fresh or not self._more())

    def _begin(self) -> None:
        order, stream = self._order, self._stream
        call = _Call(self._number, order.messages)
        block = self._blocks.block(self._number, first=self._first)
        self._first = False
        self._number += 1
        self._stream += 2
        self.open[stream] = call
        self._connection.out.append(opened(block, stream, ends=False))
        call.credit = self._connection.window
        self._send(call, stream, min(order.in_flight, order.messages))

    def _send(self, call: _Call, stream: int, count: int) -> None:
        """The next messages, as far as both windows reach."""
        connection = self._connection
        count = min(count, call.left, connection.credit // FRAMED_BYTES, call.credit // FRAMED_BYTES)
        for _ in range(count):
            call.left -= 1
            flags = 0 if call.left else frames.END_STREAM
            connection.out.append(HEAD.pack(FRAMED_BYTES << 8, flags, stream) + message(call.next))
            call.next += 1
        connection.credit -= count * FRAMED_BYTES
        call.credit -= count * FRAMED_BYTES
        call.due += count

    def headers(self, stream: int, block: bytes, flags: int) -> None:
        call = self._call(stream)
        if call.headed:
            self._connection.judge.trailers(block)
            call.trailed = True
        else:
            self._connection.judge.head(block)
            call.headed = True
            call.trailed = bool(flags & frames.END_STREAM)

    def data(self, stream: int, payload: bytes) -> None:
        call = self._call(stream)
        held = call.held + payload if call.held else payload
        at, end = 0, len(held)
        while end - at >= FRAMED_BYTES:
            if held[at : at + FRAMED_BYTES] != message(call.expect):
                raise SpoiledError(f"message {call.expect} came back as {held[at : at + 40]!r}")
            call.expect += 1
            call.due -= 1
            self.messages += 1
            at += FRAMED_BYTES
        call.held = held[at:]
        if call.left:
            self._send(call, stream, self._order.in_flight - call.due)

    def ended(self, stream: int) -> None:
        call = self.open.pop(stream)
        if not (call.headed and call.trailed) or call.left or call.due or call.held:
            raise SpoiledError(f"an answer ended early: {call}")
        self.calls += 1

    def reset(self, stream: int, code: int) -> None:
        if stream in self.open:
            raise SpoiledError(f"a call was reset with code {code}")

    def widened_all(self, size: int) -> None:
        for call in self.open.values():
            call.credit += size

    def widened(self, stream: int, size: int) -> None:
        call = self.open.get(stream)
        if call is not None:
            call.credit += size
            self.resume(stream, call)

    def resume(self, stream: int, call: _Call) -> None:
        if call.left:
            self._send(call, stream, self._order.in_flight - call.due)

    def _call(self, stream: int) -> _Call:
        call = self.open.get(stream)
        if call is None:
            raise SpoiledError(f"an answer on stream {stream}, on which nothing was asked")
        return call


@dataclass(slots=True)
class _Call:
    """One call under way. next, expect: the number of the message that is sent, and that comes back, next; `due` are
    under way, `left` have not been sent. `held` is part of a message."""

    next: int
    left: int
    expect: int = 0
    due: int = 0
    credit: int = 0
    headed: bool = False
    trailed: bool = False
    held: bytes = b""

    def __post_init__(self) -> None:
        self.expect = self.next


def drive(order: Order, port: int, seconds: float) -> Outcome:
    """Ask `port` of 127.0.0.1; after so many seconds nothing new is begun."""
    outcome = Outcome()
    gc.disable()
    start = time.perf_counter()
    try:
        _Loop(order, port, outcome, start + seconds).run()
    except (SpoiledError, OSError) as error:
        outcome.problems.append(f"{type(error).__name__}: {error}")
    finally:
        gc.enable()
    outcome.seconds = time.perf_counter() - start
    return outcome


class _Loop:
    def __init__(self, order: Order, port: int, outcome: Outcome, end: float) -> None:
        self._order = order
        self._port = port
        self._outcome = outcome
        self._end = end
        self._judge = Judge(order.role, grpc=order.kind.grpc)
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._blocks: dict[int, Blocks] = {}
        self._begun = 0
        self._over = False

    def run(self) -> None:
        try:
            for _ in range(self._order.connections):
                self._connect()
            while self._connections:
                ready = self._poll.poll(_TIMEOUT_SECONDS)
                if not ready:
                    raise SpoiledError(f"nothing came for {_TIMEOUT_SECONDS:.0f} s")
                self._over = time.perf_counter() >= self._end
                for number, _ in ready:
                    self._serve(self._connections[number])
        finally:
            for connection in self._connections.values():
                connection.socket.close()
            self._poll.close()

    def _more(self) -> bool:
        return not self._over

    def _connect(self) -> None:
        connection = Connection(self._port, self._judge)
        self._connections[connection.fileno()] = connection
        self._poll.register(connection.fileno(), select.EPOLLIN)
        connection.out.append(frames.opening(client=True))
        if self._order.fresh:
            self._ask(connection)
        connection.flush()

    def _ask(self, connection: Connection) -> Lane:
        # A new connection's first request leaves with its preface, before the peer has said what table it keeps.
        table = 0 if self._order.fresh else connection.table
        if table not in self._blocks:
            self._blocks[table] = Blocks(self._order.kind, table)
        lane = Lane(connection, self._order, self._blocks[table], self._more, self._begun * _APART)
        connection.lane = lane
        self._begun += 1
        lane.fill()
        return lane

    def _serve(self, connection: Connection) -> None:
        connection.receive()
        lane = connection.lane
        if lane is None and connection.table >= 0:
            lane = self._ask(connection)
        if lane is not None:
            if self._order.messages > 1:
                for stream, call in lane.open.items():
                    lane.resume(stream, call)
            lane.fill()
            if lane.over and not lane.open:
                self._close(connection, lane)
                return
        connection.flush()

    def _close(self, connection: Connection, lane: Lane) -> None:
        connection.flush()
        self._poll.unregister(connection.fileno())
        del self._connections[connection.fileno()]
        connection.socket.close()
        self._outcome.requests += lane.calls
        self._outcome.messages += lane.messages
        if self._order.fresh and not self._over:
            self._connect()
