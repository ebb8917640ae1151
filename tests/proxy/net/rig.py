"""The sidecar's sockets on loopback, under uvloop: real connections, real parts, and no waiting but for events."""

from __future__ import annotations

import asyncio
import functools
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import ParamSpec

import uvloop

from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint, Route
from proxy.errors import Failure
from proxy.exchange.carriers import Carriers
from proxy.exchange.inbound import Inbound
from proxy.exchange.outbound import Outbound
from proxy.exchange.ports import Upstream
from proxy.exchange.recorder import HopRecorder
from proxy.exchange.settings import TICK_SECONDS, ExchangeSettings
from proxy.exchange.side import SideParts
from proxy.net.addresses import OwnAddresses
from proxy.net.app_tls import AppTls
from proxy.net.descriptors import Descriptors
from proxy.net.forbidden import ShadowRules
from proxy.net.pipes import Pipes
from proxy.net.pools import Pools
from proxy.net.reset import reset
from proxy.net.resolve import Found, Resolver, UnresolvedError
from proxy.net.splicing import Splicer
from proxy.net.timers import TimerWheel
from proxy.net.upstream import ConnectionPool
from proxy.routing.captures import Captures
from proxy.routing.correlation import Correlation
from proxy.routing.key import KeyReader
from proxy.routing.table import RouteTable
from proxy.routing.trace import TraceReader
from proxy.sides import head_parser
from proxy.telemetry.counters import Counters, SideCounters
from proxy.telemetry.hops import HopRing
from proxy.telemetry.notices import Notices
from proxy.wire.head import Limits

WORKLOAD = "shop/users"
PATIENCE = 20.0
"""Seconds, only ever spent by a test that fails."""

_P = ParamSpec("_P")


def on_uvloop(test: Callable[_P, Coroutine[object, object, None]]) -> Callable[_P, None]:
    """Run a test under the event loop that the data path runs under."""

    @functools.wraps(test)
    def run(*arguments: _P.args, **named: _P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*arguments, **named))

    return run


async def eventually(condition: Callable[[], object]) -> None:
    """Return as soon as `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.0005)


class Line(asyncio.Protocol):
    """One end of a connection that a test plays: a client, or an application.

    got:   all that was received.
    ended: the other end sends no more.
    lost:  the connection is gone; `error` says whether it was reset.
    """

    def __init__(self, greeting: bytes = b"", *, keep_open: bool = True) -> None:
        self.got = b""
        self.ended = False
        self.lost = False
        self.error: Exception | None = None
        self.transport: asyncio.Transport | None = None
        self._greeting = greeting
        self._keep_open = keep_open
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's transports do not derive from asyncio's
        if self._greeting:
            self.send(self._greeting)
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        self.got += data
        self._changed.set()

    def eof_received(self) -> bool:
        self.ended = True
        self._changed.set()
        return self._keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.error = exc
        self._changed.set()

    # -- what a test does -----------------------------------------------------------------------------------------

    @property
    def wire(self) -> asyncio.Transport:
        assert self.transport is not None
        return self.transport

    def send(self, data: bytes) -> None:
        self.wire.write(data)

    def reset(self) -> None:
        """End with a reset instead of a regular end."""
        self.wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wire.abort()

    async def gone(self) -> None:
        """Cut it, if it is not gone yet."""
        if self.transport is not None:
            self.transport.abort()
            await self.until(lambda: self.lost)

    async def is_told(self) -> None:
        """Return when the other end has ended or is gone."""
        await self.until(lambda: self.ended or self.lost)

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when `condition`, which is about this line, holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def receives(self, data: bytes) -> None:
        """Return when that was received and nothing else; forget it."""
        await self.until(lambda: len(self.got) >= len(data))
        assert self.got == data
        self.got = b""


class Origin:
    """An application: accepts connections, and leaves the rest to the test."""

    def __init__(self, greeting: bytes) -> None:
        self.lines: list[Line] = []
        self.endpoint = Endpoint("127.0.0.1", 0)
        self._greeting = greeting
        self._accepted = asyncio.Event()

    def accept(self) -> Line:
        line = Line(self._greeting)
        self.lines.append(line)
        self._accepted.set()
        return line

    async def line(self, number: int = -1) -> Line:
        """The connection with that number; with none, the newest one."""
        async with asyncio.timeout(PATIENCE):
            while len(self.lines) <= max(number, 0):
                self._accepted.clear()
                await self._accepted.wait()
        line = self.lines[number]
        await line.until(lambda: line.transport is not None)
        return line


@asynccontextmanager
async def origin(greeting: bytes = b"", host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Origin]:
    """greeting: what it says as soon as somebody connects."""
    played = Origin(greeting)
    server = await asyncio.get_running_loop().create_server(played.accept, host, port)
    played.endpoint = Endpoint(host, server.sockets[0].getsockname()[1])
    try:
        yield played
    finally:
        server.close()
        for line in played.lines:
            await line.gone()


@asynccontextmanager
async def client(address: tuple[str, int], *, keep_open: bool = True) -> AsyncIterator[Line]:
    """keep_open: it goes on sending when the other end has said all."""
    _, line = await asyncio.get_running_loop().create_connection(lambda: Line(keep_open=keep_open), *address)
    try:
        yield line
    finally:
        await line.gone()


class Borrower:
    """Who has an upstream (port `Borrower`), and writes down what happens."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.upstream: Upstream | None = None
        self.got = b""
        self.keep_open = False

    @property
    def answer(self) -> Borrower:
        return self

    def received(self, data: bytes, /) -> None:
        self.got += data

    def connected(self, upstream: Upstream) -> None:
        self.events.append("connected")
        self.upstream = upstream
        upstream.borrower = self

    def dial_failed(self, reason: str) -> None:
        self.events.append(f"failed: {reason}")

    def dial_refused(self, failure: Failure, detail: str) -> None:
        self.events.append("refused")

    def upstream_eof(self) -> bool:
        self.events.append("eof")
        return self.keep_open

    def upstream_lost(self, *, error: bool) -> None:
        self.events.append("reset" if error else "lost")

    def upstream_full(self) -> None:
        self.events.append("full")

    def upstream_drained(self) -> None:
        self.events.append("drained")

    async def happens(self, event: str) -> None:
        await eventually(lambda: event in self.events)

    async def hears(self, data: bytes) -> None:
        """Return when that was received and nothing else; forget it."""
        await eventually(lambda: len(self.got) >= len(data))
        assert self.got == data
        self.got = b""

    def give_back(self, pool: ConnectionPool, idle_seconds: int = -1, *, rests: bool = False) -> Upstream:
        assert self.upstream is not None
        upstream, self.upstream = self.upstream, None
        upstream.borrower = None
        pool.give(upstream, idle_seconds, rests)
        return upstream


class Net:
    """The parts of a sidecar that have to do with sockets. The wheel stands still unless a test turns it."""

    def __init__(
        self,
        routes: Sequence[Route] = (),
        settings: ExchangeSettings | None = None,
        registry: Endpoint | None = None,
        pipes: Pipes | None = None,
        tls: AppTls | None = None,
    ) -> None:
        self.splicer = Splicer(pipes or Pipes())
        self.settings = settings or ExchangeSettings()
        self.counters = Counters()
        self.wheel = TimerWheel()
        self.own = OwnAddresses()
        self.tasks = Tasks("test")
        self.descriptors = Descriptors(self.counters)
        self.names: dict[str, tuple[str, ...]] = {}
        """What a name server of this net's own knows; it never lies for longer than the test wants."""
        self.asked: list[str] = []
        self.resolver = Resolver(self.tasks, self._look_up, clock=lambda: self.wheel.now * TICK_SECONDS)
        self.pools = Pools(
            counters=self.counters.inbound,
            resolver=self.resolver,
            forbids=ShadowRules(self.resolver, registry),
            wheel=self.wheel,
            own=self.own,
            tasks=self.tasks,
            descriptors=self.descriptors,
            tls=tls,
        )
        self.correlation = Correlation(time.monotonic, b"5ca1ab1e")
        self.ring = HopRing("0000abcd", lambda: None)
        self.table = RouteTable(WORKLOAD)
        self.table.replace({route.key: route for route in routes})

    async def _look_up(self, host: str) -> Found:
        self.asked.append(host)
        if host not in self.names:
            raise UnresolvedError("domain name not found")
        return Found(self.names[host], 60.0)

    def _parts(self, counters: SideCounters, side: str) -> SideParts:
        notices = Notices(WORKLOAD)
        return SideParts(
            hops=HopRecorder(
                self.ring, time.time, Captures(), workload=WORKLOAD, side=side, instance="5c1d", sandbox="", revision=0
            ),
            workload=WORKLOAD,
            settings=self.settings,
            parser=head_parser(Limits()),
            counters=counters,
            wheel=self.wheel,
            clock=time.perf_counter,
            carriers=Carriers(KeyReader(("routing-key",)), counters, notices),
            traces=TraceReader(),
            correlation=self.correlation,
            pools=self.pools,
            reporter=notices,
            reset=reset,
            splicer=self.splicer,
        )

    def inbound(self, app: Endpoint, *, forwarded: bool = False) -> Inbound:
        return Inbound(
            self._parts(self.counters.inbound, "inbound"),
            app=app,
            table=self.table,
            gave_up=lambda: False,
            instance="5c1d",
            sandbox="",
            revision=0,
            random_bits=random.getrandbits,
            in_hand=lambda: (),
            forwarded=forwarded,
        )

    def outbound(self, target: Endpoint | None) -> Outbound:
        return Outbound(
            self._parts(self.counters.outbound, "outbound"), target=target, key_name="routing-key", own_key=""
        )

    def pass_ticks(self, ticks: int) -> None:
        for _ in range(ticks):
            self.wheel.advance()

    async def borrow(self, pool: ConnectionPool) -> Borrower:
        """A connection that was dialled."""
        borrower = Borrower()
        pool.dial(borrower)
        await borrower.happens("connected")
        return borrower


@asynccontextmanager
async def net(
    routes: Sequence[Route] = (),
    settings: ExchangeSettings | None = None,
    registry: Endpoint | None = None,
    pipes: Pipes | None = None,
    tls: AppTls | None = None,
) -> AsyncIterator[Net]:
    """A net that holds nothing in the end."""
    parts = Net(routes, settings, registry, pipes, tls)
    try:
        yield parts
    finally:
        await parts.tasks.close()
        for pool in parts.pools:
            for upstream in list(pool.open):
                upstream.stream.abort()
        await eventually(lambda: all(pool.unused for pool in parts.pools))
        assert repr(parts.wheel).endswith(" items=0>"), "a deadline of something that has ended"
        assert repr(parts.splicer).startswith("<Splicer under way=0 <Pipes lent=0 ")
        parts.splicer.close()
