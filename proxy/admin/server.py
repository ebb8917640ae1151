"""The admin listener's life."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Sequence

from proxy.admin.application import Application
from proxy.admin.connection import AdminConnection
from proxy.admin.port import Shown
from proxy.base.crowd import Crowd
from proxy.base.listen import Listen, bind
from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint

BACKLOG = 128
MOST = 64
SHARE = 16
FEWEST = 4
"""Connections: one in SHARE of the descriptors, within these bounds. A probe, two scrapers and a person need four; the
rest of the descriptors is for requests."""


def most_connections(descriptors: int) -> int:
    """Of the admin listener, at a limit of so many descriptors."""
    return min(max(descriptors // SHARE, FEWEST), MOST)


class AdminServer:
    """Listens on `listen` (port 0: any free one) once started, or on `sockets` that are bound already."""

    def __init__(self, listen: Endpoint, shown: Shown, sockets: Sequence[socket.socket] = ()) -> None:
        self._listen = listen
        self._shown = shown
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._connections: set[AdminConnection] = set()

    def __repr__(self) -> str:
        return f"<AdminServer {self.address if self._servers else f'{self._listen} stopped'}>"

    @property
    def address(self) -> Endpoint:
        """Where it really listens."""
        assert self._servers, "not started"
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        return Endpoint(host, port)

    async def start(self) -> None:
        """Raises ConfigurationError when the address cannot be used."""
        crowd = Crowd(most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        application = Application(self._shown)
        crowd.server = lambda: AdminConnection(application, crowd, self._connections)
        loop = asyncio.get_running_loop()
        try:
            for bound in self._sockets or bind(Listen(self._listen.host, self._listen.port), BACKLOG):
                self._servers.append(await loop.create_server(crowd, sock=bound, backlog=BACKLOG))
        except OSError as error:
            await self.stop()
            # asyncio writes the address into strerror; a failed look-up has a negative errno of its own.
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            if error.errno == errno.EADDRINUSE:
                why = f"port {self._listen.port} is in use by another process"
            raise ConfigurationError([f"admin listener {self._listen}: {why}"]) from None

    async def stop(self) -> None:
        """Idempotent."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._connections):
            connection.close()
