"""Ending a connection so that its other end cannot take the end for an orderly one."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

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
