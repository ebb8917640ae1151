"""An origin that keeps every byte it was sent, per connection, and answers by script.

It answers a request when the reference reader has seen the end of it, so a proxy that frames a message otherwise
than it should gets too many answers or too few. What the reader cannot read is kept, noted and answered 400.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from tests.conformance.messages import Malformed, Message, read_requests

PROBE_TARGET = b"/probe"
PROBE = b"GET " + PROBE_TARGET + b" HTTP/1.1\r\nHost: probe\r\n\r\n"
PROBE_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nprobe"
_UNREADABLE = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def answer(number: int, method: bytes) -> bytes:
    """The answer to the `number`th request of a case that has no script for it."""
    body = b"answer %d" % number
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if method == b"HEAD" else head + body


@dataclass
class Script:
    """What the origin does for one case.

    held:   the case itself answers the first request: `Origin.asked` tells when it is there
    opaque: the connection is not HTTP: bytes are kept and that is all
    """

    held: bool = False
    opaque: bool = False


@dataclass(eq=False)
class Connection(asyncio.Protocol):
    """One upstream connection.

    malformed: why the reference reader gave up on it
    ended:     the proxy closed its side; `reset` when it did so with an RST
    closed:    we closed ours
    waiting:   for the case to say its own answer
    """

    origin: Origin
    received: bytearray = field(default_factory=bytearray)
    malformed: str = ""
    ended: bool = False
    reset: bool = False
    closed: bool = False
    waiting: bool = False
    transport: asyncio.Transport | None = None
    _read: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.origin.connections.append(self)
        self.origin.open.add(self)
        if self.origin.closing:
            self.close()
        self.origin.changed()

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.origin.script.opaque and not self.malformed:
            self._answer()
        self.origin.changed()

    def eof_received(self) -> bool:
        self.ended = True
        self.origin.changed()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.reset = exc is not None
        self.origin.open.discard(self)
        self.origin.changed()

    def _answer(self) -> None:
        assert self.transport is not None
        if self.waiting or self.closed:
            return
        try:
            messages = read_requests(bytes(self.received[self._read :])).complete
        except Malformed as error:
            self.malformed = str(error)
            self.transport.write(_UNREADABLE)
            self.close()
            return
        for message in messages:
            self._read += message.size
            said = self.origin.take(self, message)
            if not said:
                return
            self.transport.write(said)

    def close(self) -> None:
        """End our side; the proxy has to notice and end its own."""
        if self.transport is not None and not self.closed:
            self.closed = True
            if self.ended:
                self.transport.close()
            else:
                with contextlib.suppress(OSError):  # reset by the proxy, and the loop has not said so yet
                    self.transport.write_eof()

    def go_on(self) -> None:
        """The case has said its own answer: requests behind it are answered as usual."""
        self.waiting = False
        if not self.malformed and not self.origin.script.opaque:
            self._answer()


class Origin:
    """One listening socket and what came through it since `reset`.

    arrived: complete requests of the case in order, probes left out
    asked:   the connection whose request the case itself wants to answer
    probes:  how many probes came, and on which connections
    open:    connections that have not ended, of whatever case
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.script = Script()
        self.connections: list[Connection] = []
        self.arrived: list[tuple[Connection, Message]] = []
        self.probes: list[Connection] = []
        self.asked: Connection | None = None
        self.closing = False
        self.open: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=sock)

    def stop(self) -> None:
        """Stop listening and drop what is still open."""
        if self._server is not None:
            self._server.close()
        for connection in self.open:
            if connection.transport is not None:
                connection.transport.abort()

    def reset(self, script: Script) -> None:
        """Forget the last case; its connections must be gone."""
        self.script = script
        self.closing = False
        self.connections, self.arrived, self.probes, self.asked = [], [], [], None

    def take(self, connection: Connection, message: Message) -> bytes:
        """Note a request; the bytes that answer it now, if any."""
        if message.start[1] == PROBE_TARGET:
            self.probes.append(connection)
            return PROBE_ANSWER
        self.arrived.append((connection, message))
        if self.script.held and self.asked is None:
            self.asked = connection
            connection.waiting = True
            return b""
        return answer(len(self.arrived), message.method)

    def close(self) -> None:
        """End our side of every connection, and of those that still come: a request may be under way."""
        self.closing = True
        for connection in self.connections:
            connection.close()
