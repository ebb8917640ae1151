"""Plain heads byte by byte: for the compiled build, where a byte costs a few instructions, and `re` several times that.

The patterns of `proxy.wire.plain` are the rules. A head is read here only when it is plain in the usual way; one that
is unusual, incomplete or bad is left to them, so that nothing is refused here and every limit and message is theirs.
What is read has to be what they would have made of it, which tests hold both to. Interpreted it is as right, and slow.

Names, hosts and status lines come again and again. The patterns judge each once, then a dictionary knows it
(`_remember`). Whoever fills that with other names makes everybody pay what they would pay without this file.

Where the bytes end before the head does, `data[at]` raises IndexError: it is rare, and so nothing is compared for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from proxy.wire.framing import NO_BODY
from proxy.wire.grammar import FIELD_VALUE, HOST, TOKEN
from proxy.wire.head import BODILESS, CLOSE, PLAIN_STATUS, HeadParser, Limits, RequestHead, ResponseHead
from proxy.wire.plain import HOP_LINE_BYTES

if TYPE_CHECKING:
    from mypy_extensions import i64

_LF: Final = 10
_CR: Final = 13
_SPACE: Final = 32
_HASH: Final = 35
_SLASH: Final = 47
_COLON: Final = 58

_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})

# What a field is to us.
_OTHER: Final = 0
_UNUSUAL: Final = 1
_TRACED: Final = 2
_HOST: Final = 3
_LENGTH: Final = 4
_BAGGAGE: Final = 5
_PARENT: Final = 6
_REQUEST_ID: Final = 7
_CONNECTION: Final = 8
_HOP: Final = 9
_ASKED: Final = {
    b"host": _HOST, b"content-length": _LENGTH, b"baggage": _BAGGAGE, b"traceparent": _PARENT,
    b"x-request-id": _REQUEST_ID, b"connection": _CONNECTION, b"skycap-hop": _HOP,
}  # fmt: skip
_ANSWERED: Final = frozenset({b"content-length", b"connection"})

_NAME: Final = re.compile(TOKEN + rb"++")
_A_HOST: Final = re.compile(HOST)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9])(?>(?: " + FIELD_VALUE + rb")?)")

_DIGITS: Final = bytes.maketrans(b"123456789abcdef", b"0" * 15)
"""Makes every hexadecimal digit a 0, so that what is well-formed has one form."""
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_PARENT_FORM: Final = b"00-" + _NO_TRACE + b"-" + _NO_SPAN + b"-00"

MAX_KNOWN: Final = 512
MAX_BYTES: Final = 64


class _Found:
    """What the field lines of a head say. end: of the head; lines: of all of it."""

    __slots__ = ("baggage", "cause", "connection", "end", "host", "length", "lines", "parent", "request_id", "traced")

    def __init__(self) -> None:
        self.end = self.lines = 0
        self.host = self.traced = False
        self.length = -1
        self.baggage: bytes | None = None
        self.parent: bytes | None = None
        self.request_id: bytes | None = None
        self.connection = b""
        self.cause: bytes | None = None


class ScanningParser(HeadParser):
    """As HeadParser, and with the same result."""

    __slots__ = ("_answered", "_asked", "_hosts", "_status")

    def __init__(self, limits: Limits, watched: Sequence[str] = ()) -> None:
        super().__init__(limits, watched)
        self._asked: dict[bytes, int] = {}
        self._answered: dict[bytes, int] = {}
        self._hosts: dict[bytes, int] = {}
        self._status: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"<ScanningParser known={sum(map(len, (self._asked, self._answered, self._hosts, self._status)))}>"

    def request(self, data: bytes) -> RequestHead | None:
        try:
            head = self._plain_request(data)
        except IndexError:
            head = None
        return head if head is not None else super().request(data)

    def response(self, data: bytes, method: bytes) -> ResponseHead | None:
        try:
            head = self._plain_response(data) if method not in BODILESS else None
        except IndexError:
            head = None
        return head if head is not None else super().response(data, method)

    def _plain_request(self, data: bytes) -> RequestHead | None:
        at: i64 = 0
        while data[at] != _SPACE:
            at += 1
        method = data[:at]
        if method not in _METHODS or data[at + 1] != _SLASH:
            return None
        at = _visible_end(data, at + 1)
        if data[at : at + 11] != b" HTTP/1.1\r\n":
            return None
        found = _Found()
        if not self._fields(data, at + 11, found, asked=True) or not found.host:
            return None
        body = found.length if found.length >= 0 else NO_BODY
        head = RequestHead(data, data[: found.end].lower(), method, body, found.parent, found.request_id)
        head.lines = found.lines
        head.baggage = found.baggage
        head.traced = found.traced
        if found.connection == b"close":
            head.keep_alive, head.hop, head.options = False, True, CLOSE
        if found.cause is not None:
            head.cause = found.cause
            head.tail -= HOP_LINE_BYTES
        return head

    def _plain_response(self, data: bytes) -> ResponseHead | None:
        at: i64 = 0
        while data[at] != _CR:
            at += 1
        line = data[:at]
        status = self._status.get(line)
        if status is None:
            match = _STATUS_LINE.fullmatch(line)
            status = _remember(self._status, line, int(match[1]) if match is not None else 0)
        if status not in PLAIN_STATUS or data[at + 1] != _LF:
            return None
        found = _Found()
        if not self._fields(data, at + 2, found, asked=False) or found.length < 0:
            return None
        head = ResponseHead(data, data[: found.end].lower(), status, found.length)
        if found.connection == b"close":
            head.keep_alive, head.hop, head.options = False, True, CLOSE
        return head

    def _fields(self, data: bytes, at: i64, found: _Found, *, asked: bool) -> bool:
        """Read the field lines from `at` to the empty line. False: they are not plain."""
        lines: i64 = 2  # the first and the empty one
        known = self._asked if asked else self._answered
        while data[at] != _CR:
            lines += 1
            colon = at
            while data[colon] != _COLON:  # if need be beyond the line, and then no name ends there
                colon += 1
            end = _line_end(data, colon)
            if end < 0:
                return False
            name = data[at:colon]
            kind = known.get(name)
            if kind is None:
                kind = _remember(known, name, self._judge(name, asked=asked))
            at = end + 2
            if kind != _OTHER:
                start = colon + 2 if data[colon + 1] == _SPACE else colon + 1
                if not self._take(kind, data[start:end], found):
                    return False
                if kind == _HOP and (data[at] != _CR or data[colon + 1] != _SPACE):  # as a sidecar writes it
                    return False
        found.end = end = at + 2
        found.lines = lines
        return data[at + 1] == _LF and end <= self.limits.head_bytes and lines <= self.limits.header_lines + 2

    def _take(self, kind: int, value: bytes, found: _Found) -> bool:
        """One that says something. False: it is not well-formed, has more white space than usual, or is there twice."""
        if kind == _TRACED:
            found.traced = True
            return True
        if kind == _HOST and not found.host:
            found.host = True
            known = self._hosts.get(value)
            if known is None:
                known = _remember(self._hosts, value, 1 if _A_HOST.fullmatch(value.lower()) is not None else 0)
            return known == 1
        if kind == _BAGGAGE and found.baggage is None:
            found.baggage = value
            return not value.startswith((b" ", b"\t"))
        if kind == _PARENT and found.parent is None:
            found.parent = value
            form = value.translate(_DIGITS) == _PARENT_FORM
            return form and value[3:35] != _NO_TRACE and value[36:52] != _NO_SPAN and value[:2] != b"ff"
        if kind == _REQUEST_ID and found.request_id is None:
            found.request_id = value.lower()
            return 0 < len(value) <= 200 and _visible_end(value + b" ", 0) == len(value)
        if kind == _LENGTH and found.length < 0 and len(value) <= 18 and value.isdigit():
            found.length = int(value)
            return True
        if kind == _CONNECTION and not found.connection:
            found.connection = value.lower()
            return found.connection == b"close" or found.connection == b"keep-alive"
        found.cause = value
        return kind == _HOP and value.translate(_DIGITS) == _NO_SPAN

    def _judge(self, name: bytes, *, asked: bool) -> int:
        """What a field is, in a request or in an answer."""
        low, plain = name.lower(), self.plain
        if low in (_ASKED if asked else _ANSWERED):
            return _ASKED[low]
        if _NAME.fullmatch(name) is None or (plain.doubts if asked else plain.claims).fullmatch(low) is not None:
            return _UNUSUAL
        return _TRACED if asked and plain.traces.fullmatch(low) is not None else _OTHER


def _remember(known: dict[bytes, int], text: bytes, what: int) -> int:
    """Keep what was judged, if it is short; when MAX_KNOWN are kept they start over."""
    if len(text) <= MAX_BYTES:
        if len(known) >= MAX_KNOWN:
            known.clear()
        known[text] = what
    return what


def _visible_end(data: bytes, at: i64) -> i64:
    """Where a run of visible ASCII ends, or has a `#`, which no target may have."""
    byte: i64 = data[at]
    while 33 <= byte <= 126 and byte != _HASH:
        at += 1
        byte = data[at]
    return at


def _line_end(data: bytes, at: i64) -> i64:
    """Where the CRLF of a line is; -1 when a CR or LF that stands alone comes first, or a NUL."""
    byte: i64 = data[at]
    while byte > _CR or (byte != _CR and byte != _LF and byte != 0):
        at += 1
        byte = data[at]
    return at if byte == _CR and data[at + 1] == _LF else -1
