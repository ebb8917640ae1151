"""How a connection of the data path is set up: when its buffer is full, and how a vanished peer is noticed."""

from __future__ import annotations

import asyncio
import socket

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024
"""Of a connection's write buffer. uvloop reads at most 256 KiB at a time, so one read fits before reading pauses;
its own low-water mark of 16 bytes would stop and start reading with every packet."""


def set_water_marks(transport: asyncio.BaseTransport) -> None:
    transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)  # type: ignore[attr-defined] # as uvloop's all have


def keep_alive(sock: socket.socket) -> None:
    """TCP keep-alive, so that a peer that vanished without a word is noticed in about two minutes.

    A listening socket hands these options on to the connections that it accepts (Linux, BSD): set there, they cost an
    accepted connection no system call.
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def tune(transport: asyncio.BaseTransport) -> None:
    """A connection that we have made."""
    set_water_marks(transport)
    lent = transport.get_extra_info("socket")
    if lent is not None:
        # uvloop's own would make and detach a socket for every option that is set.
        sock = socket.socket(lent.family, lent.type, lent.proto, lent.fileno())
        try:
            keep_alive(sock)
        finally:
            sock.detach()
