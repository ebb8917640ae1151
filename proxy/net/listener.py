"""A listening socket and the connections that it accepted; how they end."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

from proxy.errors import ConfigurationError
from proxy.exchange.side import Side
from proxy.net.downstream import Downstream

BACKLOG = 4096
"""Connections that the kernel keeps for us; capped by net.core.somaxconn."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for one address, IPv4 and IPv6 separately. Raises ConfigurationError in one line."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationError([f"cannot listen on {host}:{port}: {error.strerror}"]) from None
    sockets: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(found):
        listening = socket.socket(family, socket.SOCK_STREAM)
        sockets.append(listening)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError as error:
            for opened in sockets:
                opened.close()
            reason = "the address is in use" if error.errno == 98 else str(error.strerror).lower()
            raise ConfigurationError([f"cannot listen on {host}:{port}: {reason}"]) from None
        listening.setblocking(False)
    return sockets


@dataclass(slots=True)
class Listener:
    """The accepting end of one side."""

    side: Side
    sockets: list[socket.socket]
    connections: set[Downstream] = field(default_factory=set)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _empty: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self.sockets:
            server = await loop.create_server(self._accept, sock=listening, backlog=BACKLOG)
            self._servers.append(server)

    def _accept(self) -> Downstream:
        return Downstream(self.side, self.connections, self._closed)

    def _closed(self) -> None:
        if not self.connections:
            self._empty.set()

    def stop_accepting(self) -> None:
        """From now on new connections are refused, and every answer announces the end of its connection."""
        self.side.draining = True
        for server in self._servers:
            server.close()
        self.drain(last_call=False)

    def drain(self, *, last_call: bool) -> None:
        for connection in list(self.connections):
            if connection.exchange is not None:
                connection.exchange.drain(last_call=last_call)

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
