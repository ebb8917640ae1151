"""Both ends of the sidecar, held in the hand: an origin that does as its script says, and a client of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from weakref import WeakKeyDictionary

from tests.faults.subject import DEADLINE_SECONDS

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST."""


class Peer:
    """One connection of ours, with deadlines on everything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.writer.drain()

    async def head(self) -> bytes:
        """Everything up to and with the next empty line."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.readexactly(size)

    async def message(self) -> tuple[bytes, bytes]:
        """Head and body of a message that says its content-length."""
        head = await self.head()
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head, await self.exactly(int(line.partition(b":")[2]))
        return head, b""

    async def rest(self) -> tuple[bytes, str]:
        """All that still comes, and how it ends: `closed` or `reset`."""
        data = b""
        async with asyncio.timeout(DEADLINE_SECONDS):
            try:
                while piece := await self.reader.read(65536):
                    data += piece
            except ConnectionResetError:
                return data, "reset"
        return data, "closed"

    async def ended(self) -> str:
        """Return when the other side has ended the connection, however: `closed` or `reset`."""
        return (await self.rest())[1]

    def reset(self) -> None:
        """End it with RST."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    def close(self) -> None:
        """End it with FIN."""
        self.writer.close()

    def end(self, how: str) -> None:
        self.reset() if how == "reset" else self.close()


Script = Callable[[Peer], Awaitable[None]]


class Origin:
    """An application that treats every connection as `script` says.

    connections: how many came; requests: the heads that scripts have noted with `take`.
    """

    def __init__(self) -> None:
        self.script: Script = self.answer
        self.connections = 0
        self.requests: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def paths(self) -> list[bytes]:
        return [head.split(b" ", 2)[1] for head in self.requests]

    async def take(self, peer: Peer) -> tuple[bytes, bytes]:
        """The next request of a connection, noted."""
        head, body = await peer.message()
        self.requests.append(head)
        return head, body

    async def answer(self, peer: Peer) -> None:
        """The script of a healthy application: echoes the size of every request's body."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                _, body = await self.take(peer)
                await peer.send(ok(b"%d" % len(body)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(Peer(reader, writer))
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        failed = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Exception)]
        assert not failed, failed


@contextlib.asynccontextmanager
async def serving(listening: socket.socket) -> AsyncIterator[Origin]:
    """An origin on a socket that outlives it, so that one sidecar can meet many of them."""
    origin = Origin()
    unhandled: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _, context: unhandled.append(f"{context['message']}: {context.get('exception')!r}")
    )
    server = await asyncio.start_server(origin.serve, sock=listening.dup())
    try:
        yield origin
    finally:
        server.close()
        await origin.stop()
        loop.set_exception_handler(None)
    assert not unhandled, unhandled  # a script that failed


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Peer]] = WeakKeyDictionary()


async def connect(port: int) -> Peer:
    """A client. Whoever forgets to end it, because a test failed, has `hang_up` do it."""
    client = Peer(*await asyncio.open_connection("127.0.0.1", port))
    _clients.setdefault(asyncio.get_running_loop(), []).append(client)
    return client


async def hang_up() -> None:
    """End all clients of this test, which has a loop of its own; none is left when this returns."""
    clients = _clients.get(asyncio.get_running_loop(), [])
    while clients:
        client = clients.pop()
        client.writer.transport.abort()
        with contextlib.suppress(OSError):
            await client.writer.wait_closed()


def listening_socket() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(4096)
    return sock


def ok(body: bytes = b"", *lines: bytes) -> bytes:
    extra = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (extra, len(body), body)


def request(path: bytes = b"/", *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    extra = b"".join(line + b"\r\n" for line in lines)
    if body:
        extra += b"content-length: %d\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\nhost: shop.test\r\n%b\r\n%b" % (method, path, extra, body)


def error_code(head: bytes) -> bytes:
    """What `skycap-error` says, empty without it."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"skycap-error:"):
            return line.partition(b":")[2].strip()
    return b""


@contextlib.contextmanager
def silent_address() -> Iterator[int]:
    """A port whose backlog is full: a dial gets neither an answer nor a refusal."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
