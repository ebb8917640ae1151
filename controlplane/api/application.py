"""The aiohttp application: the table of operations behind the guard."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from aiohttp import web
from prometheus_client import CollectorRegistry

from controlplane.api import (
    diff,
    events,
    feedback,
    files,
    groups,
    handoff,
    health,
    history,
    logs,
    page,
    previews,
    sandboxes,
    service_map,
    sidecars,
    stubs,
    traffic,
    watch,
    workloads,
)
from controlplane.api.access import Access
from controlplane.api.body import MAX_BODY_BYTES
from controlplane.api.connections import Connections
from controlplane.api.guard import guard
from controlplane.api.metrics import RegistryCollector, counting
from controlplane.api.openapi import openapi
from controlplane.api.operations import REGISTRY, Operation
from controlplane.api.refused import problems
from controlplane.api.sessions import Sessions
from controlplane.life.registry import Registry

END_SECONDS = 2.0
"""For requests under way when the registry ends. Watches are cut; a sidecar resumes them elsewhere."""

IDLE_SECONDS = 75.0
"""Between two requests of one connection."""

HEAD_BYTES = 16 * 1024
"""Of one header line and of one field. A token is the largest thing that is sent."""


def application(
    registry: Registry,
    access: Access,
    connections: Connections | None = None,
    metrics: CollectorRegistry | None = None,
) -> web.Application:
    """connections: where it is served, so that they know which of them are at work; None: nobody counts them.

    metrics: where our figures stand beside others.
    """
    metrics = metrics or CollectorRegistry()
    metrics.register(RegistryCollector(registry))

    @cache
    def document() -> dict[str, object]:
        return openapi(operations, version("skycap"))

    operations: tuple[Operation, ...] = (
        *sandboxes.operations(),
        *history.operations(),
        *groups.operations(),
        *files.operations(),
        *stubs.operations(),
        *workloads.operations(),
        *sidecars.operations(),
        *watch.operations(),
        *traffic.operations(),
        *feedback.operations(),
        *previews.operations(),
        *handoff.operations(),
        *events.operations(),
        *service_map.operations(),
        *diff.operations(),
        *logs.operations(),
        *health.operations(metrics, document),
    )
    open_paths = page.OPEN.union(operation.path for operation in operations if operation.open)
    sessions = Sessions(access)
    middlewares = [counting(metrics), problems, guard(access, open_paths, sessions)]
    if connections is not None:
        middlewares.insert(0, connections.middleware())
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    app[REGISTRY] = registry
    app[feedback.COMPARISONS] = diff.Comparisons(registry)
    for operation in operations:
        _add(app, operation)
    page.attach(app, sessions)
    app.on_response_prepare.append(_sign)
    return app


def runner(app: web.Application) -> web.AppRunner:
    """What serves the application on any number of sockets."""
    return web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=IDLE_SECONDS,
        handler_cancellation=True,  # a watch ends with its connection, and so does a wait
        shutdown_timeout=END_SECONDS,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
    )


def _add(app: web.Application, operation: Operation) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        operation.permit(request)
        return await operation.handler(request, operation.values(request))

    app.router.add_route(operation.method, operation.path, handle)
    if operation.method == "GET" and not operation.endless:
        app.router.add_route("HEAD", operation.path, handle)  # RFC 9110 section 9.1: who knows GET knows HEAD


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """State is nobody's to keep, and JSON is nothing for a browser to guess at."""
    response.headers.setdefault("cache-control", "no-store")
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["server"] = "skycap"
