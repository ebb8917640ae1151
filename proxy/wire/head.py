"""A head: the start line and the field lines, checked and read by one pattern in one pass.

The pattern runs over a lower-case copy of the head: names and framing values are case-insensitive, so the copy is what
we want of them, and a pattern that ignores case costs several times as much. Where case matters (method, target, the
key in `baggage`) the same offsets are used on the original.

The pattern captures what nearly every request has. Whatever else could matter, or stands there twice, sets the group
`unusual`; such a head is *not plain*, and its fields are then searched for one by one. So the usual request costs one
pass, and the unusual one is read by code that is simple rather than fast. Measured on ten realistic fields: 1.9 us in
one pass, against 1.1 us for the bare check and 2.8 us for the searches that it replaces.

Only when the pattern does not match is the head looked at line by line (`proxy.wire.diagnose`), to tell an incomplete
head from a bad one and to name what is bad.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, HEAD_TOO_LARGE, Refused
from proxy.wire.connection import connection_options, has_hop_fields, persists
from proxy.wire.diagnose import diagnose_request, diagnose_response
from proxy.wire.framing import NO_BODY, UNTIL_CLOSE, Fields, collect, request_framing, response_framing
from proxy.wire.plain import HOP_LINE_BYTES, Plain
from proxy.wire.repair import repair_lines, repairable_framing, replace_framing
from proxy.wire.target import authority_of, check_host

_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
CLOSE: Final = frozenset({b"close"})

_SHORT: Final = 1024
"""Up to so many bytes the copy in lower case is one of everything that came: that costs less than to look for the end
of the head first."""


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

    data:        the bytes that it stands at the start of; `end` is where its body begins
    low:         the head in lower case, same offsets
    method:      as sent; methods are case-sensitive (RFC 9110 section 9.1)
    authority:   HOST[:PORT] of a target in absolute or authority form, else empty
    http10:      the client speaks HTTP/1.0
    body:        content-length, or CHUNKED
    keep_alive:  the client wants to send another request on this connection
    hop:         it has fields for this connection only (RFC 9110 section 7.6.1) that must not be passed on
    options:     what its `connection` fields name, lower case, without what carries keys and traces
    upgrade:     the protocols asked for, empty when there is no wish that may be passed on
    plain:       nothing unusual stands in it: `baggage` says all that there is to know about its key; where `hop` is
                 set, the one such field is a `connection: close`
    traced:      it has trace context that `traceparent` and `request_id` do not show
    baggage:     the value of its one `baggage` field, None without one
    traceparent: the value of a well-formed `traceparent`, None without one
    request_id:  the value of `x-request-id`, None without one
    cause:       the value of a `skycap-hop` that stands last, as a sidecar writes it; None without one
    tail:        where the field lines end that are to be passed on, and where what is added belongs: in front of the
                 blank line, or of that `skycap-hop`
    lines:       that it has, the first and the empty one too; 0 when nobody has counted them
    """

    # Slots that are all set cost less than defaults of the class: CPython 3.11 reads those without its caches.
    __slots__ = (
        "authority",
        "baggage",
        "body",
        "cause",
        "data",
        "end",
        "hop",
        "http10",
        "keep_alive",
        "lines",
        "low",
        "method",
        "options",
        "plain",
        "request_id",
        "tail",
        "traced",
        "traceparent",
        "upgrade",
    )

    def __init__(
        self,
        data: bytes,
        low: bytes,
        method: bytes,
        body: int = NO_BODY,
        traceparent: bytes | None = None,
        request_id: bytes | None = None,
    ) -> None:
        self.data = data
        self.low = low
        self.end = len(low)
        self.method = method
        self.authority = b""
        self.http10 = False
        self.body = body
        self.keep_alive = True
        self.hop = False
        self.options = _NO_OPTIONS
        self.upgrade = b""
        self.plain = True
        self.baggage: bytes | None = None
        self.traced = False
        self.traceparent = traceparent
        self.request_id = request_id
        self.cause: bytes | None = None
        self.tail = self.end - 2
        self.lines = 0

    def __repr__(self) -> str:
        return f"<RequestHead {self.method.decode('latin-1')} {self.target.decode('latin-1')} body={self.body}>"

    def values(self, name: bytes, /) -> list[bytes]:
        """As in `proxy.routing.fields`."""
        return field_values(self, name)

    def sent(self) -> bytes:
        """The text of the whole head."""
        return self.data[: self.end]

    def among(self, names: frozenset[bytes], /) -> dict[bytes, list[bytes]]:
        """As in `proxy.routing.fields`."""
        found: dict[bytes, list[bytes]] = {}
        for line in _lines_of(names).finditer(self.low):
            value = self.data[line.start(2) : line.end(2)].strip(b" \t")
            found.setdefault(line[1], []).append(value)
        return found

    @property
    def target(self) -> bytes:
        """As sent."""
        start = len(self.method) + 1
        return self.data[start : self.data.find(b" ", start)]


class ResponseHead:
    """A response head that may be forwarded.

    data:       the bytes that it stands at the start of, repaired where `proxy.wire.repair` says so
    low, end, http10, hop, options, plain: as in RequestHead
    status:     100-999; what is above 599 is invalid but in use, and counts as a 5xx (RFC 9110 section 15)
    body:       content-length, CHUNKED, or UNTIL_CLOSE
    keep_alive: the upstream keeps its connection open after this answer
    idle:       seconds that it says it does (`keep-alive: timeout=`), -1 when it does not say
    upgrade:    the protocol it switches to, or names
    claims:     it has fields that only sidecars may say (`skycap-...`)
    """

    __slots__ = (
        "body",
        "claims",
        "data",
        "end",
        "hop",
        "http10",
        "idle",
        "keep_alive",
        "low",
        "options",
        "plain",
        "status",
        "upgrade",
    )

    def __init__(self, data: bytes, low: bytes, status: int, body: int) -> None:
        self.data = data
        self.low = low
        self.end = len(low)
        self.status = status
        self.body = body
        self.claims = False
        self.http10 = False
        self.keep_alive = True
        self.idle = -1
        self.hop = False
        self.options = _NO_OPTIONS
        self.upgrade = b""
        self.plain = True

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} body={self.body}>"


_FRAMING_FIELDS: Final = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade):[ \t]*+([^\r]*+)"
)

_IDLE_SECONDS: Final = re.compile(rb"(?:^|[,; \t])timeout=\"?([0-9]{1,6})(?![0-9])")

BODILESS: Final = frozenset({b"HEAD", b"CONNECT"})
"""Methods whose answers have no body although they have a length."""

_USUAL_OPTIONS: Final = frozenset({b"close", b"keep-alive", b"upgrade"})


class HeadParser:
    """Heads under one set of limits. Keeps no state between calls.

    watched: names of further fields, lower case, that make a request unusual: configured carriers of key or trace.
    """

    __slots__ = ("_kept", "_request", "_response", "limits", "plain")

    def __init__(self, limits: Limits, watched: Sequence[str] = ()) -> None:
        self.limits = limits
        self.plain = plain = Plain(limits.header_lines, watched)
        self._kept = plain.kept.fullmatch
        self._request = plain.request.match
        self._response = plain.response.match

    def request(self, data: bytes) -> RequestHead | None:
        """The request head at the start of `data`, None when it is not complete. Raises Refused.

        Up to two empty lines in front of it are skipped (RFC 9112 section 2.2); then `head.data` begins behind them.
        """
        low = (data if len(data) <= _SHORT else data[: data.find(b"\r\n\r\n") + 4]).lower()
        match = self._request(low)
        if match is not None:
            low = low[: match.end()]
            minor_at = match.start(3)
        # The name of the version is case-sensitive (RFC 9112 section 2.3), and `low` cannot tell.
        if match is None or data[minor_at - 7 : minor_at] != b"HTTP/1." or 0 in low:
            rest = data.removeprefix(b"\r\n").removeprefix(b"\r\n") if data.startswith(b"\r\n") else data
            if rest is not data and not rest.startswith(b"\r\n"):
                return self.request(rest)
            diagnose_request(rest, self.limits.head_bytes, self.limits.header_lines)
            return None
        (
            method, first, minor, host, length, baggage, parent, request_id, connection, cause, unusual, traced,
        ) = match.groups()  # fmt: skip
        if minor > b"1":
            return self.request(_as_1_1(data, minor_at))
        head = RequestHead(
            data, low, data[: len(method)], NO_BODY if length is None else int(length), parent, request_id
        )
        if len(low) > self.limits.head_bytes:
            raise Refused(HEAD_TOO_LARGE, f"the head has more than {self.limits.head_bytes} bytes")
        if baggage is not None:
            start = match.start(6)
            head.baggage = data[start : start + len(baggage)]
        if traced is not None:
            head.traced = True
        if cause is not None:
            head.cause = cause
            head.tail -= HOP_LINE_BYTES
        if unusual is not None or host is None or minor == b"0":
            head.plain = False
            head.http10 = minor == b"0"
            check_host(field_values(head, b"host"), head.http10)
            _frame_request(head)
            if not head.options <= _USUAL_OPTIONS:
                head.options = frozenset(option for option in head.options if not self._kept(option))
        elif connection == b"close":
            head.keep_alive, head.hop, head.options = False, True, CLOSE
        if first != b"/" or method == b"connect":  # "/" begins the origin-form; everything else is rare
            head.authority = authority_of(head.method, head.target)
        return head

    def response(self, data: bytes, method: bytes) -> ResponseHead | None:
        """The response head at the start of `data`, None when it is not complete. Raises Refused.

        method: of the request that it answers; with the status it decides whether there is a body.
        """
        low = (data if len(data) <= _SHORT else data[: data.find(b"\r\n\r\n") + 4]).lower()
        match = self._response(low) if data[:5] == b"HTTP/" else None
        if match is not None:
            low = low[: match.end()]
        if match is None or 0 in low:
            if not diagnose_response(data, self.limits.head_bytes, self.limits.header_lines):
                return None
            return self._mended(repair_lines(data), method)
        if len(low) > self.limits.head_bytes:
            raise Refused(BAD_RESPONSE, f"the head has more than {self.limits.head_bytes} bytes")
        minor, code, length, connection, unusual = match.groups()
        status = int(code)
        if (
            unusual is None
            and length is not None
            and status in PLAIN_STATUS
            and method not in BODILESS
            and minor == b"1"
        ):
            head = ResponseHead(data, low, status, int(length))
            if connection == b"close":
                head.keep_alive, head.hop, head.options = False, True, CLOSE
            return head
        if minor > b"1":
            return self.response(_as_1_1(data, match.start(1)), method)
        fields = collect(_FRAMING_FIELDS.findall(low))
        line = repairable_framing(fields)
        if line is not None:
            return self._mended(replace_framing(data, len(low), line), method)
        head = ResponseHead(data, low, status, NO_BODY)
        head.plain = False
        head.claims = b"\r\nskycap-" in low
        head.http10 = minor == b"0"
        _frame_response(head, method, fields)
        return head

    def _mended(self, data: bytes, method: bytes) -> ResponseHead:
        """The response head of `data`, which was repaired. Its connection is not for another exchange."""
        head = self.response(data, method)
        assert head is not None  # what is repaired is complete
        head.keep_alive = False
        return head


def _as_1_1(data: bytes, minor_at: int) -> bytes:
    """A higher minor version is processed as the highest that we know, and goes on as that (RFC 9110 section 2.5)."""
    return b"%b1%b" % (data[:minor_at], data[minor_at + 1 :])


PLAIN_STATUS: Final = frozenset(range(200, 1000)) - {204, 304}
"""Status codes of final answers that have a body, RFC 9112 section 6.3 (1)."""


@lru_cache(maxsize=16)
def _lines_of(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """Matches a field line in lower case that has one of the names, from its leading CRLF on."""
    return re.compile(rb"\r\n(" + b"|".join(map(re.escape, sorted(names))) + rb"):([^\r]*+)")


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


def _frame_request(head: RequestHead) -> None:
    fields = collect(_FRAMING_FIELDS.findall(head.low))
    head.body = request_framing(fields, head.http10)
    head.options = options = connection_options(fields, BAD_REQUEST)
    head.keep_alive = persists(options, head.http10)
    if b"upgrade" in options and not head.http10:
        wishes = [wish.strip(b" \t") for wish in b",".join(fields.get(b"upgrade", ())).split(b",")]
        # h2c is left out: behind its switch, requests would pass unseen.
        head.upgrade = b", ".join(wish for wish in wishes if wish and not wish.startswith(b"h2c"))
    head.hop = has_hop_fields(fields, options)


def _frame_response(head: ResponseHead, method: bytes, fields: Fields) -> None:
    head.options = options = connection_options(fields, BAD_RESPONSE)
    body = response_framing(method, head.status, fields, head.http10)
    announced: frozenset[bytes] = frozenset()
    if head.status in (204, 304) or head.status < 200:
        # Python's http.client reads chunks behind a 204 or 304 that announces them
        announced = frozenset({b"transfer-encoding"} & fields.keys())
        if head.status != 304 and fields.get(b"content-length", [b"0"]) != [b"0"]:
            announced |= frozenset({b"content-length"})
    if head.status < 200:
        # RFC 9110 section 15.2: no content; the connection's fate is the final answer's to tell
        head.upgrade = b", ".join(fields.get(b"upgrade", ()))
    else:
        head.body = body
        head.keep_alive = persists(options, head.http10) and head.body != UNTIL_CLOSE
        idle = _IDLE_SECONDS.search(b",".join(fields.get(b"keep-alive", ())))
        if idle is not None:
            head.idle = int(idle[1])
    head.hop = has_hop_fields(fields, options) or bool(announced)
    head.options = options | announced
