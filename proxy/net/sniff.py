"""What a client speaks, by its first bytes. Pure: bytes in, a verdict out.

A connection is HTTP/1 or it is opaque, and the earliest byte that tells decides, so that the answer does not depend
on how the bytes were cut into packets. No byte more than is needed is waited for: what cannot begin a request line is
known by its first byte (TLS, most binary protocols) or by its first line (Redis, memcached, SSH).

Two mistakes are possible, and they do not weigh the same. An opaque connection has an upstream of its own, so that
taking HTTP for opaque cannot confuse other requests, but hides these from routing; taking another protocol for
HTTP breaks it with a 400. What tries to be HTTP shall get that 400 and not reach the application unseen, so a line is
HTTP as soon as one of these holds:

1. it begins with a method of RFC 9110 section 9.3 (or PATCH), whatever follows it
2. it is TOKEN SP and a slash: a method that we do not know, and a path
3. `HTTP/` stands in it, in any case
4. it is nothing but the beginning of such a method: `GE` LF
5. it begins with CR or LF: an empty line in front of a request (RFC 9112 section 2.2)

And it is opaque as soon as one of these does: the first byte is none of visible ASCII; it begins like JSON, XML or
syslog; two control characters stand in it, where one may be a slip; it ends without a sign of HTTP; 8 KiB have come
without one.
"""

from __future__ import annotations

import re
from enum import Enum

from proxy.wire.grammar import TOKEN

FIRST_LINE_BYTES = 8192
"""RFC 9112 section 3 wants request lines of 8,000 octets supported; a sign of HTTP stands within them."""

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH")
"""Those that nearly all requests have. Others are recognised by what follows them."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113 section 3.4: how HTTP/2 begins with prior knowledge."""


class Kind(Enum):
    """What a connection carries. The values are labels of a metric.

    HTTP1:        requests; the only ones that are read.
    HTTP2:        with prior knowledge, as gRPC without TLS does.
    TLS:          encrypted for the application.
    SERVER_FIRST: the application spoke before the client did: SMTP, MySQL, SSH.
    DECLARED:     the port was declared opaque; the bytes were not looked at.
    OTHER:        the client began with something else.
    """

    HTTP1 = "http1"
    HTTP2 = "http2"
    TLS = "tls"
    SERVER_FIRST = "server-first"
    DECLARED = "declared"
    OTHER = "other"


_REQUEST = re.compile(rb"(?:%b)(?!%b)(?s:.)|%b++ /|[\r\n]" % (b"|".join(METHODS), TOKEN, TOKEN))
_HTTP_NAME = re.compile(rb"http/", re.IGNORECASE)
_BINARY = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f](?s:.*?)[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DOCUMENT = re.compile(rb"\{[\s\"}]|\[[\s\"\[{\]0-9]|<[?!0-9]")
_TOKEN_ALONE = re.compile(TOKEN + rb"++\r?")


def sniff(data: bytes) -> Kind | None:
    """What begins with `data` (not empty); None when that cannot be told yet."""
    if _REQUEST.match(data):
        return Kind.HTTP1
    first = data[0]
    if not 0x20 <= first < 0x7F and first != 0x09:
        if data == b"\x16":
            return None
        # RFC 8446 section 5.1: a handshake record, its version 3.x
        return Kind.TLS if data.startswith(b"\x16\x03") else Kind.OTHER
    if PREFACE.startswith(data[: len(PREFACE)]):
        return Kind.HTTP2 if len(data) >= len(PREFACE) else None
    if _DOCUMENT.match(data):
        return Kind.OTHER
    line, ended, _ = data[:FIRST_LINE_BYTES].partition(b"\n")
    name, binary = _HTTP_NAME.search(line), _BINARY.search(line)
    if name is not None and (binary is None or name.end() < binary.end()):
        return Kind.HTTP1
    if binary is not None or len(line) == FIRST_LINE_BYTES:
        return Kind.OTHER
    if not ended:
        return None
    word = _TOKEN_ALONE.fullmatch(line)
    beginning = word is not None and any(method.startswith(line.rstrip(b"\r")) for method in METHODS)
    return Kind.HTTP1 if beginning else Kind.OTHER
