"""`/v1/map`: what an environment consists of, made by `controlplane.asking.service_map`."""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from controlplane.api.operations import REGISTRY, Answer, Operation, Values, json_answer
from controlplane.asking.service_map import chart
from controlplane.model.service_map import ServiceMap


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/map", "getMap",
            "The services, who calls whom, how to send each a request, and who forks it now", _map,
            {200: Answer("the map", ServiceMap)},
        ),
    )  # fmt: skip


async def _map(request: web.Request, _: Values) -> web.Response:
    registry = request.app[REGISTRY]
    return json_answer(
        chart(
            registry.workloads(),
            registry.definitions.all(),
            registry.sandboxes.all(),
            Counter(sidecar.workload for sidecar in registry.sidecars.all() if sidecar.connected),
            registry.intake.learned,
            registry.installation.forkable(),
        )
    )
