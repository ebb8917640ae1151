"""The pools of one direction: the same pool for the same endpoint, let go when no route names it any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint
from proxy.exchange.ports import Wheel
from proxy.net.addresses import OwnAddresses
from proxy.net.app_tls import AppTls
from proxy.net.descriptors import Descriptors
from proxy.net.resolve import Resolver
from proxy.net.upstream import ConnectionPool, Forbids
from proxy.telemetry.counters import SideCounters

MAX_POOLS = 1024
"""Of one direction, until a sweep looks which of them are in use: more than an application calls, 1.2 KB each. A client
of a forward proxy names a new endpoint with every request if it likes, 300,000 between two sweeps of the clock."""


class Pools:
    """The pools of one direction, made when they are first asked for.

    resolver: shared by both directions; without one, a resolver of its own.
    forbids:  of endpoints that routes name; those of `trust` are the installation's own.
    tls:      how all of them are spoken to by TLS, None where they are not.
    """

    def __init__(
        self,
        *,
        counters: SideCounters,
        wheel: Wheel,
        own: OwnAddresses,
        tasks: Tasks,
        descriptors: Descriptors,
        resolver: Resolver | None = None,
        forbids: Forbids | None = None,
        tls: AppTls | None = None,
    ) -> None:
        self._resolver = resolver or Resolver(tasks)
        self._forbids = forbids
        self._tls = tls
        self._trusted: set[Endpoint] = set()
        self._counters = counters
        self._wheel = wheel
        self._own = own
        self._tasks = tasks
        self._descriptors = descriptors
        self._pools: dict[tuple[str, int, bool], ConnectionPool] = {}
        self.crowded: Callable[[], None] = lambda: None
        """Called when there are MAX_POOLS: it is to `sweep`."""
        self._full = MAX_POOLS

    def __call__(self, endpoint: Endpoint) -> ConnectionPool:
        return self._pool(endpoint, loopback=False)

    def local(self, endpoint: Endpoint) -> ConnectionPool:
        """The pool of an application on this machine that other machines know as `endpoint`."""
        return self._pool(endpoint, loopback=True)

    def trust(self, endpoint: Endpoint) -> None:
        """The installation has named this endpoint, and no route. To be said before its pool is first asked for."""
        self._trusted.add(endpoint)

    async def refresh(self) -> None:
        """Drain connections to names that have moved."""
        for pool in self:
            await pool.refresh()

    def _pool(self, endpoint: Endpoint, *, loopback: bool) -> ConnectionPool:
        name = (endpoint.host, endpoint.port, loopback)
        pool = self._pools.get(name)
        if pool is None:
            if len(self._pools) == self._full:
                self._wheel.soon(self._relieve)  # not now: a request is being decided
            pool = self._pools[name] = ConnectionPool(
                endpoint, counters=self._counters, wheel=self._wheel, own=self._own, tasks=self._tasks,
                descriptors=self._descriptors, resolver=self._resolver, loopback=loopback,
                forbids=None if loopback or endpoint in self._trusted else self._forbids, tls=self._tls,
            )  # fmt: skip
        return pool

    def _relieve(self) -> None:
        self.crowded()
        self._full = max(MAX_POOLS, 2 * len(self._pools))  # else a crowd in use would be counted with every new one

    def __iter__(self) -> Iterator[ConnectionPool]:
        return iter(list(self._pools.values()))

    def sweep(self, wanted: set[Endpoint]) -> None:
        """Close idle connections to endpoints that no route names any more; forget pools that are not in use.
        What is in flight finishes. wanted: endpoints to leave alone."""
        for name, pool in list(self._pools.items()):
            if pool.endpoint not in wanted:
                pool.close_idle()
                if pool.unused:
                    del self._pools[name]
