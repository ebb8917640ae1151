"""Connections that were redirected to us: each is received by the side of the destination that it really dialled.

    redirected ──▶ Redirected: where did you want to go? ──▶ Downstream of that destination's side

Sides, and what is learned about how their connections begin, are made per destination when it is first met, and
forgotten when there are many and they are idle: a stranger who dials every port of ours fills no memory.

No path may loop. A connection that was not redirected is refused, and so is one that we have made ourselves: then the
redirection does not spare the sidecar's user, and every call of ours would come back to us.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint
from proxy.errors import LOOP
from proxy.exchange.side import Side
from proxy.net.addresses import Ends, OwnConnections
from proxy.net.downstream import Downstream
from proxy.net.listener import bind
from proxy.net.original_destination import original_destination
from proxy.net.reset import reset
from proxy.net.silence import Opening
from proxy.telemetry.counters import SideCounters

MAX_DESTINATIONS = 1024
"""Of one direction, kept while they have no connection: more than an application calls, 5 KB each."""

NOT_REDIRECTED = "not-redirected"


Received = tuple[Side, Opening]
"""The side that serves the connections to a destination, and how they begin."""


class Destinations:
    """The sides of one direction by original destination.

    make:   builds what is met for the first time.
    forgot: told of what is forgotten.
    """

    def __init__(
        self,
        make: Callable[[Endpoint], Received],
        forgot: Callable[[Side], None] = lambda _: None,
        limit: int = MAX_DESTINATIONS,
    ) -> None:
        self._make = make
        self._forgot = forgot
        self._known: dict[Endpoint, Received] = {}
        self._limit = limit
        self._full = limit
        self._draining = False

    def __repr__(self) -> str:
        return f"<Destinations {len(self._known)}>"

    def __iter__(self) -> Iterator[Side]:
        return iter([side for side, _ in self._known.values()])

    def endpoints(self) -> set[Endpoint]:
        return set(self._known)

    def drain(self) -> None:
        self._draining = True
        for side in self:
            side.drain()

    def find(self, destination: Endpoint, in_use: Callable[[], set[Side]]) -> Received:
        """The side for connections to `destination`. in_use: asked for the sides that must not be forgotten."""
        found = self._known.get(destination)
        if found is None:
            if len(self._known) >= self._full:
                self._forget(in_use())
            found = self._known[destination] = self._make(destination)
            found[0].draining = self._draining
        return found

    def _forget(self, used: set[Side]) -> None:
        for side, _ in self._known.values():
            if side not in used:
                self._forgot(side)
        self._known = {name: received for name, received in self._known.items() if received[0] in used}
        self._full = max(self._limit, 2 * len(self._known))  # else a crowd in use would be counted on every arrival


class Redirection:
    """An `Entrance` that looks behind a redirection. own: which connections are our own."""

    def __init__(self, destinations: Destinations, counters: SideCounters, own: OwnConnections) -> None:
        self.counters = counters
        self.own = own
        self._destinations = destinations

    def __repr__(self) -> str:
        return f"<Redirection {self._destinations!r}>"

    def accept(self, connections: set[Downstream], closed: Callable[[], None]) -> asyncio.Protocol:
        return Redirected(self, connections, closed)

    def drain(self) -> None:
        self._destinations.drain()

    def receive(
        self, destination: Endpoint, ends: Ends, connections: set[Downstream], closed: Callable[[], None]
    ) -> Downstream:
        """The protocol of a connection that wanted to go to `destination`."""
        side, opening = self._destinations.find(destination, lambda: {connection.side for connection in connections})
        return Downstream(side, connections, partial(self._left, ends, closed), opening)

    def _left(self, ends: Ends, closed: Callable[[], None]) -> None:
        self.own.left(ends)
        closed()


class Redirected(asyncio.Protocol):
    """A connection until it is known where it wanted to go, which is when it begins."""

    def __init__(self, redirection: Redirection, connections: set[Downstream], closed: Callable[[], None]) -> None:
        self._redirection = redirection
        self._connections = connections
        self._closed = closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        redirection = self._redirection
        transport = cast(asyncio.Transport, transport)
        destination = original_destination(transport.get_extra_info("socket"))
        if destination is None:
            redirection.counters.failures[NOT_REDIRECTED] += 1
            reset(transport)
            return
        peer = transport.get_extra_info("peername")
        ends = (peer[0], peer[1], destination.host, destination.port)
        if not redirection.own.arrived(ends):
            redirection.own.left(ends)
            redirection.counters.failures[LOOP.code] += 1
            reset(transport)
            return
        downstream = redirection.receive(destination, ends, self._connections, self._closed)
        transport.set_protocol(downstream)
        downstream.connection_made(transport)


ANYWHERE = ("0.0.0.0", "::")
LOOPBACK = ("127.0.0.1", "::1")
"""For IPv4 and IPv6. A redirected connection arrives at an address of the interface that it came in by, and on loopback
when it was made here."""


def bind_redirected(hosts: tuple[str, str], port: int) -> list[socket.socket]:
    """Listening sockets for both families, or for IPv4 where there is no IPv6. Raises ConfigurationError."""
    host4, host6 = hosts
    sockets = bind(host4, port)
    try:
        probe = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError:
        return sockets
    with probe:
        try:
            probe.bind((host6, 0))
        except OSError:
            return sockets  # switched off
    try:
        return [*sockets, *bind(host6, port)]
    except ConfigurationError:
        for opened in sockets:
            opened.close()
        raise
