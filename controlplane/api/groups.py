"""`/v1/groups`: several sandboxes under one further routing key."""

from __future__ import annotations

from aiohttp import web

from controlplane.api.body import read_as
from controlplane.api.operations import GROUP_NAME, REGISTRY, Answer, Operation, Values, json_answer
from controlplane.api.pages import PAGED, send_items
from controlplane.life.refusals import NotFound
from controlplane.model.group import GroupManifest, RouteGroup, parse_group


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/groups", "listGroups", "All route groups, by name", _list,
            {200: Answer("the route groups", RouteGroup, many=True)}, PAGED,
        ),
        Operation(
            "PUT", "/v1/groups/{name}", "putGroup",
            "Put several sandboxes under one further routing key, or change which", _put,
            {200: Answer("updated, or as it was", RouteGroup), 201: Answer("created", RouteGroup)},
            (GROUP_NAME,), body=GroupManifest, problems=(408, 409, 413, 415, 422, 503, 507),
        ),
        Operation(
            "GET", "/v1/groups/{name}", "getGroup", "One route group, and where its key leads", _get,
            {200: Answer("the route group", RouteGroup)}, (GROUP_NAME,), problems=(404,),
        ),
        Operation(
            "DELETE", "/v1/groups/{name}", "deleteGroup", "End a route group; its sandboxes go on", _delete,
            {204: Answer("its key leads nowhere any more")}, (GROUP_NAME,), problems=(404, 503, 507),
        ),
    )  # fmt: skip


async def _list(request: web.Request, values: Values) -> web.StreamResponse:
    groups = request.app[REGISTRY].groups
    return await send_items(request, values, groups.names(), groups.get)


async def _put(request: web.Request, values: Values) -> web.Response:
    group = await read_as(request, lambda document: parse_group(document, values["name"]))
    stored, created = await request.app[REGISTRY].groups.apply(group)
    return json_answer(stored, 201 if created else 200)


async def _get(request: web.Request, values: Values) -> web.Response:
    found = request.app[REGISTRY].groups.get(values["name"])
    if found is None:
        raise NotFound(f"there is no route group {values['name']!r}")
    return json_answer(found)


async def _delete(request: web.Request, values: Values) -> web.Response:
    await request.app[REGISTRY].groups.delete(values["name"])
    return web.Response(status=204)
