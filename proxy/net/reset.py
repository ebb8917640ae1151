"""Ending a connection so that its other end cannot take the end for an orderly one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Final, cast

from proxy.exchange.ports import Stream

_NO_LINGERING = struct.pack("ii", 1, 0)
"""SO_LINGER on, for zero seconds: closing sends RST."""


def reset(transport: Stream) -> None:
    """Abort, with RST. uvloop's `abort` closes the socket, and one from which all was read is closed with FIN: behind
    an answer without a length (RFC 9112 section 6.3, step 8) that is the answer's regular end."""
    sock = cast(asyncio.BaseTransport, transport).get_extra_info("socket")  # uvloop's do not derive from it
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
    transport.abort()


MOST_LEFT: Final = 1024 * 1024
"""Bytes; an answer that is larger is still being sent, and is cut."""

_READ: Final = 256 * 1024


def left_behind(transport: Stream) -> bytes:
    """What the other end of a connection had sent before it reset it. To be called from `connection_lost`, while the
    socket is still open: a write that fails ends a transport before what has come is read. An application that answers
    an upload early and closes makes its kernel send a reset, and the answer has to reach the client (RFC 9112 section
    9.6)."""
    sock = cast(asyncio.BaseTransport, transport).get_extra_info("socket")
    parts: list[bytes] = []
    size = 0
    with contextlib.suppress(OSError):
        while sock is not None and sock.fileno() >= 0 and size < MOST_LEFT:
            data = os.read(sock.fileno(), _READ)
            if not data:
                break
            parts.append(data)
            size += len(data)
    return b"".join(parts)
