"""The composition root: builds everything in order, owns signals and the drain.

    settings -> listening sockets -> table and feed -> sides -> listeners -> admin -> (serve) -> drain

All that can be wrong with the configuration is found before the first request is accepted, and said at once: a bad
flag, a port in use, a routes file with a mistake. The listening sockets are opened first, so that a busy port is
known before anything else starts; the kernel queues what arrives until the listeners run.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence

import uvloop

from proxy import BUILD, __version__
from proxy.admin.port import Shown
from proxy.admin.server import AdminServer, most_connections
from proxy.base import log
from proxy.base.listen import Listen
from proxy.base.problems import ConfigurationError
from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint
from proxy.exchange.inbound import Inbound
from proxy.exchange.passage import Passage
from proxy.exchange.settings import NO_LIMIT
from proxy.exchange.side import Side
from proxy.feed.file import FileFeed
from proxy.feed.holder import FeedState
from proxy.feed.hop_lines import SECRET_FIELDS
from proxy.feed.hops import HopReport
from proxy.feed.link import RegistryLink
from proxy.feed.registry import RegistryFeed
from proxy.net.addresses import OwnAddresses, OwnConnections
from proxy.net.allocator import keep_freed_memory
from proxy.net.app_tls import AppTls
from proxy.net.descriptors import Descriptors, raise_limit
from proxy.net.drain import drain
from proxy.net.listener import Entrance, FixedEntrance, Listener, bind
from proxy.net.peers import Peers
from proxy.net.pipes import Pipes, pipe_limit
from proxy.net.pressure import give_way
from proxy.net.splicing import Splicer
from proxy.net.timers import TimerWheel
from proxy.net.tls import Certificate
from proxy.net.transparent import ANYWHERE, LOOPBACK, Redirection, bind_redirected
from proxy.routing.links import LinkTable
from proxy.routing.table import RouteTable
from proxy.settings import Settings, Transparent, parse_settings
from proxy.sides import Sides
from proxy.telemetry.counters import INBOUND, OUTBOUND, Counters
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.tracing import Tracing, open_tracing

HOUSE_SECONDS = 15.0
"""Between two rounds of what is due once in a while: a fraction of a generation of trace ids."""

RELEASED_AT_ONCE = 2_000
"""Trace ids that are let go in one turn of the loop: 0.1 ms."""

NAMES_SECONDS = 5.0
"""Between two looks at the names that there are connections to: what is known for its TTL is asked of nobody."""

_log = logging.getLogger("skycap.sidecar")


class Sidecar:
    """One running sidecar. `run` starts it and returns when it has drained."""

    def __init__(self, settings: Settings, tracing: Tracing | None) -> None:
        self._settings = settings
        self._tracing = tracing
        self._tasks = Tasks("the sidecar")
        self._wheel = TimerWheel()
        self._own = {INBOUND: OwnAddresses(), OUTBOUND: OwnAddresses()}
        """What each side must not dial. An application may call itself: its call ends at it, by way of both sides."""
        self._drain = asyncio.Event()
        self.counters = Counters()
        self._descriptors = Descriptors(self.counters)
        self._splicer = self._open_splicer()
        self._app_tls = AppTls(settings.app_tls.ca) if settings.app_tls is not None else None
        self.table = RouteTable(settings.workload)
        if settings.rules is not None:
            self.table.put_rules(*settings.rules)
        self._link = _open_link(settings)
        self._hops = _open_hops(settings, self._link)
        self._sides = Sides(
            settings,
            self.counters,
            self.table,
            own=self._own,
            wheel=self._wheel,
            tasks=self._tasks,
            descriptors=self._descriptors,
            tracing=tracing,
            splicer=self._splicer,
            app_tls=self._app_tls,
            hops=self._hops,
            gave_up=lambda: self.feed_state.given_up,
            in_hand=self._in_hand,
        )
        links = self._sides.links if settings.gateway else None
        self.feed_state, self._feed = _open_feed(settings, self._link, self.table, links)
        self._inbound_listeners: list[Listener] = []
        self._outbound_listeners: list[Listener] = []
        self._admin_sockets: list[socket.socket] = []
        self.table.watchers.append(self._sides.table_changed)
        self.feed_state.watchers.append(self._sides.table_changed)

    def __repr__(self) -> str:
        return f"<Sidecar {self._settings.workload} {self._settings.instance} {self.table!r}>"

    def _open_splicer(self) -> Splicer | None:
        if self._settings.exchange.splice_bytes == NO_LIMIT:
            return None
        descriptors = self._descriptors
        return Splicer(Pipes(pipe_limit(descriptors.limit), room=lambda: not descriptors.paused))

    # -- listening ------------------------------------------------------------------------------------------------

    def _open_listeners(self) -> None:
        """Bind every address. Raises ConfigurationError with all that cannot be bound."""
        settings = self._settings
        problems: list[str] = []
        sides, peers = self._sides, Peers(self._tasks) if settings.peer_keys else None
        wanted: list[tuple[str, Listen, Side, Peers | None]] = [
            *((INBOUND, listen, sides.guard(app, listen.port), None) for listen, app in settings.inbound),
            *((OUTBOUND, listen, sides.carry(target), peers) for listen, target in settings.outbound),
        ]
        if self._link is not None:
            wanted += [(INBOUND, each, sides.serve_links(self._link.authorization), None) for each in settings.gateway]
        for direction, listen, side, known in wanted:
            try:
                certificate = _certificate(settings, side, self._app_tls)
                sockets = bind(listen.host, listen.port)
            except ConfigurationError as error:
                problems += error.problems
            else:
                opening = sides.opening(listen.port, known, tls=certificate is not None)
                self._listen(direction, FixedEntrance(side, opening), sockets, certificate)
        if settings.transparent is not None:
            problems += self._open_transparent(settings.transparent)
        if settings.admin is not None:
            try:
                self._descriptors.reserved = most_connections(self._descriptors.limit)
                self._admin_sockets = bind(settings.admin.host, settings.admin.port)
            except ConfigurationError as error:
                problems += error.problems
        if problems:
            raise ConfigurationError(problems)
        for listener in self._all_listeners():
            self._own[INBOUND].add(listener.sockets)
            guards = isinstance(listener.entrance, FixedEntrance) and isinstance(listener.entrance.side, Inbound)
            if not guards:
                self._own[OUTBOUND].add(listener.sockets)
        for own in self._own.values():
            own.add(self._admin_sockets)

    def _listen(
        self,
        direction: str,
        entrance: Entrance,
        sockets: list[socket.socket],
        certificate: Certificate | None = None,
    ) -> None:
        listeners = self._inbound_listeners if direction == INBOUND else self._outbound_listeners
        listeners.append(Listener(entrance, sockets, self._descriptors, certificate))

    def _in_hand(self) -> Iterator[Passage]:
        """The requests that came in and are not over."""
        for listener in self._inbound_listeners:
            for connection in listener.connections:
                yield from connection.passages

    def _open_transparent(self, ports: Transparent) -> list[str]:
        """Bind where connections are redirected to. Returns what is in the way."""
        own = OwnConnections()
        for addresses in self._own.values():
            addresses.connections = own
        problems: list[str] = []
        for direction, destinations, counters, port, hosts in (
            (INBOUND, self._sides.inbound_destinations, self.counters.inbound, ports.inbound, ANYWHERE),
            (OUTBOUND, self._sides.outbound_destinations, self.counters.outbound, ports.outbound, LOOPBACK),
        ):
            try:
                sockets = bind_redirected(hosts, port)
            except ConfigurationError as error:
                problems += error.problems
            else:
                self._listen(direction, Redirection(destinations, counters, own), sockets)
        return problems

    # -- running --------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Judge what can be judged without listening. Raises ConfigurationError with every problem."""
        for _, app in self._settings.inbound:
            if self._settings.inbound_tls is not None:
                Certificate(*self._settings.inbound_tls, app, self._app_tls)
        if self._feed is not None:
            await self._feed.check()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises ConfigurationError before anything was accepted."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        self._open_listeners()
        if self._feed is not None:
            await self._feed.start()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self.begin_drain)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._wheel.start(loop)
        self._descriptors.give_way = self._give_way
        for listener in self._all_listeners():
            if listener.certificate is not None:
                self._tasks.keep(listener.certificate.ask, "what the application speaks")
            await listener.start()
        self._tasks.keep(self._keep_house, "house-keeping")
        self._tasks.keep(self._descriptors.watch, "file descriptors")
        if self._feed is not None:
            self._tasks.keep(self._feed.run, "route feed")
        if self._hops is not None:
            self._tasks.keep(self._hops.run, "hops")
        self._tasks.keep(self._give_up_later, "sync timeout")
        self._tasks.keep(self._follow_names, "names")
        admin = self._admin()
        if admin is not None:
            await admin.start()
        _log.info("%s listens on %s (%s)", settings.workload, ", ".join(self._addresses()), BUILD)
        if self._feed is None and not settings.sandbox:  # beside a shadow there is nothing to decide
            _log.warning("neither --routes nor --registry: every request goes to the application, whatever its key")
        # What exists now lives as long as the process: the garbage collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.enable()  # `proxy.__main__` has stopped it
        if admin is not None:  # else the first scrape would import it, and requests would wait for that
            await asyncio.to_thread(importlib.import_module, "prometheus_client")
        await self._drain.wait()
        await self._finish()
        if admin is not None:
            await admin.stop()

    async def _finish(self) -> None:
        """Stop accepting, let what is in flight end, cut what does not.

        First from the application's clients; its own calls go on, since what is waited for may need them.
        """
        started = time.monotonic()
        end = started + self._settings.drain_seconds
        _log.info("draining: %d connections", sum(len(listener.connections) for listener in self._all_listeners()))
        cut = 0
        for listeners in (self._inbound_listeners, self._outbound_listeners):
            cut += await drain(listeners, end)
        await self._tasks.close()
        if self._hops is not None and self._link is not None:
            await self._hops.finish()
            await self._link.close()
        self._wheel.stop()
        if self._splicer is not None:
            self._splicer.close()
        if self._tracing is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._tracing.close)
        _log.info("drained in %.1f s, %d connections cut", time.monotonic() - started, cut)

    def _give_way(self, count: int) -> int:
        """Idle clients, since descriptors are short."""
        return give_way((one for listener in self._all_listeners() for one in listener.connections), count)

    def _all_listeners(self) -> list[Listener]:
        return [*self._inbound_listeners, *self._outbound_listeners]

    def begin_drain(self) -> None:
        """The one signal that everything listens to. The second one cuts what is left, which ends the wait."""
        if self._drain.is_set():
            for listener in self._all_listeners():
                listener.abort()
        self._drain.set()

    def _reload(self) -> None:
        """SIGHUP."""
        if self._feed is None:
            _log.info("SIGHUP: there is no routes file to read again")
            return
        _log.info("SIGHUP: asking %s again", self.feed_state.source)
        self._feed.reload()

    async def _give_up_later(self) -> None:
        await asyncio.sleep(self._settings.sync_seconds if self._feed is not None else 0)
        self.feed_state.give_up()

    async def _keep_house(self) -> None:
        """What is due once in a while, and not per request."""
        while True:
            await asyncio.sleep(HOUSE_SECONDS)
            correlation = self._sides.correlation
            correlation.tick()
            more = True
            while more:
                more = correlation.release(RELEASED_AT_ONCE)
                await asyncio.sleep(0)
            self._sides.sweep()

    async def _follow_names(self) -> None:
        """Connections to names that have moved are drained."""
        while True:
            await asyncio.sleep(NAMES_SECONDS)
            await self._sides.refresh()

    # -- what the admin listener shows ----------------------------------------------------------------------------

    def _addresses(self) -> list[str]:
        return [
            f"{s.getsockname()[0]}:{s.getsockname()[1]}" for listener in self._all_listeners() for s in listener.sockets
        ]

    def _admin(self) -> AdminServer | None:
        listen = self._settings.admin
        if listen is None:
            return None
        exposition = Exposition(
            self.counters,
            self.table,
            self.feed_state,
            self._sides.pool_figures,
            workload=self._settings.workload,
            version=__version__,
        )

        def metrics(accept: str) -> tuple[bytes, str]:
            correlation = self._sides.correlation
            self.counters.traces_known = len(correlation)
            self.counters.traces_dropped = correlation.dropped
            self.counters.traces_disputed = correlation.disputes
            self.counters.trace_seconds = correlation.lifetime
            self.counters.keys_lost = self._sides.keys_lost
            if self._hops is not None:
                self.counters.hops_sent = self._hops.sent
                self.counters.hops_dropped = self._hops.lost + self._hops.ring.dropped
            return exposition.text(accept)

        shown = Shown(
            table=self.table,
            feed=self.feed_state,
            metrics=metrics,
            connections=self.connections,
            drain=self.begin_drain,
            draining=self._drain.is_set,
            trouble=lambda: self._tasks.trouble,
        )
        return AdminServer(Endpoint(listen.host, listen.port), shown, self._admin_sockets)

    def connections(self) -> Iterator[dict[str, object]]:
        for listener in self._all_listeners():
            for connection in list(listener.connections):
                direction = INBOUND if isinstance(connection.side, Inbound) else OUTBOUND
                yield {"direction": direction, **connection.describe()}


def _open_link(settings: Settings) -> RegistryLink | None:
    if not settings.registry:
        return None
    return RegistryLink(settings.registry, settings.instance, token_file=settings.token_file)


def _open_feed(
    settings: Settings, link: RegistryLink | None, table: RouteTable, links: LinkTable | None
) -> tuple[FeedState, FileFeed | RegistryFeed | None]:
    if settings.routes is not None:
        state = FeedState(f"file {settings.routes}", table, needs_table=True)
        return state, FileFeed(settings.routes, table, state)
    if link is not None:
        state = FeedState(f"registry {settings.registry}", table)
        return state, RegistryFeed(link, table, state, links=links, acting=not settings.sandbox)
    table.replace({})  # nothing to wait for: an empty table is the whole truth
    return FeedState("none", table), None


def _open_hops(settings: Settings, link: RegistryLink | None) -> HopReport | None:
    secret = SECRET_FIELDS.union(map(str.lower, settings.redact))
    return None if link is None else HopReport(link, f"{random.SystemRandom().getrandbits(32):08x}", secret)


async def serve(settings: Settings, tracing: Tracing | None) -> None:
    """Run one sidecar until it is told to end."""
    sidecar = Sidecar(settings, tracing)
    if settings.check:
        await sidecar.check()
    else:
        await sidecar.run()


def main(arguments: Sequence[str]) -> int:
    """`skycap proxy`. Returns the exit code."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # their default is to end the process; SIGHUP gets a meaning later
    try:
        settings = parse_settings(arguments, os.environ)
        log.configure("error" if settings.check else settings.log_level, settings.log_format)
        tracing = open_tracing(settings.otlp_endpoint, os.environ, workload=settings.workload, version=__version__)
        raise_limit()
        keep_freed_memory()
        uvloop.run(serve(settings, tracing))
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"skycap proxy: {problem}", file=sys.stderr)  # noqa: T201 (a person reads it)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _certificate(settings: Settings, side: Side, app_tls: AppTls | None) -> Certificate | None:
    """What the clients of a listener are shown, None where they speak without TLS."""
    if settings.inbound_tls is None or not isinstance(side, Inbound) or side.default_pool is None:
        return None
    return Certificate(*settings.inbound_tls, side.default_pool.endpoint, app_tls)
