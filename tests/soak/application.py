"""What answers behind the sidecars: `python -m tests.soak.application NAME PORT`. Every answer says NAME.

GET  /who                   the name
GET  /slow?ms=N             the name, after a while
GET  /down?size=N&seed=N    a body that the client can compute; &chunked for one without a length
*    /up                    the digest of what was sent
GET  /events?count=N&from=N server-sent events
GET  /socket                WebSocket, echo

Who speaks HTTP/2 on the same port gets the gRPC service (`service`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys

from aiohttp import WSMsgType, web

from tests.soak import service

KEEP_SECONDS = 3
"""How long the application keeps an idle connection; it says so, and the sidecar lets go of it before."""

EVENT_SECONDS = 0.02
PIECE = 1 << 16
NAME = web.AppKey("name", str)


def body(size: int, seed: int) -> bytes:
    """Bytes that differ from place to place: one out of order, missing or twice changes the digest."""
    block = random.Random(seed).randbytes(4093)
    return (block * (size // len(block) + 1))[:size]


async def who(request: web.Request) -> web.Response:
    return web.Response(text=request.app[NAME])


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(int(request.query["ms"]) / 1000)
    return web.Response(text=request.app[NAME])


async def down(request: web.Request) -> web.StreamResponse:
    data = body(int(request.query["size"]), int(request.query["seed"]))
    response = web.StreamResponse()
    if "chunked" not in request.query:
        response.content_length = len(data)
    await response.prepare(request)
    for start in range(0, len(data), PIECE):
        await response.write(data[start : start + PIECE])
    return response


async def up(request: web.Request) -> web.Response:
    digest = hashlib.sha256()
    async for piece in request.content.iter_chunked(PIECE):
        digest.update(piece)
    return web.Response(text=digest.hexdigest())


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    start = int(request.query["from"])
    for number in range(start, start + int(request.query["count"])):
        await response.write(b"id: %d\ndata: %d\n\n" % (number, number * number))
        await asyncio.sleep(EVENT_SECONDS)
    return response


async def socket(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse(max_msg_size=0)
    await response.prepare(request)
    async for message in response:
        if message.type is WSMsgType.TEXT:
            await response.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await response.send_bytes(message.data)
    return response


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["x-name"] = request.app[NAME]
    response.headers["keep-alive"] = f"timeout={KEEP_SECONDS}"


async def main(name: str, port: int) -> None:
    application = web.Application(client_max_size=1 << 30)
    application[NAME] = name
    application.on_response_prepare.append(_sign)
    for path, handler in (("/who", who), ("/slow", slow), ("/down", down), ("/up", up), ("/events", events)):
        application.router.add_route("*", path, handler)
    application.router.add_get("/socket", socket)
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=KEEP_SECONDS)
    await runner.setup()
    web_server, calls = runner.server, await service.serve(name)
    assert web_server is not None
    await asyncio.get_running_loop().create_server(lambda: service.Choosing(web_server, calls), "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
