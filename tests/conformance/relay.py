"""A relay that looks at nothing: `python -m tests.conformance.relay PORT=HOST:PORT …`."""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _serve(port: int, host: str, upstream: int) -> asyncio.Server:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            origin, away = await asyncio.open_connection(host, upstream)
            await asyncio.gather(_pump(reader, away), _pump(origin, writer))
            away.close()
            writer.close()

    return await asyncio.start_server(carry, "127.0.0.1", port)


async def main() -> None:
    servers = []
    for pair in sys.argv[1:]:
        port, _, target = pair.partition("=")
        host, _, upstream = target.rpartition(":")
        servers.append(await _serve(int(port), host, int(upstream)))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
