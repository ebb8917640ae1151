"""A gRPC application: answers every call with its own messages, each as it comes, and says who it is.

    python -m benchmarks.http2.echo PORT ROLE

The first request of every connection is decoded and judged, later ones are counted: a server's work is not what is
measured, and its core is the load's. What comes back is as much as what came, and the loads have some kilobytes under
way at most, far less than the smallest window: none is waited for. `GET` in HTTP/1.1 asks for the count.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

import uvloop

from benchmarks.http2 import frames
from benchmarks.http2.answers import ROLE, SpoiledError, decode
from benchmarks.http2.frames import HEAD


def _plain(fields: dict[str, str]) -> bytes:
    """A header block without any table."""
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


_TRAILERS = _plain({"grpc-status": "0", "grpc-message": ""})
_ENDED = (HEAD.pack(len(_TRAILERS) << 8 | frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 0)[:5], _TRAILERS)


class Application:
    """One server. requests: that came so far."""

    def __init__(self, role: str) -> None:
        self.requests = 0
        block = b"\x88" + _plain({"content-type": "application/grpc", ROLE: role})
        self.head = (HEAD.pack(len(block) << 8 | frames.HEADERS, frames.END_HEADERS, 0)[:5], block)


class Serving(asyncio.Protocol):
    """One connection."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._held = b""
        self._begun = self._seen = False
        self._taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        if not self._begun:
            if data.startswith(b"GET "):
                self._tell(data)
                return
            if len(data) < len(frames.PREFACE):
                self._held = data
                return
            if not data.startswith(frames.PREFACE):
                self._transport.abort()
                return
            self._begun = True
            self._transport.write(frames.opening(client=False))
            data = data[len(frames.PREFACE) :]
        self._take(data)

    def _tell(self, data: bytes) -> None:
        self._held = data
        if b"\r\n\r\n" in data:
            count = b"%d" % self._application.requests
            head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(count)
            self._transport.write(head + count)
            self._transport.close()

    def _take(self, data: bytes) -> None:
        out: list[bytes] = []
        at, end = 0, len(data)
        unpack = HEAD.unpack_from
        first, block = self._application.head
        last, trailers = _ENDED
        while end - at >= 9:
            size, flags, _ = unpack(data, at)
            after = at + 9 + (size >> 8)
            if after > end:
                break
            kind = size & 0xFF
            name = data[at + 5 : at + 9]
            if kind == frames.DATA:
                if flags & frames.PADDED:  # which nobody does
                    self._transport.abort()
                    return
                if size >> 8:
                    out += (data[at : at + 4], b"\0", data[at + 5 : after])
                if flags & frames.END_STREAM:
                    out += (last, name, trailers)
            elif kind == frames.HEADERS:
                self._application.requests += 1
                if not self._seen:
                    self._judge(flags, data[at + 9 : after])
                out += (first, name, block)
                if flags & frames.END_STREAM:
                    out += (last, name, trailers)
            elif kind == frames.SETTINGS and not flags & frames.ACK:
                out.append(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
            elif kind == frames.PING and not flags & frames.ACK:
                out.append(frames.frame(frames.PING, frames.ACK, 0, data[at + 9 : after]))
            at = after
        self._held = data[at:]
        self._taken += at
        if self._taken > frames.WINDOW_STEP:
            out.append(frames.window_update(0, self._taken))
            self._taken = 0
        if out:
            self._transport.write(b"".join(out))

    def _judge(self, flags: int, payload: bytes) -> None:
        """A request that is none ends the connection."""
        self._seen = True
        try:
            fields = decode(frames.without_padding(flags, payload))
        except SpoiledError:
            fields = {}
        wanted = {":method": "POST", ":scheme": "http", "content-type": "application/grpc", "te": "trailers"}
        if any(fields.get(name) != value for name, value in wanted.items()) or not fields.get("traceparent"):
            print(f"not a gRPC request: {fields}", flush=True)
            self._transport.abort()


async def serve(port: int, role: str) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    application = Application(role)
    await loop.create_server(lambda: Serving(application), "127.0.0.1", port, backlog=4096)
    await stopped.wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
