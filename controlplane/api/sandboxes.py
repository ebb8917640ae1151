"""`/v1/sandboxes`: create, update, look, wait, delete."""

from __future__ import annotations

from aiohttp import web

from controlplane.api.body import read_as
from controlplane.api.operations import (
    GONE_WAIT,
    REGISTRY,
    RESTART,
    SANDBOX_NAME,
    SETTLED_WAIT,
    Answer,
    Operation,
    Parameter,
    Values,
    json_answer,
    shown,
    wait_seconds,
)
from controlplane.api.pages import PAGED, send_items
from controlplane.model.problem import LABEL, WORKLOAD_NAME, Grammar, invalid, show
from controlplane.model.sandbox import Manifest, Sandbox, parse_sandbox
from controlplane.model.selection import Selection

_WORDS = r"[^\x00-\x1f\x7f]"
OWNER = Parameter("owner", "query", Grammar(rf"{_WORDS}{{1,200}}", "1 to 200 characters"), "only those of this owner")
LABELLED = Parameter(
    "label", "query", Grammar(rf"{LABEL.pattern}={_WORDS}{{0,200}}", "NAME=VALUE"),
    "only those with this label; may be repeated, then with all of them", example="team=payments", many=True,
)  # fmt: skip
DESCRIBED = Parameter(
    "description", "query", Grammar(rf"{_WORDS}{{1,200}}", "1 to 200 characters"),
    "only those whose description has this in it, in whichever case",
)  # fmt: skip
FORKED = Parameter("workload", "query", WORKLOAD_NAME, "only those that fork it", example="shop/users")


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/sandboxes", "listSandboxes", "All sandboxes, by name", _list,
            {200: Answer("the sandboxes", Sandbox, many=True)}, (OWNER, LABELLED, DESCRIBED, FORKED, *PAGED),
        ),
        Operation(
            "PUT", "/v1/sandboxes/{name}", "putSandbox",
            "Create or update a sandbox. The same spec again makes no revision and restarts the TTL", _put,
            {200: Answer("updated, or as it was", Sandbox), 201: Answer("created", Sandbox)},
            (SANDBOX_NAME, RESTART), body=Manifest, problems=(408, 409, 413, 415, 422, 503, 507),
        ),
        Operation(
            "GET", "/v1/sandboxes/{name}", "getSandbox", "One sandbox, at once or as soon as it is settled", _get,
            {200: Answer("the sandbox", Sandbox)}, (SANDBOX_NAME, SETTLED_WAIT), problems=(404,),
        ),
        Operation(
            "DELETE", "/v1/sandboxes/{name}", "deleteSandbox", "Remove the routes, then stop the shadows", _delete,
            {202: Answer("its shadows are being stopped", Sandbox), 204: Answer("nothing is left of it")},
            (SANDBOX_NAME, GONE_WAIT), problems=(404, 503, 507),
        ),
    )  # fmt: skip


async def _list(request: web.Request, values: Values) -> web.StreamResponse:
    sandboxes = request.app[REGISTRY].sandboxes
    find = sandboxes.finder()

    def get(name: str) -> Sandbox | None:
        found = find(name)
        return shown(found, request) if found is not None else None

    labels = dict(text.split("=", 1) for text in request.query.getall("label", []))
    selection = Selection(values.get("owner", ""), labels, values.get("description", ""), values.get("workload", ""))
    return await send_items(request, values, sandboxes.names(selection), get)


async def _put(request: web.Request, values: Values) -> web.Response:
    sandbox = await read_as(request, lambda document: parse_sandbox(document, values["name"]))
    asked = values.get("restart", "")
    workloads = frozenset(fork.workload for fork in sandbox.spec.forks)
    if asked not in {"", "true", *workloads}:
        raise invalid("?restart", f"{show(asked)} is no fork of this sandbox")
    restart = workloads if asked == "true" else frozenset(filter(None, [asked]))
    stored, created = await request.app[REGISTRY].sandboxes.apply(sandbox, restart)
    return json_answer(stored, 201 if created else 200)


async def _get(request: web.Request, values: Values) -> web.Response:
    sandboxes = request.app[REGISTRY].sandboxes
    return json_answer(shown(await sandboxes.settled(values["name"], wait_seconds(values)), request))


async def _delete(request: web.Request, values: Values) -> web.Response:
    sandboxes = request.app[REGISTRY].sandboxes
    await sandboxes.delete(values["name"])
    left = await sandboxes.gone(values["name"], wait_seconds(values))
    return web.Response(status=204) if left is None else json_answer(left, 202)
