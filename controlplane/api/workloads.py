"""`/v1/workloads`: the baselines that process forks start from."""

from __future__ import annotations

from aiohttp import web

from controlplane.api.body import read_as
from controlplane.api.operations import (
    NAMESPACE,
    REGISTRY,
    WORKLOAD,
    Answer,
    Operation,
    Values,
    json_answer,
    shown,
)
from controlplane.api.pages import PAGED, send_items
from controlplane.life.refusals import NotFound
from controlplane.model.workload import Workload, parse_workload


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/workloads", "listWorkloads", "The baselines that are registered, by name", _list,
            {200: Answer("the baselines", Workload, many=True)}, PAGED,
        ),
        Operation(
            "GET", "/v1/workloads/{namespace}/{name}", "getWorkload", "One baseline", _get,
            {200: Answer("the baseline", Workload)}, (NAMESPACE, WORKLOAD), problems=(404,),
        ),
        Operation(
            "PUT", "/v1/workloads/{namespace}/{name}", "putWorkload",
            "Register a baseline. Shadows that run keep what they were started with", _put,
            {200: Answer("replaced, or as it was", Workload), 201: Answer("registered", Workload)},
            (NAMESPACE, WORKLOAD), body=Workload, problems=(408, 413, 415, 422, 503, 507),
        ),
        Operation(
            "DELETE", "/v1/workloads/{namespace}/{name}", "deleteWorkload",
            "Forget a baseline. Shadows that run go on; none can be started any more", _delete,
            {204: Answer("forgotten")}, (NAMESPACE, WORKLOAD), problems=(404, 503, 507),
        ),
    )  # fmt: skip


def _name(values: Values) -> str:
    return f"{values['namespace']}/{values['name']}"


async def _list(request: web.Request, values: Values) -> web.StreamResponse:
    definitions = request.app[REGISTRY].definitions

    def get(name: str) -> Workload | None:
        found = definitions.get(name)
        return shown(found, request) if found is not None else None

    return await send_items(request, values, [one.workload for one in definitions.all()], get)


async def _get(request: web.Request, values: Values) -> web.Response:
    workload = request.app[REGISTRY].definitions.get(_name(values))
    if workload is None:
        raise _missing(values)
    return json_answer(shown(workload, request))


async def _put(request: web.Request, values: Values) -> web.Response:
    workload = await read_as(request, lambda document: parse_workload(document, _name(values)))
    created = await request.app[REGISTRY].definitions.put(workload)
    return json_answer(workload, 201 if created else 200)


async def _delete(request: web.Request, values: Values) -> web.Response:
    if not await request.app[REGISTRY].definitions.delete(_name(values)):
        raise _missing(values)
    return web.Response(status=204)


def _missing(values: Values) -> NotFound:
    return NotFound(f"no baseline of {_name(values)} is registered")
