"""The gRPC service of the application, behind the same port as the rest of it: who speaks HTTP/2 gets here.

Unary     bytes               the digest of them
Download  "COUNT SIZE"        so many messages
Upload    messages            the digest of them all
Echo      messages            each of them
Wait      an id               nothing, until it is cancelled
Left      an id               what became of that: waits, cancelled, unknown
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import grpc
import grpc.aio

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
KEPT = 1000
"""Ids of calls that waited."""


def piece(number: int, size: int) -> bytes:
    """The message of that number."""
    return (b"%d." % number * (size // 2 + 1))[:size]


class Service(grpc.GenericRpcHandler):
    """Every answer says who gave it, in its initial metadata."""

    def __init__(self, name: str) -> None:
        self._signed = (("x-name", name),)
        self._waited: OrderedDict[bytes, bytes] = OrderedDict()

    def service(self, call: Any) -> Any:
        unary = grpc.unary_unary_rpc_method_handler
        return {
            "Unary": unary(self._unary),
            "Download": grpc.unary_stream_rpc_method_handler(self._download),
            "Upload": grpc.stream_unary_rpc_method_handler(self._upload),
            "Echo": grpc.stream_stream_rpc_method_handler(self._echo),
            "Wait": grpc.unary_stream_rpc_method_handler(self._wait),
            "Left": unary(self._left),
        }.get(call.method.rpartition("/")[2])

    async def _unary(self, request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata(self._signed)
        return hashlib.sha256(request).digest()

    async def _download(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        await context.send_initial_metadata(self._signed)
        count, size = map(int, request.split())
        for number in range(count):
            yield piece(number, size)

    async def _upload(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        await context.send_initial_metadata(self._signed)
        digest = hashlib.sha256()
        async for request in requests:
            digest.update(request)
        return digest.digest()

    async def _echo(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await context.send_initial_metadata(self._signed)
        async for request in requests:
            yield request

    async def _wait(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self._waited[request] = b"waits"
        if len(self._waited) > KEPT:
            self._waited.popitem(last=False)
        try:
            await context.send_initial_metadata(self._signed)
            await asyncio.Event().wait()
        finally:
            self._waited[request] = b"cancelled"
        yield b""

    async def _left(self, request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata(self._signed)
        return self._waited.get(request, b"unknown")


class Choosing(asyncio.Protocol):
    """A connection of which the first bytes say who serves it: `web` makes the protocol of HTTP/1.1, and what speaks
    HTTP/2 is carried to a port of our own."""

    def __init__(self, web: Callable[[], asyncio.Protocol], port: int) -> None:
        self._web = web
        self._port = port
        self._held = b""
        self._carrying: asyncio.Task[None] | None = None
        self._reader: asyncio.StreamReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if self._held.startswith(PREFACE):
            self._become(asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._carry))
        elif not PREFACE.startswith(self._held[: len(PREFACE)]):
            self._become(self._web())

    def _become(self, protocol: asyncio.Protocol) -> None:
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._held)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(_pass_on(reader, their_writer), _pass_on(their_reader, writer), return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either end is gone; then the other is, too."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def serve(name: str) -> int:
    """The port of loopback on which it serves, for as long as the loop runs."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Service(name),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _SERVERS.append(server)
    return port


_SERVERS: list[grpc.aio.Server] = []
"""One that nobody holds is stopped."""
