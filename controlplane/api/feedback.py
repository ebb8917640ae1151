"""`/v1/sandboxes/NAME/feedback` and `/assertions`: what `controlplane.asking` makes of what the registry knows."""

from __future__ import annotations

import time

from aiohttp import web
from pydantic import ValidationError

from controlplane.api.body import read_json
from controlplane.api.operations import REGISTRY, SANDBOX_NAME, Answer, Operation, Values, json_answer
from controlplane.api.traffic import SINCE, seconds_ago
from controlplane.asking.assertion import assert_routed
from controlplane.asking.feedback import MAX_LINES, Evidence, judge
from controlplane.life.registry import Registry
from controlplane.model.assertion import Claim, Judged
from controlplane.model.feedback import Feedback
from controlplane.model.problem import DocumentError, bounded, field_problems, invalid
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
        Operation(
            "POST", "/v1/sandboxes/{name}/assertions", "assertRouted",
            "Whether requests really reached a shadow, with evidence; it changes nothing", _assert,
            {200: Answer("the claim holds, or what speaks against it", Judged)},
            (SANDBOX_NAME,), body=Claim, problems=(404, 408, 413, 415, 422), asks=True,
        ),
    )  # fmt: skip


async def _feedback(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    sandbox = registry.sandboxes.get(values["name"])
    hops = await _hops(registry, sandbox, values.get("since"))
    return json_answer(judge(await _evidence(registry, sandbox, hops)))


async def _assert(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    sandbox = registry.sandboxes.get(values["name"])
    try:
        claim = Claim.model_validate(await read_json(request), by_alias=True, by_name=False)
    except ValidationError as error:
        raise DocumentError(bounded(field_problems(error))) from None
    fork = next((fork for fork in sandbox.spec.forks if fork.workload == claim.workload), None)
    if fork is None:
        forks = ", ".join(fork.workload for fork in sandbox.spec.forks)
        raise invalid("workload", f"sandbox {sandbox.name!r} does not fork {claim.workload!r}; it forks {forks}")
    serving = sandbox.status.forks if sandbox.status else ()
    current = next((item.revision for item in serving if item.workload == claim.workload), 0)
    hops = await _hops(registry, sandbox, claim.since)
    return json_answer(
        assert_routed(
            hops,
            sandbox=sandbox.name,
            workload=claim.workload,
            revision=claim.revision or current,
            requests=claim.requests,
        )
    )


async def _hops(registry: Registry, sandbox: Sandbox, ago: str | None) -> list[Hop]:
    """Of its key, since so long ago or since its last update, in the order in which they were kept."""
    since = time.time() - seconds_ago(ago) if ago else _updated(sandbox)
    kept = await registry.hops.newest(sandbox.routing_key, JUDGED_HOPS)
    return [item.hop for item in reversed(kept) if item.hop.time >= since]


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
