"""`/v1/sandboxes/NAME/revisions`, `changes`, `rollback` and `extend`: the specs that it had, and how long it lives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from controlplane.api.access import ROLE, Role
from controlplane.api.body import read_json
from controlplane.api.operations import (
    HIDDEN,
    REGISTRY,
    SANDBOX_NAME,
    Answer,
    Operation,
    Parameter,
    Values,
    json_answer,
    json_items,
    shown,
)
from controlplane.model.history import Differences, Extension, Rollback, SpecRevision
from controlplane.model.problem import Grammar, refused
from controlplane.model.sandbox import Sandbox, ttl_seconds

REVISION = Grammar(r"[1-9][0-9]{0,8}", "a revision, a whole number from 1 on")
FROM = Parameter("from", "query", REVISION, "the revision before; the spec before that of `to`, when left out")
TO = Parameter("to", "query", REVISION, "the revision after; the current one when left out")

_Model = TypeVar("_Model", bound=BaseModel)


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/sandboxes/{name}/revisions", "listRevisions",
            "The specs that a sandbox had, as far as they are kept, the newest first", _revisions,
            {200: Answer("the one that is wanted, and those before", SpecRevision, many=True)},
            (SANDBOX_NAME,), problems=(404,),
        ),
        Operation(
            "GET", "/v1/sandboxes/{name}/changes", "compareRevisions", "What differs between two revisions' specs",
            _changes, {200: Answer("by path", Differences)}, (SANDBOX_NAME, FROM, TO), problems=(404, 422),
        ),
        Operation(
            "POST", "/v1/sandboxes/{name}/rollback", "rollbackSandbox",
            "Make a new revision with the spec of an old one", _rollback,
            {200: Answer("the sandbox, as it is now wanted", Sandbox)},
            (SANDBOX_NAME,), body=Rollback, problems=(404, 408, 409, 413, 415, 422, 503, 507),
        ),
        Operation(
            "POST", "/v1/sandboxes/{name}/extend", "extendSandbox", "Let a sandbox live longer", _extend,
            {200: Answer("the sandbox", Sandbox)},
            (SANDBOX_NAME,), body=Extension, problems=(404, 408, 413, 415, 422, 503, 507),
        ),
    )  # fmt: skip


async def _revisions(request: web.Request, values: Values) -> web.Response:
    return json_items(shown(one, request) for one in request.app[REGISTRY].history.of(values["name"]))


async def _changes(request: web.Request, values: Values) -> web.Response:
    found = request.app[REGISTRY].history.compare(values["name"], _number(values, "from"), _number(values, "to"))
    return json_answer(_without_secrets(found) if request[ROLE] is Role.VIEWER else found)


async def _rollback(request: web.Request, values: Values) -> web.Response:
    asked = await _body(request, Rollback)
    return json_answer(await request.app[REGISTRY].history.rollback(values["name"], asked.revision))


async def _extend(request: web.Request, values: Values) -> web.Response:
    asked = await _body(request, Extension)
    return json_answer(await request.app[REGISTRY].sandboxes.extend(values["name"], ttl_seconds(asked.ttl)))


async def _body(request: web.Request, kind: type[_Model]) -> _Model:
    try:
        return kind.model_validate(await read_json(request), by_alias=True, by_name=False)
    except ValidationError as error:
        raise refused(error) from None


def _number(values: Values, name: str) -> int | None:
    return int(values[name]) if name in values else None


def _without_secrets(found: Differences) -> Differences:
    """As a viewer sees it: that a variable changed, and not to what."""
    changes = []
    for item in found.changes:
        of_variable = ".env" in item.path
        sides = {side: _hidden(value, of_variable) for side, value in item if side in item.model_fields_set}
        changes.append(item.model_copy(update=sides | {"path": item.path}))
    return found.model_copy(update={"changes": tuple(changes)})


def _hidden(value: Any, secret: bool) -> Any:
    if isinstance(value, Mapping):
        return {name: _hidden(part, secret or name == "env") for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(part, secret) for part in value]
    return HIDDEN if secret else value
