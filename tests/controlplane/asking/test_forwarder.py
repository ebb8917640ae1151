"""The forward proxy of `skycap run`, on real sockets."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controlplane.asking.forwarder import Forwarder
from controlplane.asking.served_by import Hop

SERVED = "shop/users;sandbox=agent-42;rev=3"


class Origin(ThreadingHTTPServer):
    """A sidecar as far as a client sees it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def baggage(self) -> list[str]:
        return [fields.get("baggage", "") for _, _, fields, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def reply(self) -> None:
        body = self._body()
        self.server.asked.append((self.command, self.path, {n.lower(): v for n, v in self.headers.items()}, body))
        if self.headers.get("upgrade"):
            self.wfile.write(f"HTTP/1.1 101 Switching\r\nskycap-served-by: {SERVED}\r\n\r\n".encode())
            self.wfile.write(self.rfile.read(4).upper())
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("skycap-served-by", SERVED)
        if self.path.startswith("/chunked"):
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            return
        self.send_header("content-length", "5")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"abcde")

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_HEAD = do_PURGE = reply  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    with Forwarder("agent-42") as forwarder:
        yield forwarder


@pytest.fixture
def client(forwarder: Forwarder) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(forwarder.url.removeprefix("http://"), timeout=20)
    yield connection
    connection.close()


def test_every_request_gets_the_key_and_every_answer_is_looked_at(
    origin: Origin, forwarder: Forwarder, client: http.client.HTTPConnection
) -> None:
    """On one connection, whatever the method and the framing."""
    for method, path, body in (
        ("GET", "/a?b=c", None), ("POST", "/chunked", b"x" * 300_000), ("HEAD", "/h", None), ("PURGE", "/p", None),
    ):  # fmt: skip
        client.request(method, f"http://{origin.authority}{path}", body, {"X-Own": "1", "Proxy-Connection": "x"})
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"" if method == "HEAD" else b"abcde")
        assert answer.headers["skycap-served-by"] == SERVED
    client.request("POST", f"http://{origin.authority}/up", iter([b"one", b"two"]), encode_chunked=True)
    assert client.getresponse().read() == b"abcde"
    assert [(method, path) for method, path, _, _ in origin.asked] == [
        ("GET", "/a?b=c"), ("POST", "/chunked"), ("HEAD", "/h"), ("PURGE", "/p"), ("POST", "/up"),
    ]  # fmt: skip
    assert origin.baggage == ["routing-key=agent-42"] * 5
    assert origin.asked[1][3] == b"x" * 300_000
    assert origin.asked[4][3] == b"onetwo"
    assert origin.asked[0][2]["x-own"] == "1"
    assert origin.asked[0][2]["host"] == origin.authority
    assert "proxy-connection" not in origin.asked[0][2]
    assert forwarder.hops == {Hop("shop/users", "agent-42", 3): 5}
    assert forwarder.counts == {"requests": 5}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("a=b;c, d=e", "routing-key=agent-42,a=b;c, d=e"),
        ("routing-key=mine,a=b", "routing-key=mine,a=b"),
        ("sd-routing-key=mine", "sd-routing-key=mine"),
    ],
)
def test_other_baggage_stays_and_a_key_of_its_own_goes_first(
    origin: Origin, client: http.client.HTTPConnection, given: str, sent: str
) -> None:
    client.request("GET", f"http://{origin.authority}/", headers={"baggage": given})
    client.getresponse().read()
    assert origin.baggage == [sent]


def test_plain_http_in_a_tunnel_is_read(origin: Origin, forwarder: Forwarder) -> None:
    """What undici, `curl -p` and WebSocket clients do with HTTP_PROXY."""
    client = http.client.HTTPConnection(forwarder.url.removeprefix("http://"), timeout=20)
    client.set_tunnel(origin.authority)
    for path in ("/one", "/two"):
        client.request("GET", path)
        assert client.getresponse().read() == b"abcde"
    client.close()
    assert origin.baggage == ["routing-key=agent-42"] * 2
    assert forwarder.counts == {"requests": 2}


def raw(forwarder: Forwarder, *pieces: bytes, until: bytes) -> bytes:
    host, _, port = forwarder.url.removeprefix("http://").partition(":")
    received = b""
    with socket.create_connection((host, int(port)), 20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        while until not in received and (more := connection.recv(65536)):
            received += more
    return received


@pytest.mark.parametrize("apart", [True, False])
def test_a_websocket_gets_through(origin: Origin, forwarder: Forwarder, apart: bool) -> None:
    head = (
        f"GET http://{origin.authority}/ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    ).encode()
    pieces = (head, b"ping") if apart else (head + b"ping",)
    assert raw(forwarder, *pieces, until=b"PING").endswith(b"\r\n\r\nPING")
    assert origin.baggage == ["routing-key=agent-42"]
    assert origin.asked[0][2]["upgrade"] == "websocket"
    assert forwarder.hops == {Hop("shop/users", "agent-42", 3): 1}


@pytest.fixture
def echo() -> Iterator[str]:
    """A server of bytes that greets first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(b"220 hello\r\n")
                while piece := connection.recv(65536):
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)


def test_tls_passes_unread(echo: str, forwarder: Forwarder) -> None:
    outgoing = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="x")
    with suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    first = outgoing.read()
    received = raw(forwarder, f"CONNECT {echo} HTTP/1.1\r\n\r\n".encode(), first, until=first)
    assert b"220 hello\r\n" in received
    assert received.endswith(first)
    assert forwarder.counts == {"tunnels": 1}


def test_a_client_that_waits_to_be_greeted_in_a_tunnel(echo: str, forwarder: Forwarder) -> None:
    assert raw(forwarder, f"CONNECT {echo} HTTP/1.1\r\n\r\n".encode(), until=b"220 hello\r\n").endswith(b"hello\r\n")


def test_what_cannot_be_reached_and_what_is_no_target(forwarder: Forwarder, client: http.client.HTTPConnection) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client.request("GET", f"http://127.0.0.1:{nobody.getsockname()[1]}/")
        assert client.getresponse().status == 502
    client.close()
    client.request("GET", "/no-proxy-request")
    assert client.getresponse().status == 400
