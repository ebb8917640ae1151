"""`/v1/sidecars` and `/v1/explain`: how far the sidecars are, and what they do with a key."""

from __future__ import annotations

import re

from aiohttp import web
from pydantic import ValidationError

from controlplane.api.access import within
from controlplane.api.body import read_json
from controlplane.api.operations import (
    AT_WORKLOAD,
    EXPLAINED_KEY,
    REGISTRY,
    SIDECAR,
    Answer,
    Operation,
    Values,
    json_answer,
)
from controlplane.api.pages import PAGED, send_items
from controlplane.model.explanation import Explanation
from controlplane.model.problem import SIDECAR_ID, invalid, refused, show
from controlplane.model.sidecar import Sidecar, SidecarReport
from proxy.contract.watch import REPORT_PATH


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/explain", "explain", "What a sidecar does with a routing key, and why", _explain,
            {200: Answer("the decision", Explanation)}, (EXPLAINED_KEY, AT_WORKLOAD),
        ),
        Operation(
            "GET", REPORT_PATH, "listSidecars", "Who watches, and how far each one is", _list,
            {200: Answer("the sidecars, by id", Sidecar, many=True)}, PAGED,
        ),
        Operation(
            "PUT", f"{REPORT_PATH}/{{id}}", "putSidecar", "A sidecar says what it has put to use", _put,
            {204: Answer("noted")}, (SIDECAR,), body=SidecarReport, problems=(408, 413, 415, 422, 503, 507),
            lenient=True, sidecars=True,
        ),
    )  # fmt: skip


async def _explain(request: web.Request, values: Values) -> web.Response:
    return json_answer(request.app[REGISTRY].explain(values["key"], values["workload"]))


async def _list(request: web.Request, values: Values) -> web.StreamResponse:
    sidecars = request.app[REGISTRY].sidecars
    return await send_items(request, values, sidecars.ids(), sidecars.get)


async def _put(request: web.Request, values: Values) -> web.Response:
    if not re.fullmatch(SIDECAR_ID.pattern, values["id"]):
        raise invalid("id", f"{show(values['id'])} is not {SIDECAR_ID.words}")
    try:
        report = SidecarReport.model_validate(await read_json(request), by_alias=True, by_name=False)
    except ValidationError as error:
        raise refused(error) from None
    within(request, report.workload)
    registry = request.app[REGISTRY]
    known = registry.sidecars.get(values["id"])
    if known is not None:
        within(request, known.workload)  # an id is no secret
    # An id that we never gave out belongs to another registry: it acknowledges nothing of ours.
    applied = report.applied_revision if report.applied_revision <= registry.published.revision else 0
    registry.sidecars.reported(values["id"], report.workload, applied, report.version)
    await registry.wake(report.waiting)
    return web.Response(status=204)
