"""An OTLP/HTTP collector as small as one can be: it takes what the real exporter sends, and decodes it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """spans: all that came; resources, scopes: the attributes and names around them; paths, headers: of requests.

    While `stalled` is set, requests are accepted and not answered.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.scopes: list[tuple[str, str]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.stalled = False
        self.released = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_post("/{path:.*}", self._take)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        return runner

    async def _take(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.headers.append(dict(request.headers))
        if self.stalled:
            await self.released.wait()
        message = ExportTraceServiceRequest.FromString(await request.read())
        for around in message.resource_spans:
            self.resources.append(values(around.resource.attributes))
            for scoped in around.scope_spans:
                self.scopes.append((scoped.scope.name, scoped.scope.version))
                self.spans += scoped.spans
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


def values(attributes: Any) -> dict[str, Any]:
    """Plain values by name."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
