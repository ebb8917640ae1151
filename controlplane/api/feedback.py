"""`/v1/sandboxes/NAME/feedback` and `/assertions`: what `controlplane.asking` makes of what the registry knows."""

from __future__ import annotations

import asyncio
import logging
import time

from aiohttp import web

from controlplane.api.access import ROLE, Role
from controlplane.api.body import read_as
from controlplane.api.diff import Comparisons, hops_of
from controlplane.api.logs import Copy, masked, secrets, written
from controlplane.api.operations import (
    GROUP_NAME,
    REGISTRY,
    SANDBOX_NAME,
    Answer,
    Operation,
    Values,
    json_answer,
    json_items,
)
from controlplane.api.traffic import SINCE
from controlplane.asking.assertion import assert_routed
from controlplane.asking.failures import failures
from controlplane.asking.feedback import MAX_FAILURES, Evidence, judge
from controlplane.asking.quoted import MAX_LINES, wanted, with_comparison, with_output
from controlplane.asking.untold import untold
from controlplane.life.refusals import NotFound
from controlplane.life.registry import Registry
from controlplane.model.assertion import Claim, Judged
from controlplane.model.copy_log import Window
from controlplane.model.feedback import Failure, Feedback
from controlplane.model.handoff import EvidenceRequest
from controlplane.model.problem import invalid, validated
from controlplane.model.sandbox import Sandbox
from controlplane.store.port import StoreError
from proxy.base.text import counted
from proxy.contract.hops import Hop

log = logging.getLogger(__name__)

SHOWN_REVIEWS = 20
"""The newest, in feedback."""

COMPARISONS = web.AppKey("comparisons", Comparisons)

BATCH_SECONDS = 0.15
"""A sidecar tells of a request within 0.1 s, and who asks has most often sent one just before."""

TOLD_SECONDS = 0.5
LOOK_SECONDS = 0.05
RECENT_SECONDS = 3.0
"""How long feedback waits for sidecars that have not told yet, between two looks, and for what: one that has not told
of a request for some seconds is not there."""

MAX_SUSPECTS = 3
"""Whose answers are compared for one feedback: who mends the first of them asks again."""


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/sandboxes/{name}/feedback", "getFeedback",
            "What happened to its requests since the last update, why, and what to do now", _feedback,
            {200: Answer("the judgement", Feedback)}, (SANDBOX_NAME, SINCE), problems=(404,),
        ),
        Operation(
            "GET", "/v1/groups/{name}/feedback", "getGroupFeedback",
            "What happened to the requests with its key, as each of its sandboxes sees it", _feedback_of_group,
            {200: Answer("a judgement for each sandbox that there is", Feedback, many=True)},
            (GROUP_NAME, SINCE), problems=(404,),
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
    return json_answer(await judged(request, sandbox, await _told(registry, sandbox, values.get("since"))))


async def _feedback_of_group(request: web.Request, values: Values) -> web.Response:
    """Whoever works on one of the sandboxes is told what of it is theirs to mend."""
    registry = request.app[REGISTRY]
    key = registry.groups.key(values["name"])
    members = [_under(registry.sandboxes.get(name), key) for name in registry.groups.living(key)]

    async def one(sandbox: Sandbox) -> Feedback:
        return await judged(request, sandbox, await _told(registry, sandbox, values.get("since")))

    return json_items(await asyncio.gather(*map(one, members)))


def _under(sandbox: Sandbox, key: str) -> Sandbox:
    """As it stands under another key than its own: its requests are those, and what is sent again has it too."""
    return sandbox.model_copy(update={"spec": sandbox.spec.model_copy(update={"routing_key": key})})


async def judged(request: web.Request, sandbox: Sandbox, hops: list[Hop]) -> Feedback:
    """What happened to its requests, and what reviewers said."""
    found = judge(await _evidence(request, sandbox, hops))
    reviews = request.app[REGISTRY].handoffs.get(sandbox.name).reviews[-SHOWN_REVIEWS:]
    return found.model_copy(update={"reviews": reviews})


async def _told(registry: Registry, sandbox: Sandbox, since: str | None) -> list[Hop]:
    """The hops, as soon as no newer one waits for another sidecar's word, but not later than TOLD_SECONDS from now."""
    end = time.monotonic() + TOLD_SECONDS
    await asyncio.sleep(BATCH_SECONDS)
    started = {fork.workload for fork in sandbox.spec.forks if fork.endpoints is None}
    while True:
        hops = await hops_of(registry, sandbox, since)
        left = end - time.monotonic()
        if left <= 0 or not untold(hops, time.time() - RECENT_SECONDS, started):
            return hops
        await asyncio.sleep(min(left, LOOK_SECONDS))


async def _assert(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    sandbox = registry.sandboxes.get(values["name"])
    claim = await read_as(request, lambda document: validated(Claim, document))
    fork = next((fork for fork in sandbox.spec.forks if fork.workload == claim.workload), None)
    if fork is None:
        forks = ", ".join(fork.workload for fork in sandbox.spec.forks)
        raise invalid("workload", f"sandbox {sandbox.name!r} does not fork {claim.workload!r}; it forks {forks}")
    serving = sandbox.status.forks if sandbox.status else ()
    current = next((item.revision for item in serving if item.workload == claim.workload), 0)
    hops = await hops_of(registry, sandbox, claim.since)
    found = assert_routed(
        hops,
        sandbox=sandbox.name,
        workload=claim.workload,
        revision=claim.revision or current,
        requests=claim.requests,
    )
    if request[ROLE] is Role.USER:
        await _keep(registry, sandbox.name, found, claim.requests)
    return json_answer(found)


async def _keep(registry: Registry, name: str, found: Judged, requests: int) -> None:
    """For its report. What cannot be kept is said all the same."""
    title = f"at least {counted(requests, 'request')} to reach revision {found.revision} of {found.workload}"
    detail = "\n".join(found.objections)
    shown = EvidenceRequest(
        title=title, passed=found.holds, sentence=found.sentence, detail=detail, traces=found.traces[:3]
    )
    try:
        await registry.handoffs.keep(name, "assertion", shown)
    except (NotFound, StoreError) as error:
        log.warning("an assertion about sandbox %s is not kept: %s", name, error)


async def _evidence(request: web.Request, sandbox: Sandbox, hops: list[Hop]) -> Evidence:
    registry = request.app[REGISTRY]
    found = failures(hops, sandbox.name)
    told = await asyncio.gather(*(_quoted(request, sandbox, failure) for failure in found[:MAX_FAILURES]))
    suspects = [at for at, failure in enumerate(told) if failure.suspect is not None][:MAX_SUSPECTS]
    compared = await asyncio.gather(*(_compared(request, sandbox, told[at]) for at in suspects))
    for at, failure in zip(suspects, compared, strict=True):
        told[at] = failure
    return Evidence(
        sandbox=sandbox,
        hops=hops,
        failures=[*told, *found[MAX_FAILURES:]],
        strangers=dict(registry.intake.strangers),
        programs={item.workload: item.command[0] for item in registry.definitions.all() if item.command},
    )


async def _quoted(request: web.Request, sandbox: Sandbox, failure: Failure) -> Failure:
    """With what the copies wrote meanwhile."""
    lines = {}
    for copy in wanted(failure):
        window = Window(copy.window.since, copy.window.until)
        lines[copy.workload, copy.revision] = await _lines(request, sandbox, Copy(copy.workload, copy.revision, window))
    return with_output(failure, lines)


async def _lines(request: web.Request, sandbox: Sandbox, copy: Copy) -> list[str]:
    registry: Registry = request.app[REGISTRY]
    found = await written(registry, sandbox.name, copy, MAX_LINES)
    return masked(found, request, secrets(registry, sandbox.name, copy.workload))


async def _compared(request: web.Request, sandbox: Sandbox, failure: Failure) -> Failure:
    """With what its suspect answers otherwise than the baseline."""
    assert failure.suspect is not None
    return with_comparison(failure, await request.app[COMPARISONS].of(sandbox, failure.suspect))
