"""The connections of the registry: bounded in number, and nobody holds one for nothing.

A client has HEAD_SECONDS for the head of a request, from the first moment of its connection, before any token is
looked at. When there are as many connections as there is room for, the one that has been idle for longest gives way
to the new one; one whose request is being answered, a watch for example, never does.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Iterable
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.base.tasks import Tasks

HEAD_SECONDS = 10.0
"""For the head of a request; our own programs send it in one piece."""

SWEEP_SECONDS = 1.0

MAX_CONNECTIONS = 20_000
"""As many as there may be sidecars."""

RESERVE = 64
"""Descriptors that connections never use: the store, logs and pipes of shadows that start, our own dials."""


def raise_limit() -> None:
    """As many descriptors as we may have: one watch takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def room() -> int:
    """How many connections there may be: what the descriptors allow, a quarter of few and RESERVE of many kept back."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, limit - max(RESERVE, limit // 4)))


class Connections:
    """Those of one registry. Calling it makes the protocol of a new one, for `loop.create_server`.

    limit: how many there may be.
    cut:   how many were ended because their head did not come, or to make room, since start.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.cut = 0
        self._make: Callable[[], asyncio.Protocol] | None = None
        self._by_handler: dict[object, Connection] = {}
        self._idle: dict[Connection, float] = {}
        """No request of these is being answered; since when, the longest first."""

    def __repr__(self) -> str:
        return f"<Connections {len(self._by_handler)} of {self.limit}, {len(self._idle)} idle>"

    def __len__(self) -> int:
        return len(self._by_handler)

    def serve_with(self, make: Callable[[], asyncio.Protocol]) -> None:
        """make: aiohttp's own protocol for one connection."""
        self._make = make

    def __call__(self) -> Connection:
        assert self._make is not None
        return Connection(self, self._make())

    def middleware(self) -> Middleware:
        @web.middleware
        async def busy(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = self._by_handler.get(request.protocol)
            if connection is None:
                return await handler(request)
            self._idle.pop(connection, None)
            connection.head_since = None
            try:
                return await handler(request)
            finally:
                if connection.open:
                    self._idle[connection] = asyncio.get_running_loop().time()

        return busy

    def made(self, connection: Connection) -> bool:
        """False: there is no room for it."""
        if len(self._by_handler) >= self.limit:
            oldest = next(iter(self._idle), None)
            self.cut += 1
            if oldest is None:
                return False
            oldest.end()
        now = asyncio.get_running_loop().time()
        connection.head_since = now
        self._by_handler[connection.handler] = connection
        self._idle[connection] = now
        return True

    def lost(self, connection: Connection) -> None:
        self._by_handler.pop(connection.handler, None)
        self._idle.pop(connection, None)

    def began(self, connection: Connection) -> None:
        """Bytes of an idle connection: a head has begun."""
        if connection in self._idle and connection.head_since is None:
            connection.head_since = asyncio.get_running_loop().time()

    async def sweep(self) -> None:
        """End those whose head does not come. Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            before = loop.time() - HEAD_SECONDS
            for connection in [one for one in self._idle if one.head_since is not None and one.head_since < before]:
                self.cut += 1
                connection.end()


class Connection(asyncio.Protocol):
    """One connection, in front of aiohttp's protocol for it.

    head_since: since when the head of a request is waited for; None while one is answered, and between two.
    """

    def __init__(self, all_of_them: Connections, handler: asyncio.Protocol) -> None:
        self.handler = handler
        self.head_since: float | None = None
        self.open = False
        self._all = all_of_them
        self._transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        return f"<Connection {'open' if self.open else 'closed'} head since {self.head_since}>"

    def end(self) -> None:
        """At once; it counts no more."""
        self.open = False
        self._all.lost(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.open = True
        self.handler.connection_made(transport)
        if not self._all.made(self):
            self.end()

    def data_received(self, data: bytes) -> None:
        self._all.began(self)
        self.handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self.handler.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._all.lost(self)
        self.handler.connection_lost(error)

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()


async def listen(
    connections: Connections, server: web.AppRunner, sockets: Iterable[socket.socket], backlog: int, tasks: Tasks
) -> list[asyncio.Server]:
    """Serve on sockets that are bound. The runner is set up; the servers are to be closed before it is cleaned up."""
    assert server.server is not None
    connections.serve_with(cast(Callable[[], asyncio.Protocol], server.server))
    loop = asyncio.get_running_loop()
    tasks.keep(connections.sweep, "connections")
    return [await loop.create_server(connections, sock=bound, backlog=backlog) for bound in sockets]
