"""What nearly every head has, as one pattern for requests and one for responses; the rest is unusual.

The pattern captures what a plain head says of itself. Whatever else could matter, or stands there twice, sets the group
`unusual`. These are the rules; `proxy.wire.scan` reads plain heads byte by byte where that is faster, and has to come
to the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from proxy.wire.grammar import HOST, METHOD, REST_OF_LINE, TARGET, TOKEN

_LENGTH: Final = rb"content-length:(?(%d)(?!))[ \t]*+([0-9]{1,18})[ \t]*+(?=\r)"
"""Group %d. When it is set already, or the value is not a number, this does not match and the field is unusual."""

# One line of either kind; beside others, or beside another one, it does not match and the field is unusual.
_CONNECTION: Final = rb"connection:(?(%d)(?!))[ \t]*+(close|keep-alive)[ \t]*+(?=\r)"

_UNUSUAL_FRAMING: Final = rb"content-length|connection|transfer-encoding|keep-alive|proxy-connection|upgrade"

TRACEPARENT: Final = rb"((?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})"

# Groups 4 to 10, each of which matches once; of Host it is enough to know that it is there.
_CAPTURED: Final = (
    rb"host:(?(4)(?!))[ \t]*+" + HOST + rb"()[ \t]*+(?=\r)"
    rb"|" + _LENGTH % 5 + rb"|baggage:(?(6)(?!))[ \t]*+(" + REST_OF_LINE + rb")"
    rb"|traceparent:(?(7)(?!))[ \t]*+" + TRACEPARENT + rb"(?=\r)"
    rb"|x-request-id:(?(8)(?!))[ \t]*+([!-~]{1,200}+)(?=\r)|"
    + _CONNECTION % 9
    + rb"|skycap-hop: ([0-9a-f]{16})(?=\r\n\r\n)"
)
_CAPTURED_NAMES: Final = rb"host|baggage|tracestate|skycap-(?:visited|hop|expect)"
HOP_LINE_BYTES: Final = len("skycap-hop: 0123456789abcdef\r\n")
_TRACE_NAMES: Final = (
    rb"traceparent|x-(?:request-id|b3-[a-z]++|datadog-[a-z\-]++|amzn-trace-id|cloud-trace-context)|b3|request-id"
    rb"|uber-trace-id|elastic-apm-traceparent|sentry-trace|sw8|ot-tracer-[a-z]++"
)
"""Group 12: all fields of `proxy.routing.context`. They are far from rare, and say nothing about the message."""

_OURS: Final = rb"skycap-" + TOKEN + rb"*+"


def _lines(header_lines: int, captured: bytes, unusual: bytes) -> bytes:
    """At most so many field lines and the empty one.

    The outer repeat is greedy, the lines are atomic: captures in a possessive repeat are broken in CPython 3.11 ("the
    span of capturing group is wrong"), and without either a bad head would be tried in every combination.
    """
    other = TOKEN + rb"++:" + REST_OF_LINE
    return rb"(?:(?>%b|(?:%b):%b|%b)\r\n){0,%d}\r\n" % (captured, unusual, REST_OF_LINE, other, header_lines)


class Plain:
    """The rules of plain heads under one limit of field lines. All but `kept` are for heads in lower case.

    watched:  names of further fields that make a request unusual, lower case.

    request:  a request head, from its start.
    response: a response head.
    claims:   names that make a response unusual; doubts: a request; traces: a request `traced`.
    kept:     names that no `connection` field takes away: what names a key or a trace is for every hop, which RFC 9110
              section 7.6.1 tells a client to respect.
    """

    __slots__ = ("claims", "doubts", "kept", "request", "response", "traces")

    def __init__(self, header_lines: int, watched: Sequence[str]) -> None:
        further = b"".join(b"|" + re.escape(name.encode()) for name in watched)
        doubts = _UNUSUAL_FRAMING + rb"|" + _CAPTURED_NAMES + further
        claims = _UNUSUAL_FRAMING + rb"|" + _OURS
        self.doubts = re.compile(doubts)
        self.traces = re.compile(_TRACE_NAMES)
        self.claims = re.compile(claims)
        self.kept = re.compile(rb"baggage|tracestate|" + _OURS + rb"|" + _TRACE_NAMES + further)
        self.request = re.compile(
            rb"(" + METHOD + rb") (?=(.))" + TARGET + rb" http/1\.([0-9])\r\n"
            + _lines(header_lines, _CAPTURED, rb"(" + doubts + rb")|(" + _TRACE_NAMES + rb")")
        )  # fmt: skip
        self.response = re.compile(
            rb"http/1\.([0-9]) ([1-9][0-9][0-9])(?>(?: " + REST_OF_LINE + rb")?)\r\n"
            + _lines(header_lines, _LENGTH % 3 + rb"|" + _CONNECTION % 4, rb"(" + claims + rb")")
        )  # fmt: skip
