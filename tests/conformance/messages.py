"""The reference reader: what we hold a stream of bytes to mean.

It is written for clarity from RFC 9112 sections 2 to 7, in its strictest reading, and shares nothing with
`proxy.wire`: two readings by one hand could share one mistake. It reads what the proxy sends, in both directions,
so anything unusual in there is a finding: it raises Malformed instead of guessing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]+) (HTTP/1\.[01])")
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9][0-9])(?: ([^\r\n\0]*))?")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\r\n\0]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n\0]*)?")
_DIGITS = re.compile(rb"[0-9]{1,18}")


class Malformed(Exception):  # noqa: N818 (it is a finding about bytes, not a fault of the program)
    """The stream is not HTTP/1.1 in its strictest reading."""


class Framing(Enum):
    NONE = "no body"
    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "until close"
    TUNNEL = "tunnel"


Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Message:
    """One message as read.

    start:    the three parts of the start line; a missing reason is empty
    fields:   names in lower case, values without surrounding white space
    head:     start line and fields as they stood, with the empty line
    size:     bytes from the first of the start line to the last of the message
    complete: False when the stream ended inside the body
    """

    start: tuple[bytes, bytes, bytes]
    fields: Fields
    framing: Framing
    body: bytes
    trailers: Fields
    head: bytes
    size: int
    complete: bool = True

    @property
    def method(self) -> bytes:
        return self.start[0]

    @property
    def status(self) -> int:
        return int(self.start[1])

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field == name]

    def meaning(self) -> tuple[object, ...]:
        """What must not change on the way: all but boundaries and extensions of chunks, and the order of fields of
        different names (RFC 9110 section 5.3)."""
        fields = sorted(self.fields, key=lambda field: field[0])
        return (self.start, tuple(fields), self.framing, self.body, self.trailers, self.complete)

    def __str__(self) -> str:
        end = "" if self.complete else ", incomplete"
        return (
            f"{b' '.join(self.start)!r} ({len(self.fields)} fields, {self.framing.value}, {len(self.body)} bytes{end})"
        )


@dataclass(frozen=True)
class Stream:
    """All of one direction of a connection.

    messages: in order; only the last may be incomplete
    rest:     the beginning of a head, or what flows in a tunnel
    """

    messages: tuple[Message, ...]
    rest: bytes

    @property
    def complete(self) -> list[Message]:
        return [message for message in self.messages if message.complete]

    @property
    def final(self) -> list[Message]:
        """Of a response stream: complete answers that are not interim ones."""
        return [message for message in self.complete if message.status >= 200 or message.status == 101]


def read_requests(data: bytes) -> Stream:
    """The requests in `data`. Raises Malformed."""
    messages: list[Message] = []
    at = 0
    while at < len(data):
        message = read_message(data, at, None)
        if message is None:
            break
        messages.append(message)
        at += message.size
        if not message.complete:
            break
    return Stream(tuple(messages), data[at:])


def read_responses(data: bytes, methods: Sequence[bytes], ended: bool) -> Stream:
    """The responses in `data`, to requests with `methods`. Raises Malformed.

    ended: the connection was closed behind `data`, which completes a body that lasts until then.
    A response for which there is no request is Malformed: somebody answered what nobody asked.
    """
    messages: list[Message] = []
    waiting = list(methods)
    at = 0
    while at < len(data):
        message = read_message(data, at, waiting[0] if waiting else b"")
        if message is None:
            break
        if not waiting:
            raise Malformed(f"an answer that nobody asked for: {message}")
        if message.framing is Framing.CLOSE and not ended:
            message = replace(message, complete=False)
        if message.status == 101 or message.status >= 200:
            waiting.pop(0)
        messages.append(message)
        at += message.size
        if not message.complete or message.framing is Framing.TUNNEL:
            break
    return Stream(tuple(messages), data[at:])


def read_message(data: bytes, at: int, answers: bytes | None) -> Message | None:
    """The message at `at`, None when its head is not complete. `answers`: the request's method, or a request."""
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        _lines(data[at:].rstrip(b"\r\n"))
        return None
    head = data[at : end + 4]
    first, *lines = _lines(data[at:end])
    pattern, kind = (_REQUEST_LINE, "request") if answers is None else (_STATUS_LINE, "status")
    start = pattern.fullmatch(first)
    if start is None:
        raise Malformed(f"{kind} line {first[:80]!r}")
    fields = _fields(lines)
    parts = (start[1], start[2], start[3] or b"")
    framing, length = _framing(parts, fields, answers)
    body, trailers, size, complete = _body(data, end + 4, framing, length)
    return Message(parts, fields, framing, body, trailers, head, end + 4 - at + size, complete)


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\r\n")
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise Malformed(f"CR, LF or NUL inside the line {line[:80]!r}")
    return lines


def _fields(lines: list[bytes]) -> Fields:
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Malformed(f"field line {line[:80]!r}")
        fields.append((match[1].lower(), match[2]))
    return tuple(fields)


def _framing(start: tuple[bytes, bytes, bytes], fields: Fields, answers: bytes | None) -> tuple[Framing, int]:
    """RFC 9112 section 6.3; whatever it leaves to judgement is Malformed."""
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    lengths = [value for name, value in fields if name == b"content-length"]
    version = start[2] if answers is None else start[0]
    if codings and (lengths or version == b"HTTP/1.0" or [c.lower() for c in codings] != [b"chunked"]):
        raise Malformed(f"transfer-encoding {codings!r}, content-length {lengths!r} in {version!r}")
    if lengths and (len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0])):
        raise Malformed(f"content-length {lengths!r}")
    if answers is not None:
        status = int(start[1])
        if status == 101 or (answers == b"CONNECT" and 200 <= status < 300):
            return Framing.TUNNEL, 0
        if status < 200 or status == 204:
            if codings or (lengths and lengths != [b"0"]):
                raise Malformed(f"a {status} that announces a body")
            return Framing.NONE, 0
        if status == 304 or answers == b"HEAD":
            return Framing.NONE, 0
    if codings:
        return Framing.CHUNKED, 0
    if lengths:
        return Framing.LENGTH, int(lengths[0])
    return (Framing.NONE, 0) if answers is None else (Framing.CLOSE, 0)


def _body(data: bytes, at: int, framing: Framing, length: int) -> tuple[bytes, Fields, int, bool]:
    """Body, trailers, bytes taken, and whether it is all there."""
    if framing in (Framing.NONE, Framing.TUNNEL):
        return b"", (), 0, True
    if framing is Framing.LENGTH:
        body = data[at : at + length]
        return body, (), len(body), len(body) == length
    if framing is Framing.CLOSE:
        return data[at:], (), len(data) - at, True
    return _chunks(data, at)


def _chunks(data: bytes, at: int) -> tuple[bytes, Fields, int, bool]:
    start = at
    parts: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return b"".join(parts), (), len(data) - start, False
        (line,) = _lines(data[at:line_end])
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise Malformed(f"chunk line {line[:80]!r}")
        size, at = int(match[1], 16), line_end + 2
        if size == 0:
            break
        parts.append(data[at : at + size])
        if len(data) < at + size + 2:
            return b"".join(parts), (), len(data) - start, False
        if data[at + size : at + size + 2] != b"\r\n":
            raise Malformed("a chunk that does not end where it says")
        at += size + 2
    lines: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return b"".join(parts), (), len(data) - start, False
        if line_end == at:
            return b"".join(parts), _fields(lines), at + 2 - start, True
        lines += _lines(data[at:line_end])
        at = line_end + 2
