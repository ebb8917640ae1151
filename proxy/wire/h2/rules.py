"""What a header block may say (RFC 9113 sections 8.1 to 8.3). Pure: names and values in, a StreamFault or nothing out.

Values are held to what makes two readers disagree: NUL, CR and LF. Other control characters are left to the recipient,
as with HTTP/1. White space around a value ends the stream of a request, because there are servers that end the
connection for it; in an answer it is left to the client, which could have met it without us.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from proxy.wire.grammar import CONTENT_LENGTH, HOST, METHOD, TARGET
from proxy.wire.h2.faults import PROTOCOL_ERROR, StreamFault

Field = tuple[bytes, bytes]

REQUEST: Final = frozenset({b":method", b":scheme", b":path", b":authority", b":protocol"})
ANSWER: Final = frozenset({b":status"})
TRAILERS: Final[frozenset[bytes]] = frozenset()
"""The pseudo-header fields of each (sections 8.3.1 and 8.3.2, RFC 8441 section 4)."""

_HOP: Final = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
"""Section 8.2.2."""

_NOT_IN_TRAILERS: Final = frozenset({b"content-length", b"host", b"te", b"trailer"})
"""RFC 9110 section 6.5.1: fields that say how the message is read."""

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++")
_METHOD: Final = re.compile(METHOD)
_SCHEME: Final = re.compile(rb"[a-z][a-z0-9+.\-]*+", re.IGNORECASE)
_TARGET: Final = re.compile(TARGET)
_AUTHORITY: Final = re.compile(HOST, re.IGNORECASE)
_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]")
_SPACES: Final = frozenset({b" ", b"\t"})


def check_value(value: bytes) -> None:
    """Raises StreamFault."""
    if 0 in value or 13 in value or 10 in value:  # three looks by machine, where a pattern takes each byte in turn
        raise StreamFault(PROTOCOL_ERROR, "NUL, CR or LF in a value (section 8.2.1)")


def check_ends(value: bytes) -> None:
    """Of a request. Raises StreamFault."""
    if value[:1] in _SPACES or value[-1:] in _SPACES:
        raise StreamFault(PROTOCOL_ERROR, "white space around a value (section 8.2.1)")


def check_fields(fields: Sequence[Field], pseudo: frozenset[bytes]) -> dict[bytes, bytes]:
    """Names, values and order of all fields. Returns the pseudo-header fields. Raises StreamFault."""
    found: dict[bytes, bytes] = {}
    regular = False
    for name, value in fields:
        if name[:1] == b":":
            if regular or name in found or name not in pseudo:
                raise StreamFault(PROTOCOL_ERROR, "a pseudo-header field that is unknown, late or there twice (8.3)")
            found[name] = value
        else:
            regular = True
            if not _NAME.fullmatch(name):
                raise StreamFault(PROTOCOL_ERROR, "a field name that is no lower-case token (section 8.2.1)")
            if name in _HOP or (name == b"te" and value != b"trailers"):
                raise StreamFault(PROTOCOL_ERROR, "a field for one connection only (section 8.2.2)")
        check_value(value)
    return found


def check_request(fields: Sequence[Field]) -> dict[bytes, bytes]:
    """The pseudo-header fields of a request that may be passed on. Raises StreamFault."""
    pseudo = check_fields(fields, REQUEST)
    for _, value in fields:
        check_ends(value)
    method = pseudo.get(b":method", b"")
    if not _METHOD.fullmatch(method):
        raise StreamFault(PROTOCOL_ERROR, "no valid :method (section 8.3.1)")
    authority = pseudo.get(b":authority", b"")
    if not _AUTHORITY.fullmatch(authority):
        raise StreamFault(PROTOCOL_ERROR, "an :authority that is not HOST[:PORT] (section 8.3.1)")
    if method == b"CONNECT" and b":protocol" not in pseudo:
        if not authority or b":scheme" in pseudo or b":path" in pseudo:
            raise StreamFault(PROTOCOL_ERROR, "CONNECT has an :authority, no :scheme and no :path (section 8.5)")
        return pseudo
    if b":protocol" in pseudo and method != b"CONNECT":
        raise StreamFault(PROTOCOL_ERROR, ":protocol without CONNECT (RFC 8441 section 4)")
    if not _SCHEME.fullmatch(pseudo.get(b":scheme", b"")):
        raise StreamFault(PROTOCOL_ERROR, "no valid :scheme (section 8.3.1)")
    check_path(pseudo.get(b":path", b""), method)
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (hosts and not _AUTHORITY.fullmatch(hosts[0])):
        raise StreamFault(PROTOCOL_ERROR, "host twice, or one that is not HOST[:PORT] (RFC 9110 section 7.2)")
    if hosts and authority and hosts[0].lower() != authority.lower():
        raise StreamFault(PROTOCOL_ERROR, "host and :authority differ (section 8.3.1)")
    return pseudo


def check_path(path: bytes, method: bytes) -> None:
    """Raises StreamFault."""
    if not _TARGET.fullmatch(path) or (path[0] != 0x2F and not (path == b"*" and method == b"OPTIONS")):
        raise StreamFault(PROTOCOL_ERROR, "no valid :path (section 8.3.1)")


def check_answer(fields: Sequence[Field]) -> int:
    """The status of an answer that may be passed on. Raises StreamFault."""
    status = check_fields(fields, ANSWER).get(b":status", b"")
    if not _STATUS.fullmatch(status) or status == b"101":
        raise StreamFault(PROTOCOL_ERROR, "no valid :status (sections 8.3.2 and 8.6)")
    return int(status)


def check_trailers(fields: Sequence[Field]) -> None:
    """Raises StreamFault."""
    check_fields(fields, TRAILERS)
    if any(name in _NOT_IN_TRAILERS for name, _ in fields):
        raise StreamFault(PROTOCOL_ERROR, "trailers that say how the message is read (RFC 9110 section 6.5.1)")


def length_of(values: Sequence[bytes]) -> int:
    """What `content-length` says, -1 when it is not there (section 8.1.1). Raises StreamFault."""
    if not values:
        return -1
    if len(values) > 1 or not CONTENT_LENGTH.fullmatch(values[0]):
        raise StreamFault(PROTOCOL_ERROR, "content-length is no number, or several (RFC 9110 section 8.6)")
    return int(values[0])
