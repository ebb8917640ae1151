"""What is not HTTP, through a real sidecar between real programs: Redis, PostgreSQL, SMTP, TLS, HTTP/2."""

from __future__ import annotations

import contextlib
import hashlib
import re
import signal
import smtplib
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import ROOT, free_port
from tests.postgres import postgres, query
from tests.tools import require

READY_SECONDS = 50.0

Figure = Callable[[str], float]


def _listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when something accepts on the port."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline, f"nobody listens on {port}"
        time.sleep(0.01)


@contextlib.contextmanager
def running(*command: str, port: int, ends_with: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        _listens(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == ends_with


class Place:
    """A sidecar in front of one application. port: the sidecar's; app: the application's."""

    def __init__(self) -> None:
        self.port, self.app, self.admin = free_port(), free_port(), free_port()

    @contextlib.contextmanager
    def guarded(self, *flags: str) -> Iterator[None]:
        listen = f"127.0.0.1:{self.port}=127.0.0.1:{self.app}"
        command = [sys.executable, "-m", "proxy", "--workload", "shop/users", "--inbound", listen]
        with running(*command, "--admin", f"127.0.0.1:{self.admin}", "--drain-timeout", "1", *flags, port=self.admin):
            yield

    def opaque(self, protocol: str) -> float:
        """How many connections of that kind the sidecar has carried."""
        return self.figure("skycap_opaque_connections_total", f'direction="inbound",protocol="{protocol}"')

    def figure(self, name: str, labels: str) -> float:
        """One of its metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        pattern = rf"^{name}\{{{labels}\}} (\S+)$"
        found = re.search(pattern, text, re.MULTILINE)
        assert found is not None
        return float(found[1])


@pytest.fixture
def place() -> Place:
    return Place()


# -- Redis ------------------------------------------------------------------------------------------------------------


def test_redis(place: Place, tmp_path: Path) -> None:
    require("redis-server", "redis-cli")
    server = ["redis-server", "--port", str(place.app), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]

    def redis(*arguments: str, said: bytes = b"") -> str:
        command = ["redis-cli", "-p", str(place.port), *arguments]
        return subprocess.run(command, input=said, capture_output=True, check=True, timeout=30).stdout.decode().strip()

    with running(*server, port=place.app), place.guarded():
        assert redis("ping") == "PONG"
        assert redis("set", "answer", "42") == "OK"
        assert redis("get", "answer") == "42"
        large = b"x" * (5 << 20)
        assert redis("-x", "set", "large", said=large) == "OK"
        assert redis("strlen", "large") == str(len(large))
        assert redis("get", "large") == large.decode()
        # One connection waits in silence for what another one says.
        with subprocess.Popen(
            ["redis-cli", "-p", str(place.port), "blpop", "jobs", "20"], stdout=subprocess.PIPE
        ) as waiting:
            assert redis("rpush", "jobs", "one") == "1"
            out, _ = waiting.communicate(timeout=30)
            assert out == b"jobs\none\n"
        burst = redis("--pipe", said=b"".join(b"SET key%d %d\r\n" % (n, n) for n in range(20_000)))
        assert "errors: 0, replies: 20000" in burst
        assert place.opaque("other") == 9


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


def test_postgresql(place: Place) -> None:
    with postgres("127.0.0.1", place.app), place.guarded():
        assert query("127.0.0.1", place.port, "select 6 * 7") == "42"
        size = 20_000_000
        assert query("127.0.0.1", place.port, f"select md5(repeat('x', {size}))") == _md5(b"x" * size)
        assert query("127.0.0.1", place.port, f"select repeat('x', {size})") == "x" * size
        assert place.opaque("other") == 3


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_postgresql_on_a_declared_port(place: Place) -> None:
    with postgres("127.0.0.1", place.app), place.guarded("--opaque", str(place.port)):
        assert query("127.0.0.1", place.port, "select 6 * 7") == "42"
        assert place.opaque("declared") == 1


# -- servers that speak first -----------------------------------------------------------------------------------------


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as a client needs to say hello and goodbye."""

    def handle(self) -> None:
        self.wfile.write(b"220 mail.shop ESMTP\r\n")
        while line := self.rfile.readline():
            verb = line.strip().upper()
            if verb.startswith(b"EHLO"):
                self.wfile.write(b"250-mail.shop\r\n250 SIZE 1000\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 " + verb + b"\r\n")


@contextlib.contextmanager
def serving(handler: type[socketserver.BaseRequestHandler], port: int) -> Iterator[None]:
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("declared", [False, True], ids=["undeclared", "declared"])
def test_smtp(place: Place, declared: bool) -> None:
    flags = ["--opaque", str(place.port)] if declared else []
    with serving(Mail, place.app), place.guarded(*flags):
        for _ in range(3):
            with smtplib.SMTP("127.0.0.1", place.port, "shop", timeout=20) as client:
                assert client.ehlo()[0] == 250
                assert client.has_extn("size")
                assert client.docmd("NOOP") == (250, b"NOOP")
        assert place.opaque("declared" if declared else "server-first") == 3


def test_a_greeting_waits_for_as_long_as_it_is_told(place: Place) -> None:
    """The client is silent for 0.3 s, not for 0.05; and a delay of 0 waits for ever."""
    with serving(Mail, place.app), place.guarded("--sniff-delay", "300ms"):
        started = time.monotonic()
        with smtplib.SMTP("127.0.0.1", place.port, timeout=20):
            assert time.monotonic() - started >= 0.3
    with (
        serving(Mail, place.app),
        place.guarded("--sniff-delay", "0"),
        socket.create_connection(("127.0.0.1", place.port), 0.2) as client,
        pytest.raises(TimeoutError),
    ):
        client.recv(1)


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of `users.shop`, which signs itself."""
    require("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    path, key = folder / "users.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=users.shop", "-addext", "subjectAltName=DNS:users.shop", "-keyout", str(key), "-out", str(path)],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + key.read_text())
    return path


def test_tls_ends_at_the_application(place: Place, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Shout(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with context.wrap_socket(self.request, server_side=True) as secure:
                while data := secure.recv(65536):
                    secure.sendall(data.upper())

    trust = ssl.create_default_context(cafile=str(certificate))
    with serving(Shout, place.app), place.guarded():
        with (
            socket.create_connection(("127.0.0.1", place.port), 20) as plain,
            trust.wrap_socket(plain, server_hostname="users.shop") as secure,
        ):
            secure.sendall(b"hello")
            assert secure.recv(5) == b"HELLO"
            assert secure.version() == "TLSv1.3"
        assert place.opaque("tls") == 1


# -- HTTP/2 -----------------------------------------------------------------------------------------------------------

H2_SERVER = """
const server = require('http2').createServer((request, response) => {
  let size = 0
  request.on('data', piece => { size += piece.length })
  request.on('end', () => { response.setHeader('baggage', request.headers.baggage || ''); response.end(String(size)) })
})
server.listen(Number(process.argv[1]), '127.0.0.1')
process.on('SIGTERM', () => process.exit(0))
"""


def test_http2_with_prior_knowledge_is_read(place: Place, tmp_path: Path) -> None:
    require("node", "curl")
    upload = tmp_path / "upload"
    upload.write_bytes(b"x" * (3 << 20))
    curl = [
        "curl", "-sS", "--max-time", "30", "--http2-prior-knowledge", "-H", "baggage: routing-key=agent-42",
        "--data-binary", f"@{upload}", "-w", "\n%{http_version} %header{baggage}", f"http://127.0.0.1:{place.port}/",
    ]  # fmt: skip
    with running("node", "-e", H2_SERVER, str(place.app), port=place.app), place.guarded():
        done = subprocess.run(curl, capture_output=True, check=True, text=True, timeout=40)
        assert done.stdout.split("\n") == [str(3 << 20), "2 routing-key=agent-42"]
        assert place.figure("skycap_http2_connections_total", 'direction="inbound"') == 1


def test_http_beside_all_of_that_is_still_read(place: Place) -> None:
    """The same sidecar, the same port: what is HTTP gets its answer from us when nobody else is there."""
    require("curl")
    with place.guarded():
        command = [
            "curl",
            "-s",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            f"http://127.0.0.1:{place.port}/",
        ]
        assert subprocess.run(command, capture_output=True, check=True, timeout=30).stdout == b"502"
        assert place.opaque("other") == 0
