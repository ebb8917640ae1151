"""A straightforward reverse proxy on aiohttp's server and client: what one writes first in Python.

    python -m benchmarks.peers.aiohttp_proxy PREFIX LISTEN=TARGET[,SHADOW]...

It streams bodies both ways, keeps connections alive, drops the hop-by-hop fields of RFC 9110 section 7.6.1, leaves
codings as they are, writes no access log and runs on uvloop: nothing in it is slow on purpose. Requests whose
`baggage` has `routing-key=PREFIX...` go to SHADOW, all others to TARGET; all addresses are ports of 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict, CIMultiDictProxy

_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
_ADDED_BY_CLIENT = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
"""What aiohttp's client adds to a request that lacks it; a proxy must not."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def end_to_end(fields: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The fields that a proxy passes on."""
    return CIMultiDict((name, value) for name, value in fields.items() if name.lower() not in _HOP_BY_HOP)


def forwarder(client: ClientSession, prefix: str, target: int, shadow: int) -> Handler:
    """The handler of one listener."""
    marker = f"routing-key={prefix}"

    async def forward(request: web.BaseRequest) -> web.StreamResponse:
        port = shadow if shadow and marker in request.headers.get("baggage", "") else target
        async with client.request(
            request.method,
            f"http://127.0.0.1:{port}{request.rel_url}",
            headers=end_to_end(request.headers),
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as upstream:
            response = web.StreamResponse(
                status=upstream.status, reason=upstream.reason, headers=end_to_end(upstream.headers)
            )
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    return forward


async def serve(prefix: str, hops: list[str]) -> None:
    """Until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=60),
        timeout=ClientTimeout(total=None, sock_connect=5),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_ADDED_BY_CLIENT,
    ) as client:
        runners = []
        for hop in hops:
            listen, _, ports = hop.partition("=")
            target, _, shadow = ports.partition(",")
            server = web.Server(
                forwarder(client, prefix, int(target), int(shadow or 0)), access_log=None, keepalive_timeout=600
            )
            runner = web.ServerRunner(server)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", int(listen), backlog=4096, shutdown_timeout=1).start()
            runners.append(runner)
        await stopped.wait()
        for runner in runners:
            await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2:]))
