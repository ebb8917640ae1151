"""Addresses that a program listens on, and the sockets for them."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> Listen:
    """`HOST:PORT` or `[v6]:PORT`; port 0 for a free one. Raises ValueError, which says what to write instead."""
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if not host:
        raise ValueError(f"{text!r} has no host: write 0.0.0.0:{port} for all addresses, 127.0.0.1:{port} for loopback")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, [{host}]:{port}")
    return Listen(host, int(port))


def bind(
    listen: Listen, backlog: int, prepare: Callable[[socket.socket], None] = lambda _: None
) -> list[socket.socket]:
    """Listening sockets for every address of the host, IPv4 and IPv6 separately, all with one port. Raises OSError.

    prepare: sets options on each of them, which accepted connections inherit.

    They listen at once: with SO_REUSEADDR two sockets can be bound to one port as long as neither listens.
    """
    sockets: list[socket.socket] = []
    port = listen.port
    try:
        found = socket.getaddrinfo(listen.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            bound = socket.socket(family, kind, protocol)
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            prepare(bound)
            bound.bind((address[0], port, *address[2:]))
            bound.listen(backlog)
            bound.setblocking(False)
            port = bound.getsockname()[1]
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets
