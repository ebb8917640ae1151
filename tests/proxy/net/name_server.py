"""A name server on loopback (RFC 1035), of which a test holds the strings."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

A, AAAA = 1, 28
NO_SUCH_NAME = 3


class NameServer(asyncio.DatagramProtocol):
    """names: addresses and TTL by name; what is not there does not exist. deaf: it answers nothing."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[tuple[str, ...], int]] = {}
        self.asked: list[str] = []
        self.deaf = False
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, question = _question(data)
        self.asked.append(name)
        if self.deaf or self._transport is None:
            return
        addresses, ttl = self.names.get(name, ((), 0))
        found = [ipaddress.ip_address(address) for address in addresses]
        packed = [address.packed for address in found if address.version == (4 if kind == A else 6)]
        records = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, ttl, len(one)) + one for one in packed)
        flags = 0x8180 | (0 if name in self.names else NO_SUCH_NAME)
        head = data[:2] + struct.pack(">HHHHH", flags, 1, len(packed), 0, 0)
        self._transport.sendto(head + question + records, addr)


def _question(data: bytes) -> tuple[str, int, bytes]:
    labels, at = [], 12
    while size := data[at]:
        labels.append(data[at + 1 : at + 1 + size].decode().lower())
        at += 1 + size
    (kind,) = struct.unpack(">H", data[at + 1 : at + 3])
    return ".".join(labels), kind, data[12 : at + 5]


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
