"""What happened to the requests of a sandbox, why, and what to do now: one answer from hops, status and output.

Nothing is asked of anybody here: `Evidence` is everything, and what it does not hold is said in `unknown`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.asking.advice import forwarding
from controlplane.asking.failures import failures
from controlplane.model.feedback import (
    Failure,
    Feedback,
    Kind,
    LostKey,
    NextAction,
    Printed,
    Reached,
    Routing,
    Verdict,
)
from controlplane.model.sandbox import Phase, Sandbox
from proxy.contract.hops import INBOUND, OUTBOUND, Hop
from proxy.contract.routes import State

MAX_FAILURES = 10
"""Told at a time: who mends the first of them asks again."""

MAX_LINES = 30
"""Of the output of one copy."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    sandbox:   with its status.
    hops:      of its key, in the window that is judged, in the order in which they were kept.
    output:    (workload, revision) -> what that copy wrote in the window; revision 0 is the baseline's.
    strangers: keys that no sandbox has -> how many requests had them lately.
    programs:  workload -> the program that its baseline runs, as far as it is known.
    """

    sandbox: Sandbox
    hops: Sequence[Hop] = ()
    output: Mapping[tuple[str, int], Sequence[str]] = field(default_factory=dict)
    strangers: Mapping[str, int] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)


def judge(evidence: Evidence) -> Feedback:
    """The feedback that the evidence gives."""
    sandbox, hops = evidence.sandbox, evidence.hops
    routing = _routing(sandbox, hops)
    found = [_with_output(failure, evidence) for failure in failures(hops, sandbox.name)]
    lost = _lost_keys(evidence)
    stuck = _stuck(sandbox)
    verdict = _verdict(stuck, routing, found, lost, hops, evidence)
    return Feedback(
        sandbox=sandbox.name,
        revision=sandbox.status.revision if sandbox.status else 0,
        verdict=verdict,
        summary=_summary(verdict, stuck, routing, found, lost, evidence),
        failures=tuple(found[:MAX_FAILURES]),
        routing=routing,
        lost_keys=tuple(lost),
        next_actions=tuple(_next_actions(verdict, found, lost, evidence)),
        unknown=tuple(_unknown(found, hops, evidence)),
    )


def _verdict(
    stuck: str, routing: Routing, found: Sequence[Failure], lost: Sequence[LostKey], hops: Sequence[Hop], by: Evidence
) -> Verdict:
    if stuck:
        return Verdict.NOT_READY
    if not hops:
        return Verdict.MISROUTED if _meant(by) else Verdict.NO_TRAFFIC
    if found:
        return Verdict.FAILING
    if any(fork.elsewhere and not fork.shadow for fork in routing.forks):
        return Verdict.MISROUTED
    if lost:
        return Verdict.LOST_KEY
    return Verdict.PASSING if any(fork.shadow for fork in routing.forks) else Verdict.MISROUTED


def _routing(sandbox: Sandbox, hops: Sequence[Hop]) -> Routing:
    forks = []
    known = {hop.id for hop in hops}
    inner = {hop.parent for hop in hops if hop.side == INBOUND}
    for fork in sandbox.spec.forks:
        shadow = 0
        elsewhere: Counter[str] = Counter()
        for hop in hops:
            if hop.workload != fork.workload or hop.side != INBOUND:
                continue
            if hop.sandbox == sandbox.name:
                shadow += hop.id not in inner  # the baseline's sidecar and the shadow's own may both tell of it
            else:
                elsewhere[hop.reason or hop.error or hop.decision] += 1
        forks.append(Reached(workload=fork.workload, shadow=shadow, elsewhere=dict(elsewhere)))
    entries = [hop for hop in hops if hop.side == INBOUND and hop.parent not in known]
    return Routing(requests=len(entries), forks=tuple(forks))


def _stuck(sandbox: Sandbox) -> str:
    """Why a fork serves nothing, "" when all serve something."""
    asleep = sandbox.status is not None and sandbox.status.phase is Phase.SLEEPING
    for fork in sandbox.status.forks if sandbox.status else ():
        if fork.state is not State.READY and not asleep:
            return f"{fork.workload} is {fork.state.value}" + (f": {fork.message}" if fork.message else "")
    return ""


def _lost_keys(evidence: Evidence) -> list[LostKey]:
    calls: dict[tuple[str, str], list[Hop]] = {}
    for hop in evidence.hops:
        if hop.lost and hop.side == OUTBOUND:
            calls.setdefault((hop.workload, hop.peer), []).append(hop)
    return [
        LostKey(
            workload=workload,
            calling=peer,
            example=f"{hops[-1].method} {hops[-1].path}",
            count=len(hops),
            todo=forwarding(evidence.programs.get(workload, "")),
        )
        for (workload, peer), hops in calls.items()
    ]


def _with_output(failure: Failure, evidence: Evidence) -> Failure:
    """The failure with what the copies that took part wrote: the origin's first."""
    copies: dict[tuple[str, str], None] = {(failure.workload, failure.copy_): None}
    if failure.suspect is not None:
        copies[failure.suspect.workload, f"revision {failure.suspect.revision}"] = None
    for step in reversed(failure.chain):
        copies.setdefault((step.workload, step.copy_))
    printed = []
    for workload, copy in copies:
        revision = int(copy.removeprefix("revision ")) if copy.startswith("revision ") else 0
        lines = evidence.output.get((workload, revision), ())
        if lines:
            printed.append(Printed(workload=workload, copy=copy, lines=tuple(lines[-MAX_LINES:])))
    return failure.model_copy(update={"output": tuple(printed)})


def _summary(
    verdict: Verdict,
    stuck: str,
    routing: Routing,
    found: Sequence[Failure],
    lost: Sequence[LostKey],
    evidence: Evidence,
) -> str:
    name = evidence.sandbox.name
    if verdict is Verdict.NOT_READY:
        return f"sandbox {name} does not serve yet, or any more: {stuck}"
    if verdict is Verdict.NO_TRAFFIC:
        return f"no request with the key {evidence.sandbox.routing_key!r} was seen"
    if verdict is Verdict.MISROUTED and (meant := _meant(evidence)):
        count = evidence.strangers[meant]
        return (
            f"no request with the key {evidence.sandbox.routing_key!r} was seen, but {count} with {meant!r}, which "
            "nobody has: they got the baseline"
        )
    if verdict is Verdict.FAILING:
        more = f", and {len(found) - 1} more kinds of failure" if len(found) > 1 else ""
        return f"{found[0].sentence}{_printed(found[0])}{more}"
    if verdict is Verdict.MISROUTED:
        return _astray(routing, name)
    reached = ", ".join(f"{fork.shadow} reached your {fork.workload}" for fork in routing.forks)
    if verdict is Verdict.LOST_KEY:
        first = lost[0]
        return f"{first.workload} may lose the key when it calls {first.calling} ({first.example}); {reached}"
    return f"{routing.requests} requests, none failed; {reached}"


def _astray(routing: Routing, name: str) -> str:
    for fork in routing.forks:
        if fork.elsewhere and not fork.shadow:
            reasons = ", ".join(f"{count} {reason}" for reason, count in fork.elsewhere.items())
            return f"no request to {fork.workload} reached the shadow of sandbox {name}: {reasons}"
    forks = " or ".join(fork.workload for fork in routing.forks)
    return f"{routing.requests} requests were seen, and none of them came to {forks}: nothing of your change was run"


def _printed(failure: Failure) -> str:
    """The last line that the origin wrote, which is where most runtimes say what happened; its answer may say more."""
    if failure.kind is Kind.ANSWERED and failure.response is not None and failure.response.body:
        return ""
    for printed in failure.output:
        if (printed.workload, printed.copy_) == (failure.workload, failure.copy_):
            return f"; {failure.workload} printed: {printed.lines[-1].strip()}"
    return ""


def _meant(evidence: Evidence) -> str:
    """The key of strangers that is nearest to the sandbox's own, "" when none is near."""
    near = difflib.get_close_matches(evidence.sandbox.routing_key, evidence.strangers, n=1, cutoff=0.7)
    return near[0] if near else ""


def _next_actions(
    verdict: Verdict, found: Sequence[Failure], lost: Sequence[LostKey], evidence: Evidence
) -> list[NextAction]:
    name, key = evidence.sandbox.name, evidence.sandbox.routing_key
    logs = NextAction(
        tool="get_logs",
        arguments={"name": name},
        command=f"skycap sandbox logs {name}",
        why="what the shadow wrote says what went wrong in it",
    )
    send = NextAction(
        tool="send_request",
        arguments={"key": key, "url": "http://..."},
        command=f"skycap request {key} http://...",
        why=f"requests count with the key {key!r} in their baggage: baggage: routing-key={key}",
    )
    if verdict is Verdict.NOT_READY:
        return [logs]
    if verdict in (Verdict.NO_TRAFFIC, Verdict.MISROUTED) and not evidence.hops:
        return [send]
    if verdict is Verdict.MISROUTED:
        forks = evidence.sandbox.spec.forks
        why = "it tells what becomes of a request with this key there, and why"
        return [
            NextAction(
                tool="explain_route",
                arguments={"key": key, "workload": fork.workload},
                command=f"skycap explain {key} {fork.workload}",
                why=why,
            )
            for fork in forks
        ]
    actions = [action for failure in found[:1] for action in _mend(failure, evidence)]
    if lost:
        why = f"{lost[0].todo}, in {lost[0].workload}"
        actions.append(
            _look(name, next((hop.trace for hop in reversed(evidence.hops) if hop.lost and hop.trace), ""), why)
        )
    return actions


def _look(name: str, trace: str, why: str) -> NextAction:
    """At one request that has a trace, else at all of them."""
    if trace:
        return NextAction(tool="get_trace", arguments={"id": trace}, command=f"skycap trace {trace}", why=why)
    return NextAction(tool="list_traffic", arguments={"name": name}, command=f"skycap sandbox traffic {name}", why=why)


def _mend(failure: Failure, evidence: Evidence) -> list[NextAction]:
    """What helps against one failure: first what to change, then how to see more of it."""
    name = evidence.sandbox.name
    own = {fork.workload for fork in evidence.sandbox.spec.forks}
    guilty = failure.suspect.workload if failure.suspect else failure.workload
    caller = next((step.workload for step in reversed(failure.chain[:-1]) if step.workload in own), "")
    actions = []
    if guilty in own:
        why = f"the fault is in your {guilty}: mend it and push the change, the key stays the same"
        actions.append(NextAction(tool="push_files", arguments={"name": name, "workload": guilty}, why=why))
    elif caller:
        why = f"your {caller} made the call that {guilty} refused: change what it sends, or how it takes the answer"
        actions.append(NextAction(tool="push_files", arguments={"name": name, "workload": caller}, why=why))
    elif failure.kind is Kind.UNREACHABLE:
        why = f"{guilty} cannot be reached by anybody: see whether it runs"
        actions.append(NextAction(tool="list_workloads", command="skycap doctor", why=why))
    if failure.example:
        actions.append(
            NextAction(
                tool="get_trace",
                arguments={"id": failure.example},
                command=f"skycap trace {failure.example}",
                why="the whole way of one such request, with times and who served it",
            )
        )
    return actions


def _unknown(found: Sequence[Failure], hops: Sequence[Hop], evidence: Evidence) -> list[str]:
    """What could not be told."""
    said = []
    for failure in found:
        if failure.kind is Kind.UNSEEN:
            peer = failure.chain[-1].workload
            said.append(f"{peer} has no sidecar: what happened behind it is not known")
        elif failure.response is not None and failure.response.omitted == "no room":
            said.append(f"the answer of {failure.workload} was not kept: too many failed at once")
    ids = {hop.id for hop in hops}
    detached = sum(bool(hop.parent) and hop.parent not in ids for hop in hops)
    if detached:
        said.append(f"{detached} hops name a cause that is not kept any more, or was not told yet")
    return list(dict.fromkeys(said))
