"""gRPC as far as the shop needs it: unary calls, on the HTTP/2 engine `h2`. Messages are JSON, which gRPC leaves to
both ends; everything else is as gRPC's "protocol over HTTP/2" has it: its own clients and servers can be met.

An error keeps the words of the service that refused: they are the status message, its `grpc-status` says the kind.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

Metadata = Mapping[str, str]
Method = Callable[[Any, Metadata], Awaitable[Any]]
"""From a document and the caller's metadata to the answer. Raises RpcError."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
_CONTENT_TYPE = "application/grpc+json"
_PIECE = 1 << 14
_UNKNOWN, _UNIMPLEMENTED, _UNAVAILABLE = 2, 12, 14


class RpcError(Exception):
    """A call that was refused, or that nobody answered: a `grpc-status` other than 0, and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def _framed(document: object) -> bytes:
    data = json.dumps(document).encode()
    return b"\0" + struct.pack(">I", len(data)) + data


def _document(framed: bytes) -> Any:
    """What one message says, which is not compressed. Raises ValueError."""
    if len(framed) < 5 or framed[0] or struct.unpack(">I", framed[1:5])[0] != len(framed) - 5:
        raise ValueError("not one message")
    return json.loads(framed[5:])


def _fields(headers: object) -> dict[str, str]:
    return dict(cast("Sequence[tuple[str, str]]", headers))


@dataclass(slots=True)
class _Stream:
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def call(url: str, method: str, document: object, metadata: Metadata, seconds: float) -> Any:
    """What `method` (`package.Service/Method`) answers at `url`, on a connection of its own. Raises RpcError,
    OSError when nobody is there, and TimeoutError after `seconds`."""
    where = urlsplit(url)
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
        try:
            answer = await _ask(reader, writer, method, document, metadata, where.netloc, seconds)
        finally:
            writer.close()
    status = answer.fields.get("grpc-status", str(_UNKNOWN))
    if status != "0":
        raise RpcError(int(status), unquote(answer.fields.get("grpc-message", "")))
    return _document(answer.body)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, document: object, metadata: Metadata,
    authority: str, seconds: float,
) -> _Stream:  # fmt: skip
    engine = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    engine.initiate_connection()
    engine.send_headers(1, [
        (":method", "POST"), (":scheme", "http"), (":path", f"/{method}"), (":authority", authority),
        ("content-type", _CONTENT_TYPE), ("te", "trailers"), ("grpc-timeout", f"{seconds * 1000:.0f}m"),
        *metadata.items(),
    ])  # fmt: skip
    engine.send_data(1, _framed(document), end_stream=True)
    answer = _Stream()
    while True:
        writer.write(engine.data_to_send())
        data = await reader.read(1 << 16)
        if not data:
            raise RpcError(_UNAVAILABLE, "the connection ended within the call")
        for event in engine.receive_data(data):
            if isinstance(event, ResponseReceived | TrailersReceived):
                answer.fields.update(_fields(event.headers))
            elif isinstance(event, DataReceived):
                answer.body += event.data
                engine.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, StreamEnded):
                return answer
            elif isinstance(event, StreamReset | ConnectionTerminated):
                raise RpcError(_UNAVAILABLE, f"the call was reset with code {event.error_code}")


class Answering:
    """One connection of a server.

    methods: by name, as `call` has it.
    """

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods
        self._engine = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._streams: dict[int, _Stream] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either end is gone."""
        self._engine.initiate_connection()
        async with asyncio.TaskGroup() as tasks:
            with suppress(
                ProtocolError, OSError, asyncio.CancelledError
            ):  # what comes is no HTTP/2, or the end has come
                writer.write(self._engine.data_to_send())
                while data := await reader.read(1 << 16):
                    for event in self._engine.receive_data(data):
                        self._take(event, tasks, writer)
                    writer.write(self._engine.data_to_send())
            for task in self._answering.values():
                task.cancel()  # nobody is left to be told
        writer.write(self._engine.data_to_send())
        writer.close()

    def _take(self, event: Event, tasks: asyncio.TaskGroup, writer: asyncio.StreamWriter) -> None:
        if isinstance(event, RequestReceived):
            self._streams[event.stream_id] = _Stream(_fields(event.headers))
        elif isinstance(event, DataReceived):
            self._streams[event.stream_id].body += event.data
            self._engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            stream = event.stream_id
            self._answering[stream] = tasks.create_task(self._answer(stream, self._streams.pop(stream), writer))
        elif isinstance(event, StreamReset):
            self._streams.pop(event.stream_id, None)
            if (task := self._answering.pop(event.stream_id, None)) is not None:
                task.cancel()

    async def _answer(self, stream: int, asked: _Stream, writer: asyncio.StreamWriter) -> None:
        name = asked.fields.get(":path", "").removeprefix("/")
        status, message, framed = 0, "", b""
        try:
            method = self._methods.get(name)
            if method is None:
                raise RpcError(_UNIMPLEMENTED, f"there is no {name} here")
            framed = _framed(await method(_document(asked.body), asked.fields))
        except RpcError as error:
            status, message = error.status, error.message
        except ValueError as error:
            status, message = _UNKNOWN, f"the message is not JSON: {error}"
        print(f"gRPC {name} {status}", flush=True)
        self._answering.pop(stream, None)
        head = [(":status", "200"), ("content-type", _CONTENT_TYPE)]
        ending = [("grpc-status", str(status)), *([("grpc-message", quote(message, safe=" "))] if message else [])]
        if framed:
            self._engine.send_headers(stream, head)
            for start in range(0, len(framed), _PIECE):
                self._engine.send_data(stream, framed[start : start + _PIECE])
            self._engine.send_headers(stream, ending, end_stream=True)
        else:
            self._engine.send_headers(stream, [*head, *ending], end_stream=True)
        writer.write(self._engine.data_to_send())


class Choosing(asyncio.Protocol):
    """A connection of which the first bytes say who serves it: gRPC, or what `web` makes a protocol for."""

    def __init__(self, web: Callable[[], asyncio.Protocol], methods: Mapping[str, Method]) -> None:
        self._web = web
        self._methods = methods
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if self._held.startswith(PREFACE):
            self._become(asyncio.StreamReaderProtocol(asyncio.StreamReader(), Answering(self._methods).serve))
        elif not PREFACE.startswith(self._held[: len(PREFACE)]):
            self._become(self._web())

    def _become(self, protocol: asyncio.Protocol) -> None:
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._held)
