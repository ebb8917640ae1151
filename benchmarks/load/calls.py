"""A gRPC call as grpc-go makes it and a server answers it, in frames of HTTP/2 without a table.

As with `benchmarks.traffic`, ids differ in every call; they are the same in every run, so that its cost is.
"""

from __future__ import annotations

from hashlib import sha256
from struct import pack
from typing import Final

from proxy.wire.h2.frames import (
    END_STREAM,
    MAX_WINDOW,
    data_frame,
    header_frames,
    window_frame,
)
from proxy.wire.h2.hpack import NO_TABLE, literals
from proxy.wire.h2.settings import DEFAULT_WINDOW, HEADER_TABLE_SIZE, SETTINGS_ACK, settings_frame

_CALLS: Final = 1_000
_MESSAGE: Final = b"\0" + pack(">I", 100) + b"." * 100

_PSEUDO: Final = b"\x83\x86"
"""POST, http."""
_FIELDS: Final = (
    (b":path", b"/shop.Users/Get"), (b":authority", b"users:8080"), (b"content-type", b"application/grpc"),
    (b"te", b"trailers"), (b"user-agent", b"grpc-go/1.60.0"), (b"grpc-accept-encoding", b"gzip"),
    (b"grpc-timeout", b"5000m"),
)  # fmt: skip
_ANSWER: Final = b"\x88" + literals(((b"server", b"nghttpd"), (b"date", b"Mon, 23 Nov 2026 10:00:00 GMT")))
_TRAILERS: Final = literals(((b"grpc-status", b"0"),))

WIDE: Final = settings_frame(((HEADER_TABLE_SIZE, 0),)) + SETTINGS_ACK + window_frame(0, MAX_WINDOW - DEFAULT_WINDOW)
"""What a peer says first that wants no table and takes 2 GiB before it has to say more."""


def calls(keys: tuple[str, ...]) -> list[bytes]:
    """Blocks of requests, with routing keys in turn."""
    made = []
    for number in range(_CALLS):
        fields = [*_FIELDS]
        if keys:
            fields.append((b"baggage", b"routing-key=" + keys[number % len(keys)].encode()))
        digits = sha256(b"%d" % number).hexdigest().encode() + sha256(b"span %d" % number).hexdigest().encode()
        fields.append((b"traceparent", b"00-%b-%b-01" % (digits[:32], digits[64:80])))
        fields.append((b"x-request-id", digits[32:64]))
        made.append(_PSEUDO + literals(fields))
    return made


def asked(sid: int, block: bytes) -> bytes:
    """A unary call."""
    return header_frames(sid, 0, _first(sid) + block) + data_frame(sid, END_STREAM, _MESSAGE)


def answered(sid: int) -> bytes:
    """Its answer."""
    head = header_frames(sid, 0, _first(sid) + _ANSWER)
    return head + data_frame(sid, 0, _MESSAGE) + header_frames(sid, END_STREAM, _TRAILERS)


def _first(sid: int) -> bytes:
    """The first block of a connection says that no table is used."""
    return NO_TABLE if sid == 1 else b""
