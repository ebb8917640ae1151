"""Where a request goes: its Host field and the forms of its target that are not a path (RFC 9112 section 3.2)."""

from __future__ import annotations

import re

from proxy.errors import BAD_REQUEST, Refused
from proxy.wire.grammar import HOST

_HOST_VALUE = re.compile(HOST)
_ABSOLUTE = re.compile(rb"http://([^/?]*+).*+", re.IGNORECASE)
_AUTHORITY = re.compile(HOST, re.IGNORECASE)


def check_host(hosts: list[bytes], http10: bool) -> None:
    """Exactly one Host on HTTP/1.1, with a valid value; on 1.0 it may be missing. Raises Refused."""
    if len(hosts) > 1:
        raise Refused(BAD_REQUEST, "more than one host field (RFC 9112 section 3.2)")
    if hosts and not _HOST_VALUE.fullmatch(hosts[0].lower()):
        raise Refused(BAD_REQUEST, "the host field is not HOST[:PORT] (RFC 9112 section 3.2)")
    if not hosts and not http10:
        raise Refused(BAD_REQUEST, "the host field is missing (RFC 9112 section 3.2)")


def authority_of(method: bytes, target: bytes) -> bytes:
    """HOST[:PORT] of a target in absolute form, or of that of CONNECT; b"" for `*`. Raises Refused for other targets
    that do not begin with a slash."""
    if method == b"CONNECT":
        host, _, port = target.rpartition(b":")
        if not host or not port.isdigit() or not _AUTHORITY.fullmatch(target):
            raise Refused(BAD_REQUEST, "the target of CONNECT is not HOST:PORT (RFC 9112 section 3.2.3)")
        return target
    if target == b"*":
        if method != b"OPTIONS":
            raise Refused(BAD_REQUEST, "the target `*` is for OPTIONS only (RFC 9112 section 3.2.4)")
        return b""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Refused(BAD_REQUEST, "the target is neither a path nor an http:// URI (RFC 9112 section 3.2)")
    if not absolute[1] or not _AUTHORITY.fullmatch(absolute[1]) or absolute[1].startswith(b":"):
        raise Refused(BAD_REQUEST, "the target's authority is not HOST[:PORT] (RFC 9110 section 4.2.4)")
    return absolute[1]
