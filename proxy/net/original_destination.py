"""Where a redirected connection really wanted to go, as the kernel remembers it.

A `redirect` of nftables rewrites the destination of a connection and keeps the original one in its connection
tracking. `getsockopt` with SO_ORIGINAL_DST tells it: linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h,
80 in both families, a `sockaddr_in` or a `sockaddr_in6`.
"""

from __future__ import annotations

import socket
import struct
from typing import Protocol

from proxy.contract.routes import Endpoint

SO_ORIGINAL_DST = 80
IP6T_SO_ORIGINAL_DST = 80

_SOCKADDR_IN = struct.Struct("!2xH4s8x")
_SOCKADDR_IN6 = struct.Struct("!2xH4x16s4x")


class Socket(Protocol):
    """What is asked of a socket; uvloop's are none of the standard library's."""

    @property
    def family(self) -> int: ...

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...
    def getsockname(self) -> tuple[str, int] | tuple[str, int, int, int]: ...


def original_destination(sock: Socket) -> Endpoint | None:
    """The address that the other end dialled; None when it dialled this very socket, or that is not known."""
    try:
        if sock.family == socket.AF_INET6:
            port, address = _SOCKADDR_IN6.unpack(
                sock.getsockopt(socket.IPPROTO_IPV6, IP6T_SO_ORIGINAL_DST, _SOCKADDR_IN6.size)
            )
            found = Endpoint(socket.inet_ntop(socket.AF_INET6, address), port)
        else:
            port, address = _SOCKADDR_IN.unpack(sock.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, _SOCKADDR_IN.size))
            found = Endpoint(socket.inet_ntop(socket.AF_INET, address), port)
    except OSError:
        return None  # not tracked: nothing was redirected
    own = sock.getsockname()
    return None if found == Endpoint(own[0].partition("%")[0], own[1]) else found
