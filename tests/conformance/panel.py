"""The agreement panel: parsers by other hands, asked what they see in the bytes that we forward.

h11         a strict parser, close to the RFC's grammar
httptools   llhttp, the parser of Node.js
aiohttp     the parser of its own in Python, the one most Python services stand on when they lack the compiled one
stdlib      `http.server` and `http.client`, as lenient as a careless application

Each reads one message from the start of the bytes and says where it ends. A member that ends a message elsewhere,
or takes another body from it, sees other messages than we do: the stuff of request smuggling. A member that
refuses the bytes is harmless, but a surprise: it needs a reason in the case.
"""

from __future__ import annotations

import asyncio
import atexit
import http.client
import http.server
import io
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import aiohttp.base_protocol
import aiohttp.http_exceptions
import aiohttp.http_parser
import h11
import httptools

from tests.conformance.messages import Framing, Message

BIG = 1 << 27
"""A limit that no case reaches: limits of a member are not the question."""

NEAR = 48
"""Bytes before and behind the expected end that are fed one by one, to see where exactly a member ends."""


class Refusal(Exception):  # noqa: N818 (an answer, not a fault)
    """The member takes the bytes for malformed."""


@dataclass(frozen=True)
class Reading:
    """What one member saw first in the bytes.

    start: (method, target) or (status,)
    size:  bytes of the message; None when the member waits for more
    """

    start: tuple[bytes, ...]
    body: bytes
    size: int | None


@dataclass(frozen=True)
class Question:
    """The bytes from the start of a message to the end of the connection.

    answers: of a response: the request's method; None for a request
    end:     where we think that the message ends
    """

    data: bytes
    answers: bytes | None
    end: int

    def pieces(self) -> list[bytes]:
        """The bytes, cut finely around the expected end."""
        low, high = max(0, self.end - NEAR), self.end + NEAR
        fine = [self.data[index : index + 1] for index in range(low, min(high, len(self.data)))]
        return [piece for piece in (self.data[:low], *fine, self.data[high:]) if piece]


@dataclass(frozen=True)
class Difference:
    """How one member's reading differs from ours.

    framing: it sees other boundaries or another body, which nothing excuses
    """

    framing: bool
    text: str


def disagreements(messages: Sequence[Message], data: bytes, methods: Sequence[bytes] | None) -> dict[str, Difference]:
    """Member -> the first difference between its reading of `data` and `messages`, for those that differ.

    methods: of the requests that the responses answer; None when `data` holds requests.
    """
    found: dict[str, Difference] = {}
    waiting = None if methods is None else list(methods)
    at = 0
    for message in messages:
        answers = None if waiting is None else waiting[0]
        question = Question(data[at:], answers, message.size)
        for name, ask in MEMBERS.items():
            if name not in found:
                difference = _compare(message, question, ask)
                if difference:
                    found[name] = difference
        if waiting and (message.status >= 200 or message.status == 101):
            waiting.pop(0)
        at += message.size
    return found


def _compare(message: Message, question: Question, ask: Callable[[Question], Reading]) -> Difference | None:
    try:
        seen = ask(question)
    except Refusal as error:
        if not message.complete:
            return None
        return Difference(False, f"refuses: {error}")
    start = message.start[:2] if question.answers is None else (message.start[1],)
    if not message.complete and message.framing is not Framing.CLOSE:
        if seen.size is None:
            return None
        return Difference(True, f"sees a message complete after {seen.size} bytes that is not")
    if seen.size is None:
        return Difference(True, f"waits for more than the {message.size} bytes of {message}")
    if seen.size != message.size:
        return Difference(True, f"ends after {seen.size} bytes, not after the {message.size} of {message}")
    if seen.body != message.body:
        return Difference(True, f"sees the body {seen.body[:60]!r} instead of {message.body[:60]!r}")
    if seen.start != start:
        return Difference(False, f"sees {seen.start!r} instead of {start!r}")
    return None


_UNFINISHED = ("incomplete message", "without sending complete", "unexpectedly closed")
"""What h11 says when the connection ends too early."""


def ask_h11(question: Question) -> Reading:
    connection = h11.Connection(h11.SERVER if question.answers is None else h11.CLIENT, max_incomplete_event_size=BIG)
    if question.answers is not None:
        method = question.answers.decode()
        headers = [("host", "shop"), ("connection", "upgrade"), ("upgrade", "any")]  # else a 101 is an error
        connection.send(h11.Request(method=method, target="/", headers=headers))
        connection.send(h11.EndOfMessage())
    body, start, fed = b"", cast(tuple[bytes, ...], ()), 0
    try:
        for piece in [*question.pieces(), b""]:
            fed += len(piece)
            connection.receive_data(piece)
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    break
                if isinstance(event, h11.Request):
                    start = (event.method, event.target)
                elif isinstance(event, h11.InformationalResponse | h11.Response):
                    start = (b"%d" % event.status_code,)
                    if isinstance(event, h11.InformationalResponse):
                        return Reading(start, b"", fed - len(connection.trailing_data[0]))
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return Reading(start, body, fed - len(connection.trailing_data[0]))
                else:
                    return Reading(start, body, None if not start else fed - len(connection.trailing_data[0]))
    except h11.RemoteProtocolError as error:
        if any(words in str(error) for words in _UNFINISHED):
            return Reading(start, body, None)
        raise Refusal(str(error)) from None
    return Reading(start, body, None)


class _Callbacks:
    """What llhttp tells about the first message."""

    def __init__(self) -> None:
        self.target = b""
        self.body = b""
        self.framed = False
        self.head = False
        self.done = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.framed |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self.head = True

    def on_body(self, body: bytes) -> None:
        if not self.done:
            self.body += body

    def on_message_complete(self) -> None:
        self.done = True


def ask_httptools(question: Question) -> Reading:
    seen = _Callbacks()
    kind = httptools.HttpRequestParser if question.answers is None else httptools.HttpResponseParser
    parser: Any = kind(seen)
    fed = 0
    bodiless = question.answers == b"HEAD"  # its caller has to know: llhttp is not told what was asked
    start: tuple[bytes, ...] = ()
    for piece in question.pieces():
        try:
            parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if seen.framed and question.answers is None:
                # A wish to upgrade with content, which a server may ignore (RFC 9110 section 7.8): llhttp stops behind
                # the head and leaves the rest to its caller, so it has no opinion on where that ends.
                raise Refusal("leaves what is behind the head of a wish to upgrade to its caller") from None
            fed += upgrade.args[0] if isinstance(upgrade.args[0], int) else len(piece)
            seen.done = True
        except httptools.HttpParserError as error:
            raise Refusal(str(error) or type(error).__name__) from None
        else:
            fed += len(piece)
        if seen.head and not start:
            if question.answers is None:
                start = (parser.get_method(), seen.target)
            else:
                start = (b"%d" % parser.get_status_code(),)
        if seen.done or (seen.head and bodiless):
            return Reading(start, seen.body, fed)
    if seen.head and not seen.framed and question.answers is not None:
        return Reading(start, seen.body, fed)  # until close: llhttp leaves that to its caller, too
    return Reading(start, seen.body, None)


_LOOP = asyncio.new_event_loop()
"""aiohttp's parser wants a loop to belong to; nothing ever runs on it."""
atexit.register(_LOOP.close)


def _taken(payload: Any) -> bytes:
    """What the parser has put into a payload, without waiting; an empty payload has no buffer at all."""
    return b"".join(getattr(payload, "_buffer", ()))


def ask_aiohttp(question: Question) -> Reading:
    protocol = aiohttp.base_protocol.BaseProtocol(_LOOP)
    sizes = {"limit": BIG, "max_line_size": BIG, "max_field_size": BIG, "max_headers": 1 << 20}
    parser: Any
    if question.answers is None:
        parser = aiohttp.http_parser.HttpRequestParserPy(protocol, _LOOP, auto_decompress=False, **cast(Any, sizes))
    else:
        parser = aiohttp.http_parser.HttpResponseParserPy(
            protocol, _LOOP, auto_decompress=False, method=question.answers.decode(),
            response_with_body=question.answers != b"HEAD", read_until_eof=True, **cast(Any, sizes),
        )  # fmt: skip
    fed = 0
    start: tuple[bytes, ...] = ()
    payload: Any = None
    try:
        for piece in question.pieces():
            fed += len(piece)
            messages, _, _ = parser.feed_data(piece)
            if messages and payload is None:
                message, payload = messages[0]
                if question.answers is None:
                    start = (message.method.encode(), message.path.encode("utf-8", "surrogateescape"))
                else:
                    start = (b"%d" % message.code,)
            if payload is not None and payload.is_eof():
                return Reading(start, _taken(payload), fed)
        if payload is None:
            return Reading(start, b"", None)
        try:
            parser.feed_eof()
        except aiohttp.http_exceptions.PayloadEncodingError:
            return Reading(start, _taken(payload), None)
    except (aiohttp.http_exceptions.HttpProcessingError, aiohttp.http_exceptions.PayloadEncodingError) as error:
        raise Refusal(" ".join(str(error).split())[:120]) from None
    return Reading(start, _taken(payload), fed)


class _Handler(http.server.BaseHTTPRequestHandler):
    """The standard library's reading of a head, without a socket."""

    protocol_version = "HTTP/1.1"

    def __init__(self, data: bytes) -> None:
        self.rfile = _Unclosable(data)
        self.wfile = io.BytesIO()
        self.error = ""
        self.raw_requestline = self.rfile.readline(BIG)
        self.close_connection = True
        self.accepted = self.parse_request()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.error = f"{code} {message}"

    def handle_expect_100(self) -> bool:
        return True


def ask_stdlib(question: Question) -> Reading:
    return _ask_server(question) if question.answers is None else _ask_client(question)


def _ask_server(question: Question) -> Reading:
    limit, http.client._MAXLINE = http.client._MAXLINE, BIG  # type: ignore[attr-defined]
    headers, http.client._MAXHEADERS = http.client._MAXHEADERS, 1 << 20  # type: ignore[attr-defined]
    try:
        handler = _Handler(question.data)
    finally:
        http.client._MAXLINE, http.client._MAXHEADERS = limit, headers  # type: ignore[attr-defined]
    if not handler.accepted and b"\r\n\r\n" not in question.data:
        return Reading((), b"", None)
    if not handler.accepted:
        raise Refusal(handler.error or "an empty request line")
    words = handler.requestline.split()
    start = (words[0].encode("latin-1"), words[1].encode("latin-1"))
    if not question.data.count(b"\r\n\r\n"):
        return Reading(start, b"", None)
    codings = ",".join(handler.headers.get_all("transfer-encoding") or [])
    if codings:
        # http.server leaves the body to the application; http.client's reader of chunks is what the library has
        response = http.client.HTTPResponse(cast(socket.socket, _Socket(cast(io.BufferedReader, handler.rfile))))
        response.chunked = codings.strip().lower() == "chunked"
        response.chunk_left = None
        try:
            body = response.read()
        except (http.client.HTTPException, OverflowError):
            return Reading(start, b"", None)
        return Reading(start, body, _chunked_end(question.data, handler.rfile.tell()))
    length = handler.headers.get("content-length")
    wanted = int(length) if length else 0
    body = handler.rfile.read(wanted)
    return Reading(start, body, handler.rfile.tell() if len(body) == wanted else None)


class _Socket:
    """As much of a socket as http.client.HTTPResponse uses."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, mode: str) -> io.BufferedReader:
        return self._file


class _Unclosable(io.BytesIO):
    """A response closes its file when it is done; we still want to know where it stood."""

    def close(self) -> None:
        pass


def _chunked_end(data: bytes, end: int) -> int | None:
    """The library takes a closed connection for the empty line that ends a chunked message; we do not."""
    return end if data[:end].endswith(b"\r\n\r\n") else None


def _ask_client(question: Question) -> Reading:
    raw = _Unclosable(question.data)
    file = cast(io.BufferedReader, raw)
    assert question.answers is not None
    response = http.client.HTTPResponse(cast(socket.socket, _Socket(file)), method=question.answers.decode())
    try:
        if question.data[9:10] == b"1" and question.data[9:12] != b"101":  # begin() swallows interim answers
            _, status, _ = response._read_status()  # type: ignore[attr-defined]
            http.client.parse_headers(cast(Any, file))
            return Reading((b"%d" % status,), b"", raw.tell())
        response.begin()
        start = (b"%d" % response.status,)
        if response.status == 101:
            return Reading(start, b"", raw.tell())
        body = response.read()
    except http.client.IncompleteRead as error:
        return Reading(start, error.partial, None)
    except OverflowError:  # a chunk size that fits no buffer: it would wait for it
        return Reading(start, b"", None)
    except http.client.HTTPException as error:
        raise Refusal(f"{type(error).__name__} {error}") from None
    return Reading(start, body, _chunked_end(question.data, raw.tell()) if response.chunked else raw.tell())


MEMBERS: dict[str, Callable[[Question], Reading]] = {
    "h11": ask_h11,
    "httptools": ask_httptools,
    "aiohttp": ask_aiohttp,
    "stdlib": ask_stdlib,
}
