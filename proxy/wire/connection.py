"""What a message says of its connection: whether another one follows on it, and what is for this hop alone
(RFC 9110 section 7.6.1, RFC 9112 section 9.3)."""

from __future__ import annotations

from typing import Final

from proxy.errors import Failure, Refused
from proxy.wire.framing import Fields

_HOP_NAMES: Final = frozenset({b"keep-alive", b"proxy-connection", b"upgrade"})
_KEEP_ALIVE: Final = frozenset({b"keep-alive"})

_FRAMING_NAMES: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})
"""Fields that a `connection` field must not name: removing one would change where the message ends or goes."""


def connection_options(fields: Fields, failure: Failure) -> frozenset[bytes]:
    """What the `connection` fields name (RFC 9110 section 7.6.1), lower case."""
    members = b",".join(fields.get(b"connection", ())).split(b",")
    options = frozenset(member.strip(b" \t") for member in members) - {b""}
    named = options & _FRAMING_NAMES
    if named:
        raise Refused(failure, f"the connection field names {min(named).decode()} (RFC 9110 section 7.6.1)")
    return options


def persists(options: frozenset[bytes], http10: bool) -> bool:
    """RFC 9112 section 9.3"""
    if b"close" in options:
        return False
    return b"keep-alive" in options if http10 else True


def has_hop_fields(fields: Fields, options: frozenset[bytes]) -> bool:
    """`connection: keep-alive` alone may stay: it is as true of our next connection as it was of the last."""
    return bool(options - _KEEP_ALIVE) or not fields.keys().isdisjoint(_HOP_NAMES)
