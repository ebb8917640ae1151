"""The same runs without sockets: the sidecar's own exchange and pools between two ends in memory.

Nothing takes time here: an event is a callable in a queue, and "nothing more will come" is an empty queue. So every
cut of every case can be tried, and fuzzers can run thousands of exchanges a second. What is real: everything from
`Downstream` to `UpstreamConnection`. What is not: the kernel, the clock (it stands still) and the dial.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

from proxy.base.tasks import Tasks
from proxy.contract.names import DEFAULT_KEY_NAMES
from proxy.contract.routes import Endpoint
from proxy.exchange.carriers import Carriers
from proxy.exchange.inbound import Inbound
from proxy.exchange.outbound import Outbound
from proxy.exchange.ports import Borrower, PoolSource, Timed, Upstream
from proxy.exchange.settings import ExchangeSettings
from proxy.exchange.side import Side, SideParts
from proxy.net.addresses import OwnAddresses
from proxy.net.descriptors import Descriptors
from proxy.net.downstream import Downstream
from proxy.net.resolve import Resolver
from proxy.net.upstream import ConnectionPool, UpstreamConnection
from proxy.routing.correlation import Correlation
from proxy.routing.key import KeyReader
from proxy.routing.table import RouteTable
from proxy.routing.trace import TraceReader
from proxy.sides import head_parser
from proxy.telemetry.counters import Counters, SideCounters
from proxy.telemetry.notices import Notices
from proxy.wire.head import Limits
from tests.conformance.client import Client
from tests.conformance.lanes import probe_for
from tests.conformance.origin import Connection, Origin, Script
from tests.conformance.play import Observation, Play, Run, observe

_T = TypeVar("_T")

AUTHORITY = b"127.0.0.1:9001"

_END = object()
_RESET = object()


class Queue:
    """What is still to happen, in order."""

    def __init__(self) -> None:
        self._events: deque[Callable[[], None]] = deque()

    def later(self, event: Callable[[], None]) -> None:
        self._events.append(event)

    def settle(self) -> None:
        """Let everything happen that will happen by itself."""
        while self._events:
            self._events.popleft()()


class MemoryTransport:
    """One end of a connection, with as much of asyncio's transport as protocols use here."""

    def __init__(self, queue: Queue) -> None:
        self.peer: MemoryTransport
        self.protocol: asyncio.Protocol
        self._queue = queue
        self._arrived: deque[object] = deque()
        self._reading = True
        self._ended = False
        self._closing = False

    # -- what a protocol calls

    def write(self, data: bytes) -> None:
        if not self._closing and data:
            assert not self._ended, "a write behind the end of the stream"
            self.peer.arrive(bytes(data))

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def write_eof(self) -> None:
        if not self._closing and not self._ended:
            self._ended = True
            self.peer.arrive(_END)

    def close(self) -> None:
        if not self._closing:
            self.write_eof()
            self._lost(None)

    def abort(self) -> None:
        if not self._closing:
            self.peer.arrive(_RESET)
            self._lost(None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._queue.later(self._deliver)

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """Nothing is buffered: the other end takes all."""

    def get_extra_info(self, name: str) -> None:
        """There is no socket to know anything about."""

    # -- what the other end does

    def arrive(self, item: object) -> None:
        self._arrived.append(item)
        self._queue.later(self._deliver)

    def _deliver(self) -> None:
        if self._closing or not self._reading or not self._arrived:
            return
        item = self._arrived.popleft()
        if isinstance(item, bytes):
            self.protocol.data_received(item)
        elif item is _RESET:
            self._lost(ConnectionResetError())
        elif not self.protocol.eof_received():
            self.close()
        if self._arrived:
            self._queue.later(self._deliver)

    def _lost(self, error: Exception | None) -> None:
        self._closing = True
        self._queue.later(lambda: self.protocol.connection_lost(error))


def connect(queue: Queue, left: asyncio.Protocol, right: asyncio.Protocol) -> None:
    """Two protocols, connected."""
    ends = MemoryTransport(queue), MemoryTransport(queue)
    ends[0].peer, ends[1].peer = ends[1], ends[0]
    for end, protocol in zip(ends, (left, right), strict=True):
        end.protocol = protocol
    for end, protocol in zip(ends, (left, right), strict=True):
        protocol.connection_made(cast(asyncio.Transport, end))


class StillWheel:
    """A clock that stands still: no deadline passes."""

    now = 0

    def __init__(self, soon: Callable[[Callable[[], None]], None]) -> None:
        self.soon = soon

    def arm(self, item: Timed) -> None:
        pass

    def disarm(self, item: Timed) -> None:
        pass


class MemoryPool:
    """A `Pool` whose connections are kept by the sidecar's own, and whose dial leads to an origin in memory."""

    def __init__(self, endpoint: Endpoint, queue: Queue, origin: Origin, counters: SideCounters) -> None:
        self._pool = ConnectionPool(
            endpoint,
            counters=counters,
            wheel=StillWheel(queue.later),
            own=OwnAddresses(),
            tasks=Tasks("test"),
            descriptors=Descriptors(Counters()),
            resolver=Resolver(Tasks("test")),
        )
        self.endpoint = endpoint
        self.idle = self._pool.idle
        self.open = self._pool.open
        self._queue = queue
        self._origin = origin
        self._waiting: set[Borrower] = set()

    def dial(self, borrower: Borrower) -> None:
        self._waiting.add(borrower)
        self._queue.later(lambda: self._reach(borrower))

    def forget(self, borrower: Borrower) -> None:
        self._waiting.discard(borrower)

    def give(self, upstream: Upstream, idle_seconds: int, rests: bool = False) -> None:
        self._pool.give(upstream, idle_seconds, rests)

    def dead(self, upstream: Upstream) -> None:
        self._pool.dead(upstream)

    def _reach(self, borrower: Borrower) -> None:
        if borrower in self._waiting:
            self._waiting.discard(borrower)
            upstream = UpstreamConnection(self._pool)
            connect(self._queue, upstream, Connection(self._origin))
            upstream.lend(borrower)


def make_side(side: str, queue: Queue, pools: PoolSource, counters: SideCounters) -> Side:
    """One direction of a sidecar, put together as the runtime does."""
    host, _, port = AUTHORITY.decode().rpartition(":")
    origin = Endpoint(host, int(port))
    notices = Notices("shop/users")
    parts = SideParts(
        workload="shop/users", settings=ExchangeSettings(), parser=head_parser(Limits()), counters=counters,
        wheel=StillWheel(queue.later), clock=lambda: 0.0,
        carriers=Carriers(KeyReader(DEFAULT_KEY_NAMES), counters, notices), traces=TraceReader(()),
        correlation=Correlation(lambda: 0.0, b"5ca1ab1e"), pools=pools, reporter=notices,
    )  # fmt: skip
    if side == "inbound":
        numbers = itertools.count(1)
        table = RouteTable("shop/users")
        table.replace({})
        return Inbound(
            parts, app=origin, table=table, gave_up=lambda: True, instance="here", sandbox="", revision=1,
            random_bits=lambda bits: next(numbers) % (1 << bits), in_hand=lambda: (),
        )  # fmt: skip
    return Outbound(parts, target=origin if side == "outbound" else None, key_name="routing-key", own_key="")


class MemoryLane:
    """A sidecar and an origin in memory: a `Stage` on which nothing takes time."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.authority = AUTHORITY
        self.probe = probe_for(side, AUTHORITY)
        self.queue = Queue()
        self.origin = Origin(lambda: None)
        self.counters = SideCounters()
        self._pools: dict[Endpoint, MemoryPool] = {}
        self._downstream: set[Downstream] = set()
        self._side = make_side(side, self.queue, self._pool, self.counters)

    def _pool(self, endpoint: Endpoint) -> MemoryPool:
        pool = self._pools.get(endpoint)
        if pool is None:
            pool = self._pools[endpoint] = MemoryPool(endpoint, self.queue, self.origin, self.counters)
        return pool

    async def connect(self) -> Client:
        return self._connect()

    def _connect(self) -> Client:
        client = Client(lambda: None)
        connect(self.queue, client, Downstream(self._side, self._downstream, lambda: None))
        return client

    async def until(self, condition: Callable[[], bool]) -> bool:
        self.queue.settle()
        return condition()

    async def read_so_far(self) -> None:
        self.queue.settle()

    async def yield_turn(self) -> None:
        self.queue.settle()

    def run(self, run: Run) -> Observation:
        """One run, here and now."""
        seen = finish(Play(self, run).play())
        self._check_for_leaks(seen)
        return seen

    def converse(
        self, said: Sequence[bytes], answered: Sequence[bytes] | None, *, ends: bool = False, then: bytes = b""
    ) -> Observation:
        """Any conversation: what the client says, piece by piece, and what the origin answers to the first request,
        or its numbered answers (None). At the end the client ends its side.

        ends: the origin closes behind its answer.
        then: what the client says when the origin has said all. Not before: whatever an origin says on a connection
              on which it has been asked is the answer, for any proxy.
        """
        origin, seen = self.origin, Observation(said=b"".join(said) + then)
        origin.reset(Script(held=answered is not None))
        client = self._connect()
        for piece in said:
            client.write(piece)
            self.queue.settle()
        if origin.asked is not None and answered is not None:
            self._answer(origin.asked, answered, ends)
        client.write(then)
        client.half_close()
        self.queue.settle()
        seen.client, seen.client_ended = bytes(client.received), client.ended
        seen.arrived = [message for _, message in origin.arrived]
        seen.upstream = observe(origin)
        client.close()
        origin.close()
        self.queue.settle()
        self._check_for_leaks(seen)
        return seen

    def _answer(self, connection: Connection, pieces: Sequence[bytes], ends: bool) -> None:
        for piece in pieces:
            if connection.ended:
                return
            assert connection.transport is not None
            connection.transport.write(piece)
            self.queue.settle()
        if ends:
            connection.close()
        else:
            connection.go_on()
        self.queue.settle()

    def _check_for_leaks(self, seen: Observation) -> None:
        self.queue.settle()
        if self._downstream or any(pool.open for pool in self._pools.values()):
            seen.stuck.append(f"connections left over: {self._downstream} {list(self._pools.values())}")


def finish(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast(_T, stop.value)
    raise AssertionError("it waits for something, and nothing takes time here")
