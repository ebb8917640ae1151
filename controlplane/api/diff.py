"""`POST /v1/sandboxes/NAME/diff`: recorded requests once more, to baseline and shadow; and the same for one suspect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiohttp import web

from controlplane.api.body import read_as
from controlplane.api.operations import REGISTRY, SANDBOX_NAME, Answer, Operation, Values, json_answer
from controlplane.api.traffic import seconds_ago
from controlplane.asking.diff import outcome, recorded
from controlplane.asking.quoted import Comparison
from controlplane.asking.replay import SAFE, Again, fields_again, message, replay
from controlplane.asking.testers import of_the_tester
from controlplane.life.registry import Registry
from controlplane.model.diff import Compared, Diff, DiffQuery
from controlplane.model.feedback import Suspect
from controlplane.model.problem import invalid, validated
from controlplane.model.sandbox import Sandbox
from proxy.contract.hops import Hop

JUDGED_HOPS = 2_000
"""The newest ones: hundreds of requests, and a tenth of a second to judge."""

ANSWER_SECONDS = 10.0
SUSPECT_SECONDS = 0.5
"""For an answer. Who asks for feedback does not wait for a suspect that is slow."""

AT_ONCE = 4
"""Requests that are compared at once, each with three answers."""

KEPT_COMPARISONS = 256
"""Of suspects: who asks for feedback again gets the same, and nobody is asked again."""


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "POST", "/v1/sandboxes/{name}/diff", "diffSandbox",
            "Send recorded requests that change nothing to baseline and shadow again, and say how their answers differ",
            _diff, {200: Answer("what differs, and what is noise", Diff)},
            (SANDBOX_NAME,), body=DiffQuery, problems=(404, 408, 413, 415, 422),
        ),
    )  # fmt: skip


async def hops_of(registry: Registry, sandbox: Sandbox, ago: str | None) -> list[Hop]:
    """Of its key, since so long ago or since its last update, in the order in which they were kept, as far as they
    are of the tester's requests."""
    since = time.time() - seconds_ago(ago) if ago else _updated(sandbox)
    kept = await registry.hops.newest(sandbox.routing_key, JUDGED_HOPS)
    return of_the_tester([item.hop for item in reversed(kept) if item.hop.time >= since])


def _updated(sandbox: Sandbox) -> float:
    """What an older revision did says nothing about this one."""
    return sandbox.status.updated.timestamp() if sandbox.status else 0.0


async def _diff(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    sandbox = registry.sandboxes.get(values["name"])
    query = await read_as(request, lambda document: validated(DiffQuery, document))
    forks = [fork.workload for fork in sandbox.spec.forks]
    if query.workload is not None and query.workload not in forks:
        message = f"sandbox {sandbox.name!r} does not fork {query.workload!r}; it forks {', '.join(forks)}"
        raise invalid("workload", message)
    hops = await hops_of(registry, sandbox, query.since)
    workloads = [query.workload] if query.workload else forks
    found = recorded(hops, workloads, query.path or "/", query.requests)
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(hop: Hop) -> Compared:
        async with at_once:
            return await _compared(registry, sandbox, hop)

    compared = await asyncio.gather(*map(one, found.requests))
    revision = sandbox.status.revision if sandbox.status else 0
    return json_answer(outcome(sandbox.name, revision, compared, found.skipped))


async def _compared(registry: Registry, sandbox: Sandbox, hop: Hop) -> Compared:
    definition = registry.definitions.get(hop.workload)
    fields = fields_again(hop.request)
    told = Compared(workload=hop.workload, request=f"{hop.method} {hop.path}", trace=hop.trace, headers=bool(fields))
    if definition is None:
        return told.model_copy(update={"problem": f"no baseline of {hop.workload} is registered"})
    again = Again(definition.address, hop.method, hop.path, fields, hop.status)
    found = await replay(again, sandbox.routing_key, sandbox.name, hop.workload, ANSWER_SECONDS)
    return told.model_copy(
        update={
            "baseline_status": found.baseline.status if found.baseline else 0,
            "shadow_status": found.shadow.status if found.shadow else 0,
            "differs": found.differs,
            "noise": found.noise,
            "problem": found.problem,
        }
    )


class Comparisons:
    """What the answers of suspects were found to be beside the baseline's, by suspect; the oldest are forgotten."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[tuple[str, str, int, str], Comparison] = {}

    async def of(self, sandbox: Sandbox, suspect: Suspect) -> Comparison:
        which = (sandbox.name, suspect.workload, suspect.revision, suspect.request)
        known = self._known.get(which)
        if known is None:
            known = await self._ask(sandbox, suspect)
            if not known.not_compared:
                self._known[which] = known
                while len(self._known) > KEPT_COMPARISONS:
                    del self._known[next(iter(self._known))]
        return known

    async def _ask(self, sandbox: Sandbox, suspect: Suspect) -> Comparison:
        method, _, path = suspect.request.partition(" ")
        definition = self._registry.definitions.get(suspect.workload)
        if method not in SAFE:
            return Comparison(not_compared=f"{method} may change something, so it is not sent again")
        if definition is None:
            return Comparison(not_compared=f"no baseline of {suspect.workload} is registered")
        serving: Sequence[int] = [
            fork.revision
            for fork in (sandbox.status.forks if sandbox.status else ())
            if fork.workload == suspect.workload
        ]
        if suspect.revision not in serving:
            return Comparison(not_compared=f"revision {suspect.revision} does not serve any more")
        again = Again(definition.address, method, path, (), suspect.status)
        found = await replay(again, sandbox.routing_key, sandbox.name, suspect.workload, SUSPECT_SECONDS)
        return Comparison(message(found.shadow), message(found.baseline), found.differs, found.problem)
