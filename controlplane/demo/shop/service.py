"""What the services of the shop have in common: how one starts, calls another, and tells of an error.

An answer of 400 and above from a called service is handed to the caller as it came, status and body: whoever
asked the frontend reads the very words of the service that refused.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from controlplane.demo.shop.rpc import Method

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CALL_TIMEOUT = aiohttp.ClientTimeout(total=float(os.environ.get("CALL_SECONDS", "15")))
"""Seconds for one call, CALL_SECONDS: by default longer than a sidecar holds a request for a shadow that starts."""

_SESSION = web.AppKey("session", aiohttp.ClientSession)


class RefusedError(Exception):
    """An answer that is not the one asked for: `status`, and a JSON or foreign `body` of `content_type`."""

    def __init__(self, status: int, body: bytes, content_type: str) -> None:
        super().__init__(status)
        self.response = web.Response(status=status, body=body, headers={"Content-Type": content_type})


def variable(name: str) -> str:
    """Where the environment says at which URL the service `name` answers."""
    return f"{name.upper()}_URL"


def refuse(status: int, service: str, detail: str) -> RefusedError:
    """This service's own error: JSON that says who refused and why."""
    body = web.json_response({"service": service, "error": detail}).body
    assert isinstance(body, bytes)
    return RefusedError(status, body, "application/json")


class Caller:
    """Calls other services on behalf of one request.

    forwards: the names of the header fields that are copied from the request to every call, in lower case.
    """

    def __init__(self, service: str, request: web.Request, forwards: Iterable[str]) -> None:
        self._service = service
        self._session = request.app[_SESSION]
        self._headers = {name: request.headers[name] for name in forwards if name in request.headers}

    def set_header(self, name: str, value: str) -> None:
        """Send `name` with every call unless the request brought it along."""
        self._headers.setdefault(name, value)

    async def get(self, name: str, *path: str, **query: str) -> Any:
        """The JSON that the service `name` answers at `path`, given as segments. Raises RefusedError."""
        return await self._call("GET", name, path, query)

    async def post(self, name: str, *path: str, document: object) -> Any:
        return await self._call("POST", name, path, {}, document)

    async def rpc(self, name: str, method: str, document: object) -> Any:
        """What the gRPC method `package.Service/Method` of the service `name` answers. The headers that are handed on
        are its metadata. Raises RefusedError."""
        from controlplane.demo.shop import rpc  # and its engine, which only those load that need it

        seconds = CALL_TIMEOUT.total or 0.0
        try:
            return await rpc.call(os.environ[variable(name)], method, document, self._headers, seconds)
        except TimeoutError:
            raise refuse(504, self._service, f"{name} did not answer within {seconds:g} s") from None
        except (rpc.RpcError, OSError) as error:
            said = error.message if isinstance(error, rpc.RpcError) else error
            raise refuse(502, self._service, f"{name} cannot be reached: {said}") from None

    async def _call(
        self, method: str, name: str, path: tuple[str, ...], query: dict[str, str], document: object = None
    ) -> Any:
        segments = "/".join(quote(segment, safe="") for segment in path)
        url = f"{os.environ[variable(name)]}/{segments}" + (f"?{urlencode(query)}" if query else "")
        try:
            async with self._session.request(method, url, json=document, headers=self._headers) as answer:
                body = await answer.read()
                if answer.status >= 400:
                    raise RefusedError(answer.status, body, answer.headers.get("Content-Type", "text/plain"))
                return await answer.json()
        except TimeoutError:
            raise refuse(504, self._service, f"{name} did not answer within {CALL_TIMEOUT.total:g} s") from None
        except aiohttp.ClientError as error:
            raise refuse(502, self._service, f"{name} cannot be reached: {error}") from None


async def texts(request: web.Request, service: str, *fields: str) -> list[str]:
    """What the request's JSON object says in `fields`, each a text. Raises RefusedError."""
    try:
        document = await request.json()
    except ValueError:
        raise refuse(400, service, "the body is not JSON") from None
    given = document if isinstance(document, dict) else {}
    missing = [name for name in fields if not isinstance(given.get(name), str)]
    if missing:
        raise refuse(400, service, f"the body must say {', '.join(missing)} as text")
    return [given[name] for name in fields]


def serve(
    name: str,
    routes: Iterable[web.RouteDef],
    calls: Iterable[str] = (),
    methods: Mapping[str, Method] | None = None,
) -> None:
    """Run the service `name`, which calls the services `calls`, on PORT until SIGTERM.

    methods: of gRPC, which are served on the same port.

    It listens on loopback, where a sidecar stands before it; HOST says otherwise.

    `GET /health` says when it is ready.
    """

    async def session(app: web.Application) -> Any:
        async with aiohttp.ClientSession(timeout=CALL_TIMEOUT) as app[_SESSION]:
            yield

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"service": name, "status": "ok"})

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except RefusedError as refusal:
            response = refusal.response
        if request.path != "/health":
            print(f"{request.method} {request.path_qs} {response.status}", flush=True)
        return response

    missing = [item for item in ("PORT", *map(variable, calls)) if not os.environ.get(item)]
    if missing:
        sys.exit(f"{name}: set {' and '.join(missing)}")
    app = web.Application(middlewares=[answer])
    app.cleanup_ctx.append(session)
    app.add_routes([web.get("/health", health), *routes])
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])
    if methods is None:
        web.run_app(app, host=host, port=port, print=None, access_log=None)
    else:
        asyncio.run(_serve_both(app, methods, host, port))


async def _serve_both(app: web.Application, methods: Mapping[str, Method], host: str, port: int) -> None:
    """Until SIGTERM or SIGINT."""
    from controlplane.demo.shop.rpc import Choosing

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    server = runner.server
    assert server is not None  # it is set up
    listener = await loop.create_server(lambda: Choosing(server, methods), host, port)
    await stopped.wait()
    listener.close()
    await runner.cleanup()
