"""`/v1/sandboxes/NAME/stubs`: what the requests of a sandbox get somewhere, instead of what they would."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, Field, ValidationError

from controlplane.api.body import read_as
from controlplane.api.operations import REGISTRY, SANDBOX_NAME, Answer, Operation, Values, json_answer
from controlplane.life.refusals import NotFound
from controlplane.model.problem import refused
from controlplane.model.sandbox import Resource, Sandbox
from controlplane.model.stub import Stub, checked_stubs
from proxy.contract.rules import MAX_RULES


class Stubs(Resource):
    """All stubs of a sandbox, in their order."""

    items: Annotated[tuple[Stub, ...], Field(max_length=MAX_RULES), AfterValidator(checked_stubs)] = Field(
        description="in their order; the first that matches is applied"
    )


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/sandboxes/{name}/stubs", "getStubs", "The stubs of a sandbox", _get,
            {200: Answer("in their order", Stubs)}, (SANDBOX_NAME,), problems=(404,),
        ),
        Operation(
            "PUT", "/v1/sandboxes/{name}/stubs", "putStubs",
            "Replace the stubs of a sandbox; an empty list ends them. The sidecars are told before this answers",
            _put, {200: Answer("as they are now", Stubs)}, (SANDBOX_NAME,), body=Stubs,
            problems=(404, 408, 409, 413, 415, 422, 503, 507),
        ),
    )  # fmt: skip


async def _get(request: web.Request, values: Values) -> web.Response:
    return json_answer(_of(request.app[REGISTRY].sandboxes.get(values["name"])))


async def _put(request: web.Request, values: Values) -> web.Response:
    wanted = (await read_as(request, _parse)).items or None
    name = values["name"]

    async def change(found: Sandbox | None) -> Sandbox:
        if found is None:
            raise NotFound(f"there is no sandbox {name!r}")
        return found.model_copy(update={"spec": found.spec.model_copy(update={"stubs": wanted}), "status": None})

    return json_answer(_of(await request.app[REGISTRY].sandboxes.change(name, change)))


def _of(sandbox: Sandbox) -> Stubs:
    return Stubs(items=sandbox.spec.stubs or ())


def _parse(document: Any) -> Stubs:
    try:
        return Stubs.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise refused(error) from None
