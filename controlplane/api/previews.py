"""`/v1/sandboxes/NAME/previews`, `/reviews`, `/evidence`: what is shared of a sandbox, and what comes back."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from controlplane.api.access import ROLE, Role
from controlplane.api.body import read_as
from controlplane.api.operations import (
    REGISTRY,
    SANDBOX_NAME,
    Answer,
    Operation,
    Parameter,
    Values,
    json_answer,
    json_items,
)
from controlplane.model.handoff import (
    Evidence,
    EvidenceRequest,
    PreviewRequest,
    PreviewStatus,
    Review,
    ReviewRequest,
)
from controlplane.model.problem import NAME, refused

_PREVIEW = Parameter("preview", "path", NAME, "the link's id, or its name for all of that name", True, "web")
_Model = TypeVar("_Model", bound=BaseModel)

_WRITES = (404, 408, 413, 415, 422, 503, 507)


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/sandboxes/{name}/previews", "listPreviews", "The links into a sandbox", _list,
            {200: Answer("the links", PreviewStatus, many=True)}, (SANDBOX_NAME,), problems=(404,),
        ),
        Operation(
            "POST", "/v1/sandboxes/{name}/previews", "createPreview",
            "A link that leads a browser into the sandbox. Its second secret, if it has one, is told only now", _create,
            {201: Answer("the link", PreviewStatus)}, (SANDBOX_NAME,), body=PreviewRequest, problems=_WRITES,
        ),
        Operation(
            "DELETE", "/v1/sandboxes/{name}/previews/{preview}", "revokePreview",
            "From now on the link leads nowhere", _revoke,
            {204: Answer("revoked")}, (SANDBOX_NAME, _PREVIEW), problems=(404, 503, 507),
        ),
        Operation(
            "GET", "/v1/sandboxes/{name}/reviews", "listReviews", "What reviewers have said, the oldest first",
            _reviews,
            {200: Answer("the words", Review, many=True)}, (SANDBOX_NAME,), problems=(404,),
        ),
        Operation(
            "POST", "/v1/sandboxes/{name}/reviews", "addReview", "Words about the change, for whoever works on it",
            _say,
            {201: Answer("as they are kept", Review)}, (SANDBOX_NAME,), body=ReviewRequest, problems=_WRITES,
        ),
        Operation(
            "POST", "/v1/sandboxes/{name}/evidence", "addEvidence",
            "What was run against the sandbox and how it ended, for its report", _show,
            {201: Answer("as it is kept", Evidence)}, (SANDBOX_NAME,), body=EvidenceRequest, problems=_WRITES,
        ),
    )  # fmt: skip


async def _list(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    links = registry.handoffs.previews(registry.sandboxes.get(values["name"]).name)
    if request[ROLE] is Role.VIEWER:  # a link lets whoever has it in
        links = tuple(link.model_copy(update={"url": None, "handoff": None}) for link in links)
    return json_items(links)


async def _create(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    sandbox = registry.sandboxes.get(values["name"])
    wanted = await read_as(request, lambda document: parsed(PreviewRequest, document))
    return json_answer(await registry.handoffs.make(sandbox, wanted), 201)


async def _revoke(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    await registry.handoffs.revoke(registry.sandboxes.get(values["name"]).name, values["preview"])
    return web.Response(status=204)


async def _reviews(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    return json_items(registry.handoffs.get(registry.sandboxes.get(values["name"]).name).reviews)


async def _say(request: web.Request, values: Values) -> web.Response:
    said = await read_as(request, lambda document: parsed(ReviewRequest, document))
    return json_answer(await request.app[REGISTRY].handoffs.review(values["name"], said), 201)


async def _show(request: web.Request, values: Values) -> web.Response:
    shown = await read_as(request, lambda document: parsed(EvidenceRequest, document))
    return json_answer(await request.app[REGISTRY].handoffs.keep(values["name"], "run", shown), 201)


def parsed(kind: type[_Model], document: object) -> _Model:
    """Raises DocumentError with every problem."""
    try:
        return kind.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise refused(error) from None
