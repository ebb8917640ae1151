"""`/v1/sandboxes/NAME/report`: what a sandbox changes, what speaks for it, and what reviewers say of it."""

from __future__ import annotations

from aiohttp import web

from controlplane.api.access import ROLE, Role
from controlplane.api.diff import hops_of
from controlplane.api.feedback import judged
from controlplane.api.operations import REGISTRY, SANDBOX_NAME, Answer, Operation, Values, json_answer
from controlplane.asking.changes import differences
from controlplane.asking.testers import of_the_tester
from controlplane.hops.tree import grow, served_by_shadow
from controlplane.life.registry import Registry
from controlplane.model.hop import Trace, TraceHop
from controlplane.model.report import Change, Report
from controlplane.model.sandbox import Sandbox
from proxy.contract.hops import hop_document

LOOKED_AT = 500
"""Of the newest hops, for a sample: the requests of the last test."""


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/sandboxes/{name}/report", "getReport",
            "What it changes, what speaks for it, and what reviewers say", _report,
            {200: Answer("the report", Report)}, (SANDBOX_NAME,), problems=(404,),
        ),
    )  # fmt: skip


async def _report(request: web.Request, values: Values) -> web.Response:
    found = await handoff(request, values["name"])
    if request[ROLE] is Role.VIEWER:
        hidden = tuple(link.model_copy(update={"url": None, "handoff": None}) for link in found.previews)
        found = found.model_copy(update={"previews": hidden})
    return json_answer(found)


async def handoff(request: web.Request, name: str) -> Report:
    """Raises NotFound."""
    registry = request.app[REGISTRY]
    sandbox = registry.sandboxes.get(name)
    assert sandbox.status is not None
    judgement = await judged(request, sandbox, await hops_of(registry, sandbox, None))
    shared = registry.handoffs.get(name)
    notes = [link.note for link in shared.links if link.note]
    return Report(
        sandbox=name,
        routing_key=sandbox.routing_key,
        phase=sandbox.status.phase,
        revision=sandbox.status.revision,
        updated=sandbox.status.updated,
        expires=sandbox.status.expires,
        owner=sandbox.metadata.owner,
        description=sandbox.metadata.description,
        note=notes[-1] if notes else None,
        verdict=judgement.verdict,
        summary=judgement.summary,
        requests=judgement.routing.requests,
        changes=await _changes(registry, sandbox),
        evidence=shared.evidence,
        sample=await _sample(registry, sandbox),
        reviews=shared.reviews,
        previews=registry.handoffs.previews(name),
    )


async def _changes(registry: Registry, sandbox: Sandbox) -> tuple[Change, ...]:
    assert sandbox.status is not None
    pushed = await registry.pushing.compared(sandbox.name, "")
    states = {fork.workload: fork for fork in sandbox.status.forks}
    return tuple(
        Change(
            workload=fork.workload,
            state=states[fork.workload].state.value,
            revision=states[fork.workload].revision,
            differences=differences(fork, registry.definitions.get(fork.workload)),
            files=tuple(file for file in pushed if file.workload == fork.workload),
            message=states[fork.workload].message,
        )
        for fork in sandbox.spec.forks
    )


async def _sample(registry: Registry, sandbox: Sandbox) -> Trace | None:
    """The newest request that a shadow answered, without messages: they are for who may see the traffic."""
    newest = await registry.hops.newest(sandbox.routing_key, LOOKED_AT)
    hops = of_the_tester([kept.hop for kept in newest])
    served = [hop for hop in hops if served_by_shadow(hop) and hop.trace]
    good = next((hop for hop in served if not hop.failed), served[0] if served else None)
    if good is None:
        return None
    hops = await registry.hops.trace(sandbox.routing_key, good.trace)
    nodes = [
        TraceHop.model_validate(
            {**hop_document(node.hop), "request": None, "response": None, "depth": depth, "detached": node.detached}
        )
        for top in grow(hops)
        for depth, node in top.walk()
    ]
    return Trace(id=good.trace, sandbox=sandbox.name, hops=tuple(nodes))
