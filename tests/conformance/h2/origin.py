"""A server of HTTP/2 that keeps what it was asked, by connection and stream.

It is read and spoken by `h2`, an engine by other hands, which refuses whatever a client may not say: that is kept too.
A request is answered when its end is there and the caller's last one (`LATER`) has arrived, so that what a proxy has to
say about a stream comes before its answer. In an `answer` case the case's own bytes answer the first request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError

NEIGHBOUR_PATH = b"/neighbour"
LATER_PATH = b"/later"
CONTENT = b"fine"
"""Every answer is a 200 with it."""


@dataclass(eq=False)
class Request:
    """What came on one stream.

    ended: with END_STREAM
    reset: the code of its RST_STREAM, None before
    """

    connection: Connection
    stream: int
    fields: list[tuple[bytes, bytes]]
    data: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    answered: bool = False

    @property
    def path(self) -> bytes:
        return dict(self.fields).get(b":path", b"")

    @property
    def authority(self) -> bytes:
        fields = dict(self.fields)
        return fields.get(b":authority", fields.get(b"host", b""))

    @property
    def over(self) -> bool:
        """Nothing more will come of it."""
        return self.ended or self.reset is not None or self.connection.ended

    def __str__(self) -> str:
        state = f"reset with {self.reset}" if self.reset is not None else "whole" if self.ended else "open"
        return f"{self.path.decode('latin-1')} ({len(self.data)} bytes, {state})"


class Connection(asyncio.Protocol):
    """One connection of the proxy.

    ended:     the proxy closed it
    malformed: why the engine gave it up
    """

    def __init__(self, origin: Origin) -> None:
        self.ended = False
        self.malformed = ""
        self._closed = False
        self.requests: dict[int, Request] = {}
        self._origin = origin
        self._engine = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._origin.open.add(self)
        self._origin.connections.append(self)
        self._engine.initiate_connection()
        self.flush()
        if self._origin.closing:
            self.close()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if not self.malformed:
            try:
                for event in self._engine.receive_data(data):
                    self._take(event)
            except ProtocolError as error:
                self.malformed = f"{type(error).__name__}: {error}"
                self.flush()
                self._transport.close()
            self._origin.answer()
        self._origin.changed()

    def eof_received(self) -> bool:
        self.ended = True
        self._origin.changed()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._origin.open.discard(self)
        self._origin.changed()

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            self.requests[event.stream_id] = request = Request(self, event.stream_id, fields)
            self._origin.requests.append(request)
        elif isinstance(event, events.TrailersReceived):
            trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            self.requests[event.stream_id].trailers = trailers
        elif isinstance(event, events.DataReceived):
            self.requests[event.stream_id].data += event.data
            if event.flow_controlled_length:
                self._engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            self.requests[event.stream_id].ended = True
        elif isinstance(event, events.StreamReset):
            self.requests[event.stream_id].reset = int(event.error_code)

    def answer(self, request: Request) -> None:
        request.answered = True
        with contextlib.suppress(ProtocolError):  # the engine has given the connection up
            self._engine.send_headers(request.stream, [(b":status", b"200")])
            self._engine.send_data(request.stream, CONTENT, end_stream=True)
        self.flush()

    def say(self, data: bytes) -> None:
        """Bytes past the engine."""
        self.flush()
        assert self._transport is not None
        self._transport.write(data)

    def flush(self) -> None:
        assert self._transport is not None
        data = self._engine.data_to_send()
        if data and not self._closed and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """End our side; the proxy has to notice and end its own."""
        assert self._transport is not None
        self._closed = True
        with contextlib.suppress(OSError):  # reset by the proxy, and the loop has not said so yet
            self._transport.write_eof()


class Origin:
    """One listening socket, and what came through it since `reset`.

    script:   what answers the first request instead of an answer of good manners, None: nothing does
    requests: in the order in which they began
    open:     connections that have not ended
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.closing = False
        self.script: bytes | None = None
        self.connections: list[Connection] = []
        self.requests: list[Request] = []
        self.open: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=sock)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.close()

    def reset(self, script: bytes | None) -> None:
        """Forget the last case; its connections must be gone."""
        self.script, self.closing = script, False
        self.connections, self.requests = [], []

    def close(self) -> None:
        """End every connection, and those that still come."""
        self.closing = True
        for connection in list(self.open):
            connection.close()

    def find(self, path: bytes) -> Request | None:
        """The first request for `path`."""
        return next((request for request in self.requests if request.path == path), None)

    @property
    def asked(self) -> list[Request]:
        """What the case itself asked."""
        return [request for request in self.requests if request.path not in (NEIGHBOUR_PATH, LATER_PATH)]

    def answer(self) -> None:
        """Answer what may be answered now."""
        first = self.requests[0] if self.requests else None
        if first and self.script is not None and first.ended and not first.answered:
            first.answered = True
            first.connection.say(self.script)
        later = self.find(LATER_PATH)
        if later is None:
            return
        for request in self.requests:
            if request.ended and not request.answered and request.reset is None:
                request.connection.answer(request)
