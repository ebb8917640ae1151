"""A registry of which a test holds the strings: a real HTTP server on loopback that speaks the watch as told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from proxy.contract.watch import Event, encode_event

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Watch:
    """One open connection of a sidecar."""

    def __init__(self, request: web.Request, response: web.StreamResponse, transport: asyncio.Transport) -> None:
        self.request = request
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()
        """Set when the connection is over, whoever ended it."""
        self._response = response
        self._transport = transport

    @property
    def last_event_id(self) -> str | None:
        return self.request.headers.get("last-event-id")

    async def send(self, *parts: Event | bytes) -> None:
        await self._response.write(b"".join(part if isinstance(part, bytes) else encode_event(part) for part in parts))

    def close(self) -> None:
        """A proper end of the answer."""
        self.ended.set()

    def cut(self) -> None:
        """As kill -9 of the registry: a reset in the middle of whatever was sent."""
        self._transport.abort()
        self.ended.set()


class Registry:
    """answer: takes the place of the next watches' answers when set.
    report_answer: takes the place of the answers to reports when set."""

    def __init__(self) -> None:
        self.watches: asyncio.Queue[Watch] = asyncio.Queue()
        self.reports: list[dict[str, Any]] = []
        self.requests: list[web.Request] = []
        self.answer: Answer | None = None
        self.report_answer: Answer | None = None
        self.port = 0
        self._open: set[Watch] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Again on the same port after `stop`."""
        application = web.Application()
        application.router.add_get("/v1/watch/routes", self._watch)
        application.router.add_put("/v1/sidecars/{instance}", self._report)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for watch in list(self._open):
            watch.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def watch(self) -> Watch:
        """The next connection."""
        async with asyncio.timeout(20):
            return await self.watches.get()

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.answer is not None:
            return await self.answer(request)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        watch = Watch(request, response, request.transport)
        self._open.add(watch)
        self.watches.put_nowait(watch)
        try:
            await watch.ended.wait()
        finally:
            self._open.discard(watch)
            watch.gone.set()
        return response

    async def _report(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.reports.append(await request.json())
        if self.report_answer is not None:
            return await self.report_answer(request)
        return web.json_response({})
