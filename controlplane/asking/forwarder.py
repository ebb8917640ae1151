"""A forward proxy for one command: every request that it sends gets a routing key, and every answer is looked at.

    test runner --HTTP_PROXY--> forwarder --baggage: routing-key=K--> service's sidecar

HTTP/1.1 in absolute form, plain HTTP inside CONNECT, WebSocket; TLS passes unread, without the key. A thread per
connection and Python's own HTTP parsers: a test run is some thousand requests, and nothing here is on a data path.
"""

from __future__ import annotations

import select
import socket
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from controlplane.asking.served_by import FIELD, Hop, parse_served_by
from proxy.contract.names import DEFAULT_KEY_NAMES

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 0.3
"""Until a client in a tunnel that says nothing is taken for one that waits to be greeted."""
IDLE_SECONDS = 600.0
"""For a long poll, and a WebSocket on which nobody speaks."""

_PIECE = 64 << 10
_TLS_HANDSHAKE = 0x16
"""The first byte of a TLS connection (RFC 8446 section 5.1)."""
_HOP_BY_HOP = frozenset(
    {"connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-authorization",
     "proxy-authenticate", "trailer"}
)  # fmt: skip
"""RFC 9110 section 7.6.1, and what clients say to proxies."""


class Forwarder:
    """Listens on loopback from `with` to its end.

    hops:   every hop that an answer named, with the number of answers that did.
    counts: `requests` that got the key, `tunnels` of TLS that could not, `malformed` answers.
    """

    def __init__(self, key: str) -> None:
        self.hops: Counter[Hop] = Counter()
        self.counts: Counter[str] = Counter()
        self._key = key
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"forwarder": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="forwarder", daemon=True)

    def __repr__(self) -> str:
        return f"<Forwarder {self.url} {dict(self.counts)}>"

    def __enter__(self) -> Forwarder:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def keyed(self, baggage: Iterable[str]) -> str:
        """The baggage of a request with the key in front. One that has a key already keeps it."""
        members = ",".join(baggage)
        if any(member.partition("=")[0].strip() in DEFAULT_KEY_NAMES for member in members.split(",")):
            return members
        return f"{DEFAULT_KEY_NAMES[0]}={self._key}" + (f",{members}" if members else "")

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def note(self, lines: list[str]) -> None:
        """What an answer says of who served it."""
        try:
            hops, _ = parse_served_by(lines)
        except ValueError:
            self.count("malformed")
            return
        with self._lock:
            self.hops.update(hops)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    forwarder: Forwarder
    authority = ""
    """Of the CONNECT that this connection began with, "" where it began with none."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._forward
        raise AttributeError(name)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the name is that of http.server)
        pass

    def do_CONNECT(self) -> None:
        """A tunnel. What speaks plain HTTP in it is served like any other request."""
        self.send_response(200)
        self.end_headers()
        first = self._first()
        if first is None:
            self.close_connection = True
        elif not first or first[0] == _TLS_HANDSHAKE or not first.isalpha():
            self.forwarder.count("tunnels")
            self._pass(self.path, b"")
        else:
            self.authority = self.path
            self.close_connection = False

    def _first(self) -> bytes | None:
        """The first byte in a tunnel; b"" when the client waits to be greeted, None when it has gone away."""
        held = self._held()
        if not held and not select.select([self.connection], [], [], SILENT_SECONDS)[0]:
            return b""
        return (held or self.rfile.peek(1))[:1] or None  # type: ignore[attr-defined]

    def _held(self) -> bytes:
        """What has been received already and not been read."""
        self.connection.setblocking(False)
        try:
            held: bytes = self.rfile.peek(1)  # type: ignore[attr-defined] # it is a BufferedReader
            return held or b""
        except OSError:
            return b""
        finally:
            self.connection.settimeout(IDLE_SECONDS)

    def _forward(self) -> None:
        target = urlsplit(self.path) if not self.authority else urlsplit(f"http://{self.authority}{self.path}")
        if target.scheme != "http" or not target.netloc:
            self.send_error(400, "a forward proxy needs the target as http://HOST/PATH")
            return
        self.forwarder.count("requests")
        path = f"{target.path or '/'}?{target.query}" if target.query else target.path or "/"
        authority = target.netloc.rpartition("@")[2]
        fields = self._fields(authority)
        if "upgrade" in self.headers.get("connection", "").lower() and self.headers.get("upgrade"):
            fields += [("Connection", "upgrade"), ("Upgrade", self.headers["upgrade"])]
            head = "".join(f"{name}: {value}\r\n" for name, value in fields)
            self._pass(authority, f"{self.command} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
            return
        connection = HTTPConnection(authority, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(IDLE_SECONDS)
            self._send(connection, path, fields)
            self._answer(connection.getresponse())
        except (OSError, HTTPException) as error:
            self.close_connection = True
            with suppress(OSError):
                self.send_error(502, f"{authority}: {error}")
        finally:
            connection.close()

    def _fields(self, authority: str) -> list[tuple[str, str]]:
        named = {name.strip().lower() for name in self.headers.get("connection", "").split(",")}
        dropped = _HOP_BY_HOP | named | {"baggage", "host"}
        kept = [(name, value) for name, value in self.headers.items() if name.lower() not in dropped]
        return [("Host", authority), *kept, ("baggage", self.forwarder.keyed(self.headers.get_all("baggage", [])))]

    def _send(self, connection: HTTPConnection, path: str, fields: list[tuple[str, str]]) -> None:
        chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
        for name, value in fields:
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        if chunked:
            self._send_chunks(connection)
        left = 0 if chunked else int(self.headers.get("content-length", 0))
        while left and (piece := self.rfile.read(min(left, _PIECE))):
            connection.send(piece)
            left -= len(piece)

    def _send_chunks(self, connection: HTTPConnection) -> None:
        while True:
            line = self.rfile.readline(_PIECE)
            size = int(line.partition(b";")[0], 16)
            connection.send(line)
            if size == 0:
                break
            connection.send(self.rfile.read(size + 2))
        while (line := self.rfile.readline(_PIECE)) not in (b"\r\n", b"\n", b""):
            connection.send(line)
        connection.send(b"\r\n")

    def _answer(self, answer: HTTPResponse) -> None:
        self.forwarder.note(answer.headers.get_all(FIELD, []))
        self.send_response_only(answer.status, answer.reason)
        bodiless = self.command == "HEAD" or answer.status in (204, 304)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        counted = "content-length" in answer.headers
        if not counted and not bodiless:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not bodiless and (piece := answer.read1(_PIECE)):
            self.wfile.write(piece if counted else b"%x\r\n%b\r\n" % (len(piece), piece))
        if not counted and not bodiless:
            self.wfile.write(b"0\r\n\r\n")

    def _pass(self, authority: str, head: bytes) -> None:
        """Bytes in both directions, after `head`, until one end has ended."""
        self.close_connection = True
        host, _, port = authority.rpartition(":") if authority.rpartition(":")[2].isdigit() else (authority, "", "80")
        with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as upstream:
            upstream.settimeout(IDLE_SECONDS)
            upstream.sendall(head + self.rfile.read(len(self._held())))
            seen = b""
            while ready := select.select([self.connection, upstream], [], [], IDLE_SECONDS)[0]:
                for end, other in ((self.connection, upstream), (upstream, self.connection)):
                    if end not in ready:
                        continue
                    piece = end.recv(_PIECE)
                    if not piece:
                        return
                    if head and end is upstream and b"\r\n\r\n" not in seen:
                        seen += piece
                        self._note_head(seen)
                    other.sendall(piece)

    def _note_head(self, seen: bytes) -> None:
        head, whole, _ = seen.partition(b"\r\n\r\n")
        if whole:
            lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n")]
            self.forwarder.note([value.strip() for name, _, value in lines if name.lower() == FIELD])
