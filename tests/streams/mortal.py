"""An application that a test kills: `python -m tests.streams.mortal FD websocket|events`, on an inherited socket.

It says one thing on every connection, and then nothing until it dies.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve


async def main(listening: socket.socket, kind: str) -> None:
    for_ever = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        await connection.send("alive")
        await for_ever.wait()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: alive\n\n")
        await for_ever.wait()
        return response

    if kind == "websocket":
        async with serve(talk, sock=listening):
            await for_ever.wait()
    application = web.Application()
    application.router.add_get("/{path:.*}", stream)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    await for_ever.wait()


if __name__ == "__main__":
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]))
