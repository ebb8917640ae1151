"""The sides of one sidecar: those of its listeners, and those of the destinations that connections are redirected to.

A side of a listener is there from the start. One of a destination is made when the first connection to it arrives
(`proxy.net.transparent`), and forgotten when it is idle and there are many. All inbound sides have the connections to
applications and shadows in common, all outbound ones those to upstreams.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from urllib.parse import urlsplit

from proxy import BUILD
from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint
from proxy.exchange.carriers import Carriers
from proxy.exchange.gateway import Gateway
from proxy.exchange.inbound import Inbound
from proxy.exchange.outbound import Outbound
from proxy.exchange.passage import Passage
from proxy.exchange.recorder import HopRecorder
from proxy.exchange.side import Side, SideParts
from proxy.feed.hops import HopReport
from proxy.net.addresses import OwnAddresses
from proxy.net.app_tls import AppTls
from proxy.net.descriptors import Descriptors
from proxy.net.forbidden import ShadowRules
from proxy.net.peers import Peers
from proxy.net.pools import Pools
from proxy.net.reset import reset
from proxy.net.resolve import Resolver
from proxy.net.silence import Opening
from proxy.net.splicing import Splicer
from proxy.net.timers import TimerWheel
from proxy.net.transparent import ANYWHERE, Destinations, Received
from proxy.net.upstream import ConnectionPool, Forbids
from proxy.routing.captures import Captures
from proxy.routing.correlation import Correlation
from proxy.routing.key import KeyReader
from proxy.routing.links import LinkTable
from proxy.routing.table import RouteTable
from proxy.routing.trace import TraceReader
from proxy.settings import Settings
from proxy.spans import span_recorder
from proxy.telemetry.counters import INBOUND, OUTBOUND, Counters
from proxy.telemetry.exposition import PoolFigures
from proxy.telemetry.notices import Notices
from proxy.telemetry.tracing import Tracing
from proxy.wire.head import HeadParser, Limits

_random_bits = random.SystemRandom().getrandbits
"""Trace ids that are made here are not to be guessed."""


def head_parser(limits: Limits, watched: Sequence[str] = (), *, build: str = BUILD) -> HeadParser:
    """Reads heads: byte by byte where that is compiled, and by patterns where it would be slower."""
    if build == "compiled":
        from proxy.wire.scan import ScanningParser  # for nothing else

        return ScanningParser(limits, watched)
    return HeadParser(limits, watched)


class Sides:
    """
    own:     what each direction must not dial. An application may call itself: its call ends at it, by way of both
             sides.
    app_tls: how the applications behind listeners, and their shadows, are spoken to by TLS; None where they are not.
    gave_up: says that waiting for a first table is over.
    in_hand: the requests that all inbound sides have in hand.

    inbound, outbound: of listeners, in the order of the settings.
    links:   that gateways serve.
    gateways: of listeners.
    inbound_destinations, outbound_destinations: of redirected connections.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        table: RouteTable,
        *,
        own: dict[str, OwnAddresses],
        wheel: TimerWheel,
        tasks: Tasks,
        descriptors: Descriptors,
        tracing: Tracing | None,
        splicer: Splicer | None,
        app_tls: AppTls | None,
        hops: HopReport | None,
        gave_up: Callable[[], bool],
        in_hand: Callable[[], Iterable[Passage]],
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._table = table
        self._gave_up = gave_up
        self._in_hand = in_hand
        self._visited = f"{random.getrandbits(64):016x}"
        """What `skycap-visited` calls this process, and nothing else does."""
        self.correlation = Correlation(time.monotonic, b"%08x" % (_random_bits(32) | 1))
        resolver = Resolver(tasks)

        def pools(direction: str, forbids: Forbids | None, tls: AppTls | None = None) -> Pools:
            return Pools(
                counters=counters.inbound if direction == INBOUND else counters.outbound,
                wheel=wheel,
                own=own[direction],
                tasks=tasks,
                descriptors=descriptors,
                resolver=resolver,
                forbids=forbids,
                tls=tls,
            )

        notices = Notices(settings.workload)

        def parts(direction: str, pools: Pools) -> SideParts:
            figures = counters.inbound if direction == INBOUND else counters.outbound
            return SideParts(
                workload=settings.workload,
                settings=settings.exchange,
                parser=head_parser(settings.limits, (*settings.key_headers, *settings.trace_headers)),
                counters=figures,
                wheel=wheel,
                clock=time.perf_counter,
                carriers=Carriers(KeyReader(settings.key_names, settings.key_headers), figures, notices),
                traces=TraceReader(settings.trace_headers),
                correlation=self.correlation,
                pools=pools,
                reporter=notices,
                spans=span_recorder(tracing, direction) if tracing is not None else None,
                hops=_hop_recorder(hops, settings, direction, table.captures),
                prefix=b"%08x" % _random_bits(32),
                reset=reset,
                splicer=splicer,
                rules=table.rules,
            )

        shadow_rules = ShadowRules(resolver, _address_of(settings.registry))
        self._inbound_pools = pools(INBOUND, shadow_rules)
        self._guarded_pools = pools(INBOUND, shadow_rules, app_tls) if app_tls is not None else self._inbound_pools
        """Of listeners. Redirected clients speak to the application themselves, by TLS where it does."""
        self._outbound_pools = pools(OUTBOUND, None)
        secure = settings.gateway and settings.registry.startswith("https:")
        self._registry_pools = pools(OUTBOUND, None, AppTls(system=True)) if secure else self._outbound_pools
        """Of a gateway."""
        self._all_pools = {self._inbound_pools, self._guarded_pools, self._outbound_pools, self._registry_pools}
        self._inbound_parts = parts(INBOUND, self._inbound_pools)
        self._outbound_parts = parts(OUTBOUND, self._outbound_pools)
        self.inbound: list[Inbound] = []
        self.outbound: list[Outbound] = []
        self.links = LinkTable()
        self.gateways: list[Gateway] = []
        self.inbound_destinations = Destinations(self._receive_inbound)
        self.outbound_destinations = Destinations(self._receive_outbound, self._forgot_outbound)
        for each in self._all_pools:
            each.crowded = self.sweep
        self._rules_seen = 0
        self._keys_lost = 0
        """At destinations that have been forgotten since."""

    # -- making them ----------------------------------------------------------------------------------------------

    def guard(self, app: Endpoint, port: int) -> Inbound:
        """The side of a listener at `port` that guards the application at `app`."""
        pools = self._guarded_pools
        pools.trust(app)
        side = self._guard(replace(self._inbound_parts, pools=pools), app, port)
        self.inbound.append(side)
        return side

    def carry(self, target: Endpoint | None) -> Outbound:
        """The side of a listener that carries calls to `target`; None for a forward proxy."""
        side = self._carry(target)
        self.outbound.append(side)
        return side

    def serve_links(self, authorization: Callable[[], str]) -> Gateway:
        """The side of a listener that serves preview links. authorization: for the registry."""
        address = _address_of(self._settings.registry)
        side = Gateway(
            self._inbound_parts,
            links=self.links,
            domain=self._settings.gateway_domain,
            now=time.time,
            registry=self._registry_pools(address) if address is not None else None,
            authorization=authorization,
        )
        self.gateways.append(side)
        return side

    def opening(self, port: int, peers: Peers | None = None, *, tls: bool = False) -> Opening:
        """How connections to a port begin."""
        return Opening(self._settings.sniff_seconds, declared=port in self._settings.opaque, peers=peers, tls=tls)

    def _guard(self, parts: SideParts, app: Endpoint, port: int) -> Inbound:
        settings = self._settings
        return Inbound(
            parts,
            app=app,
            table=self._table,
            gave_up=self._gave_up,
            instance=self._visited,
            sandbox=settings.sandbox,
            revision=settings.revision,
            random_bits=_random_bits,
            in_hand=self._in_hand,
            forwarded=settings.forwarded,
            port=port,
        )

    def _carry(self, target: Endpoint | None, *, relays: bool = False) -> Outbound:
        settings = self._settings
        return Outbound(
            self._outbound_parts,
            target=target,
            key_name=settings.key_names[0],
            own_key=settings.routing_key,
            relays=relays,
        )

    def _receive_inbound(self, destination: Endpoint) -> Received:
        """What guards the application at `destination`: the listener of ours that has this address, or a side of its
        own."""
        anywhere = ANYWHERE[":" in destination.host]
        for (listen, _), side in zip(self._settings.inbound, self.inbound, strict=True):
            if listen.port == destination.port and listen.host in (destination.host, anywhere):
                return side, self.opening(destination.port)
        pools = self._inbound_pools

        def nearby(endpoint: Endpoint) -> ConnectionPool:
            return pools.local(endpoint) if endpoint == destination else pools(endpoint)

        side = self._guard(replace(self._inbound_parts, pools=nearby), destination, destination.port)
        return side, self.opening(destination.port)

    def _receive_outbound(self, destination: Endpoint) -> Received:
        return self._carry(destination, relays=True), self.opening(destination.port)

    def _forgot_outbound(self, side: Side) -> None:
        assert isinstance(side, Outbound)
        self._keys_lost += side.keys_lost

    # -- all of them ----------------------------------------------------------------------------------------------

    def _all_inbound(self) -> set[Inbound]:
        """Every side that guards an application."""
        return {side for side in (*self.inbound, *self.inbound_destinations) if isinstance(side, Inbound)}

    def _all_outbound(self) -> set[Outbound]:
        """Every side that carries calls."""
        return {side for side in (*self.outbound, *self.outbound_destinations) if isinstance(side, Outbound)}

    @property
    def keys_lost(self) -> int:
        """Calls that may have lost their key."""
        return self._keys_lost + sum(side.keys_lost for side in self._all_outbound())

    def table_changed(self) -> None:
        """Decide again on what was held up, and let go of what no route names any more."""
        if self._table.rules.version != self._rules_seen:
            self._rules_seen = self._table.rules.version
            for calls in self._all_outbound():
                calls.rules_changed()
        for side in self._all_inbound():
            side.table_changed()
        self.sweep()

    def sweep(self) -> None:
        """Let go of connections to endpoints that no route names any more."""
        wanted: set[Endpoint] = set()
        for side in self._all_inbound():
            wanted |= side.endpoints_in_use()
        for gateway in self.gateways:
            wanted |= gateway.endpoints_in_use()
        for pools in {self._inbound_pools, self._guarded_pools}:
            pools.sweep(wanted)
        called = {target for _, target in self._settings.outbound if target is not None}
        if self.gateways and (registry := _address_of(self._settings.registry)) is not None:
            called.add(registry)
        for pools in {self._outbound_pools, self._registry_pools}:
            pools.sweep(called | self.outbound_destinations.endpoints())

    async def refresh(self) -> None:
        """Drain connections to names that have moved."""
        for pools in self._all_pools:
            await pools.refresh()

    def pool_figures(self) -> Iterator[PoolFigures]:
        apps = {app for _, app in self._settings.inbound} | self.inbound_destinations.endpoints()
        for pool in chain.from_iterable({self._inbound_pools, self._guarded_pools}):
            kind = "app" if pool.endpoint in apps else "shadow"
            yield PoolFigures(INBOUND, kind, len(pool.idle), len(pool.open) - len(pool.idle))
        for pool in chain.from_iterable({self._outbound_pools, self._registry_pools}):
            yield PoolFigures(OUTBOUND, "upstream", len(pool.idle), len(pool.open) - len(pool.idle))


def _hop_recorder(hops: HopReport | None, settings: Settings, direction: str, captures: Captures) -> HopRecorder | None:
    if hops is None:
        return None
    return HopRecorder(
        hops.ring,
        time.time,
        captures,
        workload=settings.workload,
        side=direction,
        instance=settings.instance,
        sandbox=settings.sandbox,
        revision=settings.revision,
    )


def _address_of(url: str) -> Endpoint | None:
    if not url:
        return None
    parts = urlsplit(url)
    assert parts.hostname is not None
    return Endpoint(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
