"""A client of bytes that is gone when its work is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.faults.peers import Peer


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield peer
    finally:
        peer.close()
        with contextlib.suppress(OSError):
            await peer.writer.wait_closed()
