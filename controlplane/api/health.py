"""`/live`, `/ready`, `/metrics`, `/openapi.json`: for whoever runs the registry or writes a client."""

from __future__ import annotations

import json
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from controlplane.api.operations import REGISTRY, Answer, Operation, Values, json_answer
from controlplane.api.refused import Refused


class Health(BaseModel):
    """`status` is a word for a person; the HTTP status is what counts."""

    status: str


def operations(metrics: CollectorRegistry, document: Callable[[], dict[str, object]]) -> tuple[Operation, ...]:
    """document: the OpenAPI document, which can only be made when all operations are known."""

    async def expose(_: web.Request, __: Values) -> web.Response:
        return web.Response(body=generate_latest(metrics), headers={"content-type": CONTENT_TYPE_LATEST})

    async def describe(_: web.Request, __: Values) -> web.Response:
        return web.Response(text=json.dumps(document(), indent=1), content_type="application/json")

    return (
        Operation(
            "GET", "/live", "live", "Whether the process answers", _live, {200: Answer("it does", Health)}, open=True
        ),
        Operation(
            "GET", "/ready", "ready", "Whether the registry serves", _ready, {200: Answer("it does", Health)},
            problems=(503,), open=True,
        ),
        Operation(
            "GET", "/metrics", "metrics", "Figures for Prometheus", expose,
            {200: Answer("the figures", media_type="text/plain")},
        ),
        Operation(
            "GET", "/openapi.json", "openapi", "This document", describe,
            {200: Answer("an OpenAPI 3.1 document", Document)},
        ),
    )  # fmt: skip


class Document(BaseModel):
    """An OpenAPI document; its own specification says what is in it."""

    openapi: str


async def _live(_: web.Request, __: Values) -> web.Response:
    return json_answer(Health(status="live"))


async def _ready(request: web.Request, _: Values) -> web.Response:
    registry = request.app[REGISTRY]
    if registry.closing:
        raise Refused(503, "shutting-down", "The registry is shutting down")
    if registry.trouble:
        raise Refused(503, "not-ready", "The registry has a fault", registry.trouble)
    return json_answer(Health(status="ready"))
