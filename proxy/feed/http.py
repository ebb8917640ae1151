"""HTTP/1.1 as the link to the registry speaks it: a request with a small body, and an answer that may never end.

The data path's own parsers read the answers. aiohttp could do all of it, and did: it costs a sidecar 13 MB and its
start 150 ms of CPU, and each of a hundred shadows on one machine has a sidecar.

A connection is used again when its answer was read to its end. One that was idle and turns out to be closed is replaced
once by a new one: what the link asks may be asked twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from proxy.errors import BAD_RESPONSE, Refused
from proxy.wire.body import CloseReader, body_reader
from proxy.wire.chunked import ChunkedReader
from proxy.wire.head import HeadParser, Limits, ResponseHead, field_values

CONNECT_SECONDS = 3.0
"""For one address to accept. Packets to a pod that has just gone vanish without an answer, and the next try meets
another one: a connection that takes a second attempt (RFC 6298 section 2.1) is given that, and no more."""

READ_BYTES: Final = 64 * 1024
MOST_IDLE: Final = 4
"""Connections that are kept; the watch, a report and a batch of hops are under way at a time."""


class UnreachableError(Exception):
    """There is no connection. error: of the last address that was tried."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class BrokenError(Exception):
    """What came is not an answer, or no answer came."""


class TruncatedError(BrokenError):
    """The connection ended in the middle of an answer."""


class _Connection:
    """reused: it has carried an answer before, so its other end may just have closed it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.reused = False

    @property
    def usable(self) -> bool:
        return not self.reader.at_eof() and self.reader.exception() is None and not self.writer.is_closing()

    async def head(self, parser: HeadParser, method: bytes) -> ResponseHead:
        """Of the final answer."""
        data = b""
        head = None
        while head is None:
            more = await self.reader.read(READ_BYTES)
            if not more:
                raise BrokenError("it closed the connection without an answer")
            data += more
            head = parser.response(data, method)
            while head is not None and head.status < 200:
                if head.status == 101:
                    raise BrokenError("it switches to another protocol, which it was not asked for")
                data = head.data[head.end :]
                head = parser.response(data, method) if data else None
        return head


class Answer:
    """status, reason: as its first line says; content_type: without parameters, lower case, "" without one."""

    def __init__(self, client: Client, connection: _Connection, head: ResponseHead) -> None:
        self.status = head.status
        line = head.data[: head.data.find(b"\r\n")].split(b" ", 2)
        self.reason = line[2].decode("latin-1") if len(line) > 2 else ""
        types = field_values(head, b"content-type")
        self.content_type = types[0].partition(b";")[0].strip(b" \t").lower().decode("latin-1") if types else ""
        self._client = client
        self._connection = connection
        self._keep = head.keep_alive
        self._came = head.data[head.end :]
        self._body = body_reader(head.body, BAD_RESPONSE, padded=True)
        if isinstance(self._body, ChunkedReader):
            self._body.payload = []

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._came and not self._body.done:  # small content comes with its head, and need not be read by anybody
            with contextlib.suppress(Refused):
                self._came = self._came[self._body.feed(self._came) :]
        self._client.release(self._connection, reuse=self._keep and self._body.done and not self._came)

    @property
    def ok(self) -> bool:
        return self.status < 400

    async def read(self) -> bytes:
        """The next bytes of its content, b"" at the end. Raises BrokenError."""
        while not self._body.done:
            data, self._came = self._came or await self._more(), b""
            if not data:
                self._keep = False
                return b""
            try:
                stop = self._body.feed(data)
            except Refused as refused:
                raise BrokenError(refused.detail) from None
            self._came = data[stop:]
            content = data[:stop]
            if isinstance(self._body, ChunkedReader) and self._body.payload is not None:
                content = b"".join(self._body.payload)
                self._body.payload.clear()
            if content:
                return content
        return b""

    async def _more(self) -> bytes:
        try:
            data = await self._connection.reader.read(READ_BYTES)
        except OSError as error:
            raise TruncatedError(str(error)) from None
        if not data and not isinstance(self._body, CloseReader):
            raise TruncatedError("it closed the connection in the middle of its answer")
        return data


class Client:
    """Speaks to one server. url: its scheme, host and port; what else is in it does not matter."""

    def __init__(self, url: str) -> None:
        split = urlsplit(url)
        self._tls = split.scheme == "https"
        self._host = split.hostname or ""
        self._port = split.port or (443 if self._tls else 80)
        self._authority = split.netloc.rpartition("@")[2].encode("idna" if not split.netloc.isascii() else "ascii")
        self._parser = HeadParser(Limits())
        self._context: ssl.SSLContext | None = None
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []

    def __repr__(self) -> str:
        return f"<Client {self._authority.decode()} open={len(self._open)} idle={len(self._idle)}>"

    async def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Ask, and return when the answer's head is there. Raises UnreachableError, BrokenError and OSError."""
        fields = b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in headers.items())
        if body or method in ("PUT", "POST"):
            fields += b"content-length: %d\r\n" % len(body)
        line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method.encode(), target.encode(), self._authority)
        message = line + fields + b"\r\n" + body
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable:
                self.release(connection, reuse=False)
                continue
            try:
                return await self._ask(connection, method, message)
            except (BrokenError, OSError):
                break
        return await self._ask(await self._connect(), method, message)

    def release(self, connection: _Connection, *, reuse: bool) -> None:
        """Its answer is over."""
        if reuse and connection.usable and connection in self._open and len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            self._open.discard(connection)
            connection.writer.transport.abort()

    def close(self) -> None:
        """Idempotent. What is under way ends with an error."""
        self._idle.clear()
        for connection in list(self._open):
            self.release(connection, reuse=False)

    async def _ask(self, connection: _Connection, method: str, message: bytes) -> Answer:
        try:
            connection.writer.write(message)
            await connection.writer.drain()
            return Answer(self, connection, await connection.head(self._parser, method.encode()))
        except Refused as refused:
            self.release(connection, reuse=False)
            raise BrokenError(refused.detail) from None
        except BaseException:
            self.release(connection, reuse=False)
            raise

    async def _connect(self) -> _Connection:
        """To the first address that accepts. Raises UnreachableError."""
        failed = OSError(errno.EADDRNOTAVAIL, "no address")
        try:
            if self._tls and self._context is None:
                self._context = await asyncio.to_thread(ssl.create_default_context)
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise UnreachableError(error) from None
        name = self._host if self._tls else None
        for _, _, _, _, address in found:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    reader, writer = await asyncio.open_connection(
                        str(address[0]), self._port, ssl=self._context, server_hostname=name
                    )
            except TimeoutError:
                failed = OSError(errno.ETIMEDOUT, "Connection timed out")
            except OSError as error:
                failed = error
            else:
                connection = _Connection(reader, writer)
                self._open.add(connection)
                return connection
        raise UnreachableError(failed)
