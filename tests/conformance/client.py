"""A client that writes exactly what it is told and keeps exactly what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class Client(asyncio.Protocol):
    """One connection to the proxy.

    ended: the proxy closed its side; `reset` when it did so with an RST
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.received = bytearray()
        self.ended = False
        self.reset = False
        self._changed = changed
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, address: tuple[str, int], changed: Callable[[], None]) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(lambda: cls(changed), *address)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed()

    def eof_received(self) -> bool:
        self.ended = True
        self._changed()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.reset = exc is not None
        self._changed()

    def write(self, data: bytes) -> None:
        """Send, unless the proxy has closed already: then there is nobody to read it."""
        assert self._transport is not None
        if not self.ended:
            self._transport.write(data)

    def half_close(self) -> None:
        assert self._transport is not None
        if not self.ended:
            self._transport.write_eof()

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()
