"""An application of HTTP/1.1 with TLS for tests: `python -m tests.http2.secure PORT CERT KEY NAME`.

It says who answered and gives back what it was sent; `/ws` does so as a WebSocket.
"""

from __future__ import annotations

import ssl
import sys

from aiohttp import WSMsgType, web


async def answer(request: web.Request) -> web.StreamResponse:
    if request.path == "/ws":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"{sys.argv[4]}:{message.data}")
        return socket
    if request.path == "/stream":
        streamed = web.StreamResponse()
        await streamed.prepare(request)
        async for data in request.content.iter_any():
            await streamed.write(data)
        return streamed
    return web.Response(text=f"{sys.argv[4]}:", headers={"x-size": str(len(await request.read()))})


def main() -> None:
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), ssl_context=context, print=None)


if __name__ == "__main__":
    main()
