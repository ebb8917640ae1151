"""Connections to applications, shadows and other sidecars, and the pool that keeps those to one endpoint.

A connection is *available* (idle in its pool), *lent* to a borrower, or *closed*. It is lent again last in, first
out: the most recently used one is the least likely to have been closed meanwhile, and the others age out. Idle
connections are watched: an end, or bytes without a request, discard them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast

from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint
from proxy.errors import LOOP, OVERLOADED
from proxy.exchange.h2.server import ServerLink
from proxy.exchange.ports import FAR, Borrower, Stream, Upstream, Wheel
from proxy.exchange.settings import TICK_SECONDS
from proxy.net.addresses import Ends, ForbiddenError, OwnAddresses
from proxy.net.app_tls import HTTP1, HTTP2, AppTls, HandshakeError
from proxy.net.descriptors import Descriptors
from proxy.net.idle import IdleLimit
from proxy.net.racing import first_connected
from proxy.net.reset import left_behind
from proxy.net.resolve import Resolver, UnresolvedError, is_address
from proxy.net.tls import TlsStream
from proxy.net.tuning import tune
from proxy.telemetry.counters import SideCounters

LOOPBACKS = ("127.0.0.1", "::1")

MAX_IDLE: Final = 256
"""Idle connections kept per endpoint; what is more than that after a burst is closed."""

RESTING_TICKS: Final = int(0.5 / TICK_SECONDS)
"""How long a connection is left alone whose last answer had no body by a rule (204, 304): some applications send one
all the same, and a moment later. Half a second is long for an application and short enough that, with MAX_IDLE of them
resting, 500 such answers in a second need no connection of their own."""


class UpstreamConnection(asyncio.Protocol):
    """Implements the `Upstream` port of the exchange.

    early: what its other end said before it was lent for the first time; None from then on.
    ends:  from where to where it goes, where the sidecar has to know its own connections; else None.
    since: the tick at which it was given back last.
    to:    the address that was dialled.
    """

    __slots__ = ("borrower", "broken", "due", "early", "ends", "pool", "reused", "since", "slot", "stream", "to")

    stream: Stream

    def __init__(self, pool: ConnectionPool, to: str = "") -> None:
        self.pool = pool
        self.to = to
        self.early: bytes | None = b""
        self.ends: Ends | None = None
        self.borrower: Borrower | None = None
        self.reused = False
        self.since = 0
        self.broken = False
        self.due = 0
        self.slot = FAR

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.pool.endpoint} {'lent' if self.borrower else 'idle'}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stream = transport  # type: ignore[assignment] # uvloop's transports do not derive from asyncio's
        tune(transport)
        if self.pool.tls is not None:
            self.stream = TlsStream(cast(asyncio.Transport, transport))
        self.pool.open.add(self)

    def note_ends(self) -> Ends:
        transport = cast(asyncio.Transport, self.stream)
        source, destination = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self.ends = ends = (source[0], source[1], destination[0], destination[1])
        return ends

    def data_received(self, data: bytes) -> None:
        borrower = self.borrower
        if borrower is not None:
            borrower.answer.received(data)
        elif self.early is not None:
            # It speaks first (SMTP, SSH), and the task that dialled runs only in the loop's next turn.
            self.early += data
            self.stream.pause_reading()
        else:
            # RFC 9112 section 9.2: an answer without a request must not meet the next request.
            self.pool.spoke(self)

    def lend(self, borrower: Borrower) -> None:
        """For the first time."""
        early, self.early = self.early, None
        if early:
            self.stream.resume_reading()  # before the borrower, which may pause it
        borrower.connected(self)
        if early:
            self.data_received(early)

    def eof_received(self) -> bool:
        if self.borrower is not None:
            keep = self.borrower.upstream_eof()
            return keep and self.pool.tls is None  # an end of TLS is one of both directions
        if self.early is None:
            self.pool.ended(self)  # at once: until the loop says that it is lost, it could be lent
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self.borrower is not None and (left := left_behind(self.stream)):
            self.borrower.answer.received(left)
        self.pool.lost(self)
        borrower, self.borrower = self.borrower, None
        if borrower is not None:
            borrower.upstream_lost(error=exc is not None or self.broken)

    def pause_writing(self) -> None:
        if self.borrower is not None:
            self.borrower.upstream_full()

    def resume_writing(self) -> None:
        if self.borrower is not None:
            self.borrower.upstream_drained()

    def expired(self) -> None:
        """It has rested, or been idle, for long enough."""
        if self.borrower is None:  # else it was idle once, and is lent now
            self.pool.aged(self)


class ConnectionPool:
    """Implements the `Pool` port of the exchange for one endpoint.

    loopback: the endpoint is an application on this machine, which is dialled on loopback first, and on the endpoint's
              own address when it does not listen there.
    forbids:  says why an address must not be dialled, "" when it may be.
    tls:      how it is spoken to by TLS, None where it is not.
    limit:    how long its connections may be idle.
    resting:  those that are not lent yet, because their last answer may have a body behind it, with the ticks until
              which they may be.
    """

    __slots__ = (
        "_counters", "_descriptors", "_dials", "_forbids", "_hosts", "_moved", "_numeric", "_own", "_resolver",
        "_speaks_late", "_tasks", "_wheel",
        "endpoint", "idle", "limit", "open", "resting", "tls",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        counters: SideCounters,
        wheel: Wheel,
        own: OwnAddresses,
        tasks: Tasks,
        descriptors: Descriptors,
        resolver: Resolver,
        forbids: Forbids | None = None,
        loopback: bool = False,
        tls: AppTls | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.tls = tls
        near = ["::1" if ":" in endpoint.host else "127.0.0.1"] if loopback else []
        # RFC 6761 section 6.3: `localhost` is the loopback address, of both kinds, and no name server is asked for it.
        # A server that is told to listen on it may have chosen either (Node.js 17 and later: ::1).
        hosts = LOOPBACKS if endpoint.host == "localhost" else (endpoint.host,)
        self._hosts = tuple(dict.fromkeys([*near, *hosts]))
        self._numeric = all(map(is_address, self._hosts))
        self.open: set[UpstreamConnection] = set()
        self.idle: list[Upstream] = []
        self.resting: dict[Upstream, int] = {}
        self.limit = IdleLimit()
        self._speaks_late = False
        self._dials: dict[Borrower, asyncio.Task[None]] = {}
        self._moved: set[Upstream] = set()
        """Connections in use to addresses that the name has no more."""
        self._resolver = resolver
        self._forbids = forbids
        self._counters = counters
        self._wheel = wheel
        self._own = own
        self._tasks = tasks
        self._descriptors = descriptors

    def __repr__(self) -> str:
        return (
            f"<ConnectionPool {self.endpoint} open={len(self.open)} idle={len(self.idle)} dialling={len(self._dials)}>"
        )

    @property
    def unused(self) -> bool:
        """It has no connection and makes none."""
        return not self.open and not self._dials

    def give(self, upstream: Upstream, idle_seconds: int, rests: bool = False) -> None:
        now = self._wheel.now
        ticks = self.limit.for_seconds(idle_seconds, now)
        if rests and (ticks <= RESTING_TICKS or len(self.resting) >= MAX_IDLE or self._speaks_late):
            ticks = 0
        if ticks <= 0 or len(self.idle) >= MAX_IDLE or upstream in self._moved:
            upstream.stream.close()
            return
        upstream.reused = True
        upstream.since = now
        due = now + ticks
        if rests:
            self.resting[upstream] = due
            due = now + RESTING_TICKS
        else:
            self.idle.append(upstream)
        upstream.due = due
        if due < upstream.slot:
            self._wheel.arm(upstream)

    def dial(self, borrower: Borrower) -> None:
        self._dials[borrower] = self._tasks.spawn(self._dial(borrower), f"dial {self.endpoint}")

    def forget(self, borrower: Borrower) -> None:
        task = self._dials.pop(borrower, None)
        if task is not None:
            task.cancel()

    def dead(self, upstream: Upstream) -> None:
        self.limit.died(self._wheel.now - upstream.since, self._wheel.now)

    def aged(self, upstream: UpstreamConnection) -> None:
        """An idle connection's deadline has passed."""
        if upstream in self.resting and len(self.idle) < MAX_IDLE:
            upstream.due = self.resting.pop(upstream)
            self._wheel.arm(upstream)
            self.idle.append(upstream)
        else:
            self._discard(upstream)

    def spoke(self, upstream: UpstreamConnection) -> None:
        """An idle connection has something to say. When that stands behind an answer without a body, none is lent again
        behind such an answer of this endpoint."""
        self._speaks_late = self._speaks_late or upstream in self.resting
        self._discard(upstream)

    def ended(self, upstream: UpstreamConnection) -> None:
        """The other end of an idle connection has closed it."""
        self.dead(upstream)
        self._discard(upstream)

    def _discard(self, upstream: UpstreamConnection) -> None:
        """Close an idle connection."""
        self._counters.upstream_discarded += 1
        self._take(upstream)
        upstream.stream.abort()

    def _take(self, upstream: UpstreamConnection) -> bool:
        """It is neither idle nor resting any more. False: it was not."""
        if upstream in self.resting:
            del self.resting[upstream]
        elif upstream in self.idle:
            self.idle.remove(upstream)
        else:
            return False
        return True

    def lost(self, upstream: UpstreamConnection) -> None:
        """A connection has ended."""
        self._discount(upstream)
        self._moved.discard(upstream)
        if self._own.connections is not None and upstream.ends is not None:
            self._own.connections.unmade(upstream.ends)
        self._wheel.disarm(upstream)
        if upstream.borrower is None and self._take(upstream):
            self._counters.upstream_discarded += 1
            self.dead(upstream)

    def close_idle(self) -> None:
        """Close what is not in use now."""
        for upstream in [*self.idle, *self.resting]:
            upstream.stream.close()
        self.idle.clear()
        self.resting.clear()

    async def _dial(self, borrower: Borrower) -> None:
        self._counters.upstream_dials += 1
        try:
            upstream = await self._connect(HTTP2 if isinstance(borrower, ServerLink) else HTTP1)
        except _OwnListenerError:
            self._dials.pop(borrower, None)
            borrower.dial_refused(LOOP, self._is_ours)
            return
        except OSError as error:
            self._dials.pop(borrower, None)
            self._failed(borrower, error)
            return
        self._dials.pop(borrower, None)
        if self._own.connections is not None and not self._own.connections.made(upstream.note_ends()):
            upstream.stream.abort()
            borrower.dial_refused(LOOP, self._is_ours)
        elif upstream.stream.is_closing():
            borrower.dial_failed("the connection was closed as soon as it was made")
        else:
            upstream.lend(borrower)

    @property
    def _is_ours(self) -> str:
        return f"{self.endpoint} is one of this sidecar's own listeners"

    def _failed(self, borrower: Borrower, error: OSError) -> None:
        self.limit.forget()
        if self._descriptors.dial_failed(error):
            self._counters.upstream_dial_failures += 1
            borrower.dial_refused(OVERLOADED, f"no file descriptor is left for a connection to {self.endpoint}")
        else:
            borrower.dial_failed(_reason(error))

    async def _connect(self, protocols: tuple[str, ...]) -> UpstreamConnection:
        """Dial exactly those addresses that were checked. Raises OSError when none accepts, that of the first one: a
        machine may have no IPv6 to try behind it. protocols: what TLS offers."""
        port = self.endpoint.port
        found = self._hosts if self._numeric else await self._resolve()
        for address in found:
            if (address, port) in self._own:
                raise _OwnListenerError
            if self._forbids is not None and (why := await self._forbids(address, port)):
                raise ForbiddenError(f"{address} {why}")
        return await first_connected(found, lambda address: self._attempt(address, protocols), _superfluous)

    async def _resolve(self) -> tuple[str, ...]:
        found: list[str] = []
        for host in self._hosts:
            found += await self._resolver.resolve(host)
        addresses = tuple(dict.fromkeys(found))
        self.keep_only(addresses)
        return addresses

    async def refresh(self) -> None:
        """Look whether the name has moved, where there are connections to it. Never raises for the look-up."""
        if not self._numeric and self.open:
            with contextlib.suppress(UnresolvedError):
                await self._resolve()

    def keep_only(self, addresses: Sequence[str]) -> None:
        """Close idle connections to other addresses, and those in use when they are given back; one of HTTP/2, which
        never is, behind the last of its streams."""
        for upstream in list(self.open):
            if upstream.to not in addresses and upstream not in self._moved:
                if upstream.borrower is None and self._take(upstream):
                    upstream.stream.close()
                else:
                    self._moved.add(upstream)
                    if isinstance(upstream.borrower, ServerLink):
                        upstream.borrower.moved()

    async def _attempt(self, host: str, protocols: tuple[str, ...]) -> UpstreamConnection:
        upstream = UpstreamConnection(self, host)
        self._descriptors.dialling(upstream)
        try:
            if self.tls is None:
                await asyncio.get_running_loop().create_connection(lambda: upstream, host, self.endpoint.port)
            else:
                await self.tls.connect(upstream, host, self.endpoint, protocols)
        except BaseException:
            # Also when the borrower waits no more: uvloop closes a connection that was just made without telling it.
            self._discount(upstream)
            raise
        return upstream

    def _discount(self, upstream: UpstreamConnection) -> None:
        self.open.discard(upstream)
        self._descriptors.upstreams.discard(upstream)


def _superfluous(upstream: UpstreamConnection) -> None:
    upstream.stream.abort()


Forbids = Callable[[str, int], Awaitable[str]]
"""(numeric address, port) -> why it must not be dialled, as a phrase; "" when it may be."""


class _OwnListenerError(Exception):
    """What was to be dialled is a listener of this very sidecar."""


def _reason(error: OSError) -> str:
    if isinstance(error, UnresolvedError | ForbiddenError | HandshakeError):
        return str(error)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return (error.strerror or str(error) or type(error).__name__).lower()
