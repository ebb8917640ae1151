"""`/v1/sandboxes/NAME/feedback`: what `controlplane.asking.feedback` makes of what the registry knows."""

from __future__ import annotations

import time

from aiohttp import web

from controlplane.api.operations import REGISTRY, SANDBOX_NAME, Answer, Operation, Values, json_answer
from controlplane.api.traffic import SINCE, seconds_ago
from controlplane.asking.feedback import MAX_LINES, Evidence, judge
from controlplane.life.registry import Registry
from controlplane.model.feedback import Feedback
from controlplane.model.sandbox import Sandbox
from proxy.contract.hops import Hop

JUDGED_HOPS = 2_000
"""The newest ones: hundreds of requests, and a tenth of a second to judge."""


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/sandboxes/{name}/feedback", "getFeedback",
            "What happened to its requests since the last update, why, and what to do now", _feedback,
            {200: Answer("the judgement", Feedback)}, (SANDBOX_NAME, SINCE), problems=(404,),
        ),
    )  # fmt: skip


async def _feedback(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    sandbox = registry.sandboxes.get(values["name"])
    since = time.time() - seconds_ago(values["since"]) if "since" in values else _updated(sandbox)
    kept = await registry.hops.newest(sandbox.routing_key, JUDGED_HOPS)
    hops = [item.hop for item in reversed(kept) if item.hop.time >= since]
    return json_answer(judge(await _evidence(registry, sandbox, hops)))


async def _evidence(registry: Registry, sandbox: Sandbox, hops: list[Hop]) -> Evidence:
    copies = await registry.sandboxes.output(sandbox.name, "", MAX_LINES)
    output = {(copy.workload, copy.revision): copy.log.splitlines() for copy in reversed(copies) if copy.log}
    definitions = registry.definitions.all()
    return Evidence(
        sandbox=sandbox,
        hops=hops,
        output=output,
        strangers=dict(registry.intake.strangers),
        programs={item.workload: item.command[0] for item in definitions if item.command},
    )


def _updated(sandbox: Sandbox) -> float:
    """What an older revision did says nothing about this one."""
    return sandbox.status.updated.timestamp() if sandbox.status else 0.0
