"""The client of the link, against a server that says exactly what a test wants."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.feed.http import MOST_IDLE, BrokenError, Client, TruncatedError, UnreachableError

OK = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Plain; charset=utf-8\r\ncontent-length: 5\r\n\r\nhello"


class Server:
    """Answers each request with the next of `answers`, b"" closes the connection, and remembers what it was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0] or b"0")
                self.asked.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                writer.write(answer)
                if not answer or b"until close" in answer:
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def served(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(*answers)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


async def content(client: Client, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    async with await client.request(method, "/a?b=c", {"x-one": "1"}, body) as answer:
        pieces = []
        while piece := await answer.read():
            pieces.append(piece)
        return answer.status, b"".join(pieces)


async def test_one_connection_serves_one_request_after_the_other() -> None:
    async with served(OK, OK) as server:
        client = Client(server.url)
        async with await client.request("GET", "/a?b=c", {"x-one": "1"}) as answer:
            assert (answer.status, answer.reason, answer.content_type, answer.ok) == (200, "OK", "text/plain", True)
            assert await answer.read() == b"hello"
            assert await answer.read() == b""
        assert await content(client, "PUT", b"{}") == (200, b"hello")
        host = server.url.removeprefix("http://").encode()
        assert server.asked == [
            b"GET /a?b=c HTTP/1.1\r\nhost: %b\r\nx-one: 1\r\n\r\n" % host,
            b"PUT /a?b=c HTTP/1.1\r\nhost: %b\r\nx-one: 1\r\ncontent-length: 2\r\n\r\n{}" % host,
        ]
        assert server.connections == 1
        assert repr(client) == f"<Client {host.decode()} open=1 idle=1>"
        client.close()
        assert repr(client) == f"<Client {host.decode()} open=0 idle=0>"


async def test_content_that_nobody_reads_does_not_cost_a_connection() -> None:
    async with served(OK, b"HTTP/1.1 204 No Content\r\n\r\n", OK) as server:
        client = Client(server.url)
        for _ in range(3):
            async with await client.request("GET", "/", {}):
                pass
        assert server.connections == 1
        client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 until close\r\n\r\nhello",
        b"HTTP/1.1 200\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
async def test_every_framing(answer: bytes) -> None:
    async with served(answer, OK) as server:
        client = Client(server.url)
        assert await content(client) == (200, b"hello")
        assert await content(client) == (200, b"hello")
        client.close()


async def test_an_idle_connection_that_was_closed_is_replaced_once() -> None:
    async with served(OK, b"", OK, b"", b"") as server:
        client = Client(server.url)
        assert await content(client) == (200, b"hello")
        assert await content(client) == (200, b"hello")
        assert server.connections == 2
        with pytest.raises(BrokenError, match="closed the connection without an answer"):
            await content(client)
        client.close()


async def test_bytes_behind_an_answer_end_the_connection() -> None:
    async with served(OK + b"HTTP/1.1 200 OK\r\n", OK) as server:
        client = Client(server.url)
        assert await content(client) == (200, b"hello")
        assert await content(client) == (200, b"hello")
        assert server.connections == 2
        client.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-x\r\n\r\n", BrokenError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4, 5\r\n\r\n", BrokenError),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", BrokenError),
        (b"HTTP/1.1 200 until close\r\ncontent-length: 50\r\n\r\nhello", TruncatedError),
        (b"HTTP/1.1 200 until close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", TruncatedError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", BrokenError),
    ],
)
async def test_what_is_no_answer_or_not_all_of_it(answer: bytes, error: type[Exception]) -> None:
    async with served(answer, b"") as server:
        client = Client(server.url)
        with pytest.raises(error):
            await content(client)
        assert "open=0" in repr(client)


async def test_what_is_under_way_ends_when_the_client_is_closed() -> None:
    async with served(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n") as server:
        client = Client(server.url)
        async with await client.request("GET", "/", {}) as answer:
            assert await answer.read() == b"hello"
            client.close()
            with pytest.raises(BrokenError):
                await answer.read()


async def test_few_connections_are_kept() -> None:
    async with served(*[OK] * (MOST_IDLE + 3)) as server:
        client = Client(server.url)
        answers = [await client.request("GET", "/", {}) for _ in range(MOST_IDLE + 3)]
        for answer in answers:
            async with answer:
                pass
        assert f"open={MOST_IDLE} idle={MOST_IDLE}" in repr(client)
        client.close()


async def test_nobody_there() -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(UnreachableError) as caught:
                await content(Client(f"http://{host}:{bound.getsockname()[1]}"))
            assert caught.value.error.errno


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Chain and key for 127.0.0.1."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
         key, "-out", chain, "-days", "2", "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return chain, key


async def test_over_tls(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate has to be one that this machine trusts, and of that host."""
    chain, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    async with served(OK, tls=context) as server:
        url = f"https://127.0.0.1:{server.port}"
        with pytest.raises(UnreachableError) as caught:
            await content(Client(url))
        assert isinstance(caught.value.error, ssl.SSLCertVerificationError)
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        client = Client(url)
        assert await content(client) == (200, b"hello")
        client.close()
        with pytest.raises(UnreachableError):
            await content(Client(url.replace("127.0.0.1", "localhost")))
