"""What changes in a head on its way through: as little as RFC 9110 section 7.6 demands of an intermediary.

Fields that speak of one connection are removed and those that speak of the next one are written anew; everything
else leaves as the bytes that came, in the order that they came.

No `via` is added (RFC 9110 section 7.6.3 asks a gateway for one): the sidecar and its application are one origin
server to the world, and applications behave differently when they see it (nginx, for one, stops compressing).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from proxy.wire.head import RequestHead, ResponseHead

_ALWAYS: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade"})

CONNECTION: Final = frozenset({b"connection"})

OURS: Final = frozenset({b"skycap-"})
"""A name that ends with a dash stands for all that begin with it: these are for sidecars to say."""

_NOT_FIELDS: Final = frozenset({b"close", b"keep-alive", b"upgrade"})
"""What `connection` usually names: options that are no fields, or are removed anyway."""


@lru_cache(maxsize=64)
def _field_lines(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """Matches every field line that has one of the names, from its leading CRLF on."""
    patterns = [re.escape(name) + (rb"[^:\r]*+" if name.endswith(b"-") else b"") for name in sorted(names)]
    return re.compile(rb"\r\n(?:" + b"|".join(patterns) + rb"):[^\r]*+", re.IGNORECASE)


def _without(fields: bytes, names: frozenset[bytes], nominated: frozenset[bytes]) -> bytes:
    """Field lines, each behind its CRLF, without those that have one of the names.

    names:     of our own choice, so that there are few different sets of them.
    nominated: by the sender (RFC 9110 section 7.6.1). No pattern is made of them: they may be 64 KiB of text that is
               never seen again.
    """
    fields = _field_lines(names).sub(b"", fields)
    if not nominated:
        return fields
    lines = fields.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in nominated)


def _without_connection(head: RequestHead | ResponseHead, end: int) -> bytes:
    """A plain head up to `end`, without its `connection` line: it has one at most, see `proxy.wire.head`."""
    data, low = head.data, head.low
    start = low.find(b"\r\nconnection:")
    if start < 0:
        return data[:end]
    return data[:start] + data[low.find(b"\r\n", start + 2) : end]


def request_head(head: RequestHead, insert: bytes, drop: frozenset[bytes], default_host: bytes) -> bytes:
    """The request head to forward.

    insert:       field lines to add, each with its CRLF.
    drop:         names of fields, lower case, to leave out besides those that concern the client's connection.
    default_host: for an HTTP/1.0 request that has no Host, which HTTP/1.1 needs.
    """
    data, tail = head.data, head.tail
    if not head.authority and not drop:
        if head.plain and head.hop:
            return _without_connection(head, tail) + insert + b"\r\n"
        if not head.hop and not head.http10:
            return data[:tail] + insert + b"\r\n"
    line_end = head.low.find(b"\r\n")
    fields = data[line_end : tail - 2]
    names = _ALWAYS | drop if head.hop or head.http10 else drop
    if head.authority:
        names |= {b"host"}
        insert = b"host: %b\r\n%b" % (head.authority, insert)
    elif head.http10 and b"\r\nhost:" not in head.low:
        insert = b"host: %b\r\n%b" % (default_host, insert)
    fields = _without(fields, names, head.options - _NOT_FIELDS)
    if head.upgrade:
        insert += b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade
    return b"%b %b HTTP/1.1%b\r\n%b\r\n" % (head.method, _origin_form(head), fields, insert)


def _origin_form(head: RequestHead) -> bytes:
    """RFC 9112 section 3.2.1; a target without a path becomes `/`, or `*` for OPTIONS (3.2.4)."""
    if not head.authority:
        return head.target
    rest = head.target.partition(b"://")[2][len(head.authority) :]
    if not rest and head.method == b"OPTIONS":
        return b"*"
    return rest if rest.startswith(b"/") else b"/" + rest


def response_head(head: ResponseHead, insert: bytes, drop: frozenset[bytes]) -> bytes:
    """The response head to forward.

    insert: field lines to add, each with its CRLF.
    drop:   names of fields, lower case, to leave out besides those that concern the upstream's connection.
    """
    data, end = head.data, head.end
    if head.plain and (head.hop or drop) and drop <= CONNECTION:
        return _without_connection(head, end - 2) + insert + b"\r\n"
    if not head.hop and not head.http10 and not drop:
        return data[: end - 2] + insert + b"\r\n"
    names = _ALWAYS | drop if head.hop or head.http10 else drop
    # Behind "HTTP/1.x": the version is always our own (RFC 9110 section 6.2).
    rest = _without(data[8 : end - 4], names, head.options - _NOT_FIELDS)
    if head.status == 101:
        insert += b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade
    return b"HTTP/1.1%b\r\n%b\r\n" % (rest, insert)
