"""Listening sockets and the connections that they accepted; how they end.

The event loop listens on copies of the sockets. While descriptors are short (`proxy.net.descriptors`) there are none,
and the kernel queues new connections on the sockets themselves.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from proxy.base.listen import Listen
from proxy.base.listen import bind as listen_on
from proxy.base.problems import ConfigurationError
from proxy.exchange.side import Side
from proxy.net.descriptors import Descriptors
from proxy.net.downstream import Downstream
from proxy.net.silence import Opening
from proxy.net.tls import HANDSHAKE_SECONDS, Certificate
from proxy.net.tuning import keep_alive

BACKLOG = 4096
"""Connections that the kernel keeps for us; capped by net.core.somaxconn."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for one address, IPv4 and IPv6 separately. Raises ConfigurationError in one line."""
    listen = Listen(host, port)
    try:
        return listen_on(listen, BACKLOG, keep_alive)
    except OSError as error:
        busy = error.errno == errno.EADDRINUSE
        reason = f"port {port} is in use by another process" if busy else str(error.strerror).lower()
        raise ConfigurationError([f"cannot listen on {listen}: {reason}"]) from None


class Entrance(Protocol):
    """What becomes of the connections that a listener accepts."""

    def accept(self, connections: set[Downstream], closed: Callable[[], None]) -> asyncio.Protocol:
        """For a new connection, which enters itself into `connections` and calls `closed` when it has left them."""
        ...

    def drain(self) -> None:
        """From now on every answer announces the end of its connection."""
        ...


@dataclass(frozen=True, slots=True)
class FixedEntrance:
    """All connections are those of one side."""

    side: Side
    opening: Opening = field(default_factory=Opening)

    def accept(self, connections: set[Downstream], closed: Callable[[], None]) -> asyncio.Protocol:
        return Downstream(self.side, connections, closed, self.opening)

    def drain(self) -> None:
        self.side.drain()


@dataclass(slots=True)
class Listener:
    """The accepting end of one address."""

    entrance: Entrance
    sockets: list[socket.socket]
    descriptors: Descriptors
    certificate: Certificate | None = None
    connections: set[Downstream] = field(default_factory=set)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _empty: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        self.descriptors.listeners.append(self)
        await self.resume()

    @property
    def listens(self) -> int:
        """How many descriptors that takes while it is not paused."""
        return len(self.sockets)

    async def resume(self) -> None:
        """Accept. Raises OSError when there is no descriptor for it."""
        for listening in self.sockets[len(self._servers) :]:
            copy = listening.dup()
            try:
                server = await self._serve(copy)
            except OSError:
                copy.close()
                raise
            self._servers.append(server)

    async def _serve(self, listening: socket.socket) -> asyncio.Server:
        loop, certificate = asyncio.get_running_loop(), self.certificate
        if certificate is None:
            return await loop.create_server(self._accept, sock=listening, backlog=BACKLOG)
        return await loop.create_server(
            self._accept, sock=listening, backlog=BACKLOG, ssl=certificate.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )  # fmt: skip

    def pause(self) -> None:
        """Leave new connections to the kernel's queue."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _accept(self) -> asyncio.Protocol:
        self.descriptors.accepted(self.sockets[0])
        if self.certificate is not None:
            self.certificate.refresh()
        return self.entrance.accept(self.connections, self._closed)

    def _closed(self) -> None:
        if not self.connections:
            self._empty.set()

    def stop_accepting(self) -> None:
        """From now on new connections are refused, and every answer announces the end of its connection."""
        self.entrance.drain()
        self.pause()
        for listening in self.sockets:
            listening.close()
        self.sockets.clear()
        self.drain(last_call=False)

    def drain(self, *, last_call: bool) -> None:
        for connection in list(self.connections):
            connection.drain(last_call=last_call)

    async def emptied(self) -> None:
        """Return when the last connection has ended."""
        while self.connections:
            self._empty.clear()
            await self._empty.wait()

    def abort(self) -> int:
        """Cut what is left. Returns how many connections that were."""
        left = list(self.connections)
        for connection in left:
            connection.abort()
        return len(left)
