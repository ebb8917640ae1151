"""A head: the start line and the field lines, checked by one pattern and read by a few searches.

A head that fits the pattern is well-formed as a whole. What else we need of it is found in a lower-case copy,
because a search for lower-case literals is several times as fast as a pattern that ignores case. Names and framing
values are case-insensitive, so the copy is what we want of them; where case matters (the key in `baggage`, the
target) the same offsets are used on the original.

Only when the pattern does not match is the head looked at line by line (`proxy.wire.diagnose`), to tell an
incomplete head from a bad one and to name what is bad.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, HEAD_TOO_LARGE, Failure, Refused
from proxy.wire.diagnose import diagnose_request, diagnose_response, repair_response
from proxy.wire.framing import NO_BODY, UNTIL_CLOSE, Fields, collect, request_framing, response_framing
from proxy.wire.grammar import CONTENT_LENGTH, FIELD_LINE, FIELD_VALUE, HOST, TARGET, TOKEN


@dataclass(frozen=True, slots=True)
class Limits:
    """What one head may weigh.

    head_bytes:   start line and fields; 64 KiB holds 8 KiB of baggage, cookies and tokens with room to spare
                  (nginx: 32 KiB in all, Envoy: 60 KiB, HAProxy: 16 KiB).
    header_lines: 128, twice what browsers and meshes send (Envoy: 100, HAProxy: 101).
    """

    head_bytes: int = 64 * 1024
    header_lines: int = 128


class RequestHead:
    """A request head that may be forwarded.

    data:       the bytes that it stands at the start of; `end` is where its body begins
    low:        the head in lower case, same offsets
    method:     as sent; methods are case-sensitive (RFC 9110 section 9.1)
    target:     as sent
    authority:  HOST[:PORT] of a target in absolute or authority form, else empty
    http10:     the client speaks HTTP/1.0
    body:       content-length, or CHUNKED
    keep_alive: the client wants to send another request on this connection
    hop:        it has fields for this connection only (RFC 9110 section 7.6.1) that must not be passed on
    options:    what its `connection` fields name, lower case
    upgrade:    the protocols asked for, empty when there is no wish that may be passed on
    """

    __slots__ = (
        "authority",
        "body",
        "data",
        "end",
        "hop",
        "http10",
        "keep_alive",
        "low",
        "method",
        "options",
        "target",
        "upgrade",
    )

    def __init__(self, data: bytes, low: bytes, method: bytes, target: bytes, http10: bool) -> None:
        self.data = data
        self.low = low
        self.end = len(low)
        self.method = method
        self.target = target
        self.authority = b""
        self.http10 = http10
        self.body = NO_BODY
        self.keep_alive = not http10
        self.hop = False
        self.options: frozenset[bytes] = _NO_OPTIONS
        self.upgrade = b""

    def __repr__(self) -> str:
        return f"<RequestHead {self.method.decode()} {self.target.decode()} body={self.body}>"


class ResponseHead:
    """A response head that may be forwarded.

    data:       the bytes that it stands at the start of, repaired where RFC 9112 asks a proxy to repair
    low, end, http10, hop, options: as in RequestHead
    status:     100-599
    body:       content-length, CHUNKED, or UNTIL_CLOSE
    keep_alive: the upstream keeps its connection open after this answer
    idle:       seconds that it says it does (`keep-alive: timeout=`), -1 when it does not say
    upgrade:    the protocol it switches to, or names
    """

    __slots__ = (
        "body",
        "data",
        "end",
        "hop",
        "http10",
        "idle",
        "keep_alive",
        "low",
        "options",
        "status",
        "upgrade",
    )

    def __init__(self, data: bytes, low: bytes, status: int, http10: bool) -> None:
        self.data = data
        self.low = low
        self.end = len(low)
        self.status = status
        self.http10 = http10
        self.body = NO_BODY
        self.keep_alive = not http10
        self.idle = -1
        self.hop = False
        self.options: frozenset[bytes] = _NO_OPTIONS
        self.upgrade = b""

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} body={self.body}>"


_NO_OPTIONS: frozenset[bytes] = frozenset()

_FRAMING_FIELDS = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade):[ \t]*+([^\r]*)"
)
"""What makes a message other than a keep-alive message without a body. Most requests have none of them."""

_HOST_LINE = re.compile(rb"\r\nhost:[ \t]*+" + HOST + rb"[ \t]*+(?=\r\n)")
_ABSOLUTE = re.compile(rb"[a-z][a-z0-9+\-.]*+://([^/?]*+).*", re.IGNORECASE)
_AUTHORITY = re.compile(HOST, re.IGNORECASE)
_IDLE_SECONDS = re.compile(rb"(?:^|[,; \t])timeout=\"?([0-9]{1,6})(?![0-9])")

_HOP_NAMES = frozenset({b"keep-alive", b"proxy-connection", b"upgrade"})
_KEEP_ALIVE = frozenset({b"keep-alive"})

_FRAMING_NAMES = frozenset({b"content-length", b"transfer-encoding", b"host"})
"""Fields that a `connection` field must not name: removing one would change where the message ends or goes."""


class HeadParser:
    """Heads under one set of limits. Keeps no state between calls."""

    __slots__ = ("_request", "_response", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        fields = rb"(?:" + FIELD_LINE + rb"){0,%d}+\r\n" % limits.header_lines
        self._request = re.compile(rb"(" + TOKEN + rb"++) (" + TARGET + rb") HTTP/1\.([01])\r\n" + fields)
        self._response = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: " + FIELD_VALUE + rb")?+\r\n" + fields)

    def request(self, data: bytes) -> RequestHead | None:
        """The request head at the start of `data`, None when it is not complete. Raises Refused."""
        match = self._request.match(data)
        if match is None:
            diagnose_request(data, self.limits.head_bytes, self.limits.header_lines)
            return None
        low = data[: match.end()].lower()
        if len(low) > self.limits.head_bytes:
            raise Refused(HEAD_TOO_LARGE, f"the head has more than {self.limits.head_bytes} bytes")
        method, target, minor = match.groups()
        head = RequestHead(data, low, method, target, minor == b"0")
        host = _HOST_LINE.search(low)
        if host is None or low.find(b"\r\nhost:", host.end()) >= 0:
            _check_host(head)
        if target[0] != 47:  # "/" begins the origin-form; everything else is rare
            _check_target(head)
        if _FRAMING_FIELDS.search(low) is not None:
            _frame_request(head)
        return head

    def response(self, data: bytes, method: bytes) -> ResponseHead | None:
        """The response head at the start of `data`, None when it is not complete. Raises Refused.

        method: of the request that it answers; with the status it decides whether there is a body.
        """
        match = self._response.match(data)
        if match is None:
            if not diagnose_response(data, self.limits.head_bytes, self.limits.header_lines):
                return None
            data = repair_response(data)
            match = self._response.match(data)
            if match is None:
                raise Refused(BAD_RESPONSE, "the head cannot be repaired (RFC 9112 section 5)")
        low = data[: match.end()].lower()
        if len(low) > self.limits.head_bytes:
            raise Refused(BAD_RESPONSE, f"the head has more than {self.limits.head_bytes} bytes")
        minor, status = match.groups()
        head = ResponseHead(data, low, int(status), minor == b"0")
        found = _FRAMING_FIELDS.findall(low)
        if len(found) == 1 and found[0][0] == b"content-length" and head.status >= 200:
            # One length and nothing else to consider: most answers.
            value = found[0][1]
            if method != b"HEAD" and head.status != 304 and head.status != 204 and CONTENT_LENGTH.fullmatch(value):
                head.body = int(value)
                return head
        _frame_response(head, method, collect(found))
        return head


def field_values(head: RequestHead | ResponseHead, name: bytes) -> list[bytes]:
    """All values of a field (`name` in lower case), in the original's case, without surrounding white space."""
    low = head.low
    found = []
    line = b"\r\n" + name + b":"
    start = low.find(line)
    while start >= 0:
        start += len(line)
        stop = low.find(b"\r\n", start)
        found.append(head.data[start:stop].strip(b" \t"))
        start = low.find(line, stop)
    return found


def _check_host(head: RequestHead) -> None:
    """RFC 9112 section 3.2: exactly one Host on HTTP/1.1, with a valid value; on 1.0 it may be missing."""
    hosts = field_values(head, b"host")
    if len(hosts) > 1:
        raise Refused(BAD_REQUEST, "more than one host field (RFC 9112 section 3.2)")
    if hosts:
        raise Refused(BAD_REQUEST, "the host field is not HOST[:PORT] (RFC 9112 section 3.2)")
    if not head.http10:
        raise Refused(BAD_REQUEST, "the host field is missing (RFC 9112 section 3.2)")


def _check_target(head: RequestHead) -> None:
    """The three forms of RFC 9112 section 3.2 that do not begin with a slash."""
    if head.method == b"CONNECT":
        host, colon, port = head.target.rpartition(b":")
        if not host or not colon or not port or not _AUTHORITY.fullmatch(head.target):
            raise Refused(BAD_REQUEST, "the target of CONNECT is not HOST:PORT (RFC 9112 section 3.2.3)")
        head.authority = head.target
        return
    if head.target == b"*":
        if head.method != b"OPTIONS":
            raise Refused(BAD_REQUEST, "the target `*` is for OPTIONS only (RFC 9112 section 3.2.4)")
        return
    absolute = _ABSOLUTE.fullmatch(head.target)
    if absolute is None or not head.target[:7].lower() == b"http://":
        raise Refused(BAD_REQUEST, "the target is neither a path nor an http:// URI (RFC 9112 section 3.2)")
    if not absolute[1] or not _AUTHORITY.fullmatch(absolute[1]) or absolute[1].startswith(b":"):
        raise Refused(BAD_REQUEST, "the target's authority is not HOST[:PORT] (RFC 9110 section 4.2.4)")
    head.authority = absolute[1]


def _frame_request(head: RequestHead) -> None:
    fields = collect(_FRAMING_FIELDS.findall(head.low))
    head.body = request_framing(fields, head.http10)
    head.options = options = _connection_options(fields, BAD_REQUEST)
    head.keep_alive = _persists(options, head.http10)
    wishes = b", ".join(fields.get(b"upgrade", ()))
    # h2c is left out: behind its switch, requests would pass unseen. A wish with a body is legal and never used.
    if b"upgrade" in options and not head.http10 and head.body == NO_BODY and b"h2c" not in wishes:
        head.upgrade = wishes
    head.hop = _has_hop_fields(fields, options)


def _frame_response(head: ResponseHead, method: bytes, fields: Fields) -> None:
    head.options = options = _connection_options(fields, BAD_RESPONSE)
    if head.status < 200:
        # RFC 9110 section 15.2: no content; the connection's fate is the final answer's to tell
        head.upgrade = b", ".join(fields.get(b"upgrade", ()))
    else:
        head.body = response_framing(method, head.status, fields, head.http10)
        head.keep_alive = _persists(options, head.http10) and head.body != UNTIL_CLOSE
        idle = _IDLE_SECONDS.search(b",".join(fields.get(b"keep-alive", ())))
        if idle is not None:
            head.idle = int(idle[1])
    head.hop = _has_hop_fields(fields, options)


def _connection_options(fields: Fields, failure: Failure) -> frozenset[bytes]:
    """What the `connection` fields name (RFC 9110 section 7.6.1), lower case."""
    members = b",".join(fields.get(b"connection", ())).split(b",")
    options = frozenset(member.strip(b" \t") for member in members) - {b""}
    named = options & _FRAMING_NAMES
    if named:
        raise Refused(failure, f"the connection field names {min(named).decode()} (RFC 9110 section 7.6.1)")
    return options


def _persists(options: frozenset[bytes], http10: bool) -> bool:
    """RFC 9112 section 9.3"""
    if b"close" in options:
        return False
    return b"keep-alive" in options if http10 else True


def _has_hop_fields(fields: Fields, options: frozenset[bytes]) -> bool:
    """`connection: keep-alive` alone may stay: it is as true of our next connection as it was of the last."""
    return bool(options - _KEEP_ALIVE) or not fields.keys().isdisjoint(_HOP_NAMES)
