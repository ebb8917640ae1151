"""What happened to the requests of a sandbox, why, and what to do now: one answer from hops, status and output.

Nothing is asked of anybody here: `Evidence` is everything, and what it does not hold is said in `unknown`.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.asking.advice import forwarding
from controlplane.asking.compare import in_words
from controlplane.asking.printed import telling
from controlplane.asking.sentence import NO_SIDECAR
from controlplane.model.feedback import (
    Failure,
    Feedback,
    Kind,
    LostKey,
    NextAction,
    Reached,
    Routing,
    Verdict,
)
from controlplane.model.sandbox import Phase, Sandbox
from proxy.base.text import counted
from proxy.contract.hops import INBOUND, OUTBOUND, Hop
from proxy.contract.routes import State

UNSERVED = frozenset({"shadow-unreachable", "shadow-pending", "sandbox-ended"})
"""Errors of a hop that was meant for a shadow and came to none."""

UNREACHABLE = "shadow-unreachable"
"""The reason of a hop that fell back because its shadow could not be reached."""

MAX_FAILURES = 10
"""Told at a time: who mends the first of them asks again."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    sandbox:   with its status.
    hops:      of its key, in the window that is judged, in the order in which they were kept.
    failures:  that are found among them (`controlplane.asking.failures`), with what was looked up about them.
    strangers: keys that no sandbox has -> how many requests had them lately.
    programs:  workload -> the program that its baseline runs, as far as it is known.
    """

    sandbox: Sandbox
    hops: Sequence[Hop] = ()
    failures: Sequence[Failure] = ()
    strangers: Mapping[str, int] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)


def judge(evidence: Evidence) -> Feedback:
    """The feedback that the evidence gives."""
    sandbox, hops = evidence.sandbox, evidence.hops
    routing = _routing(sandbox, hops)
    found = evidence.failures
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
    if any(fork.elsewhere for fork in routing.forks):
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
            if hop.sandbox == sandbox.name and hop.error not in UNSERVED:
                shadow += hop.id not in inner  # the baseline's sidecar and the shadow's own may both tell of it
            else:
                elsewhere[hop.reason or hop.error or hop.decision] += 1
        forks.append(Reached(workload=fork.workload, shadow=shadow, elsewhere=dict(elsewhere)))
    entries = [hop for hop in hops if hop.side == INBOUND and hop.parent not in known]
    return Routing(requests=len(entries), forks=tuple(forks))


def _stuck(sandbox: Sandbox) -> str:
    """Why a fork serves nothing, "" when all serve something: with the line of its output that says most."""
    asleep = sandbox.status is not None and sandbox.status.phase is Phase.SLEEPING
    for fork in sandbox.status.forks if sandbox.status else ():
        if fork.state is not State.READY and not asleep:
            first, *printed = fork.message.splitlines() or [""]
            line = telling(printed) or (printed[-1].strip() if printed else "")
            return f"{fork.workload} is {fork.state.value}{first and f': {first}'}{line and f'; it printed: {line}'}"
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
            trace=hops[-1].trace,
            count=len(hops),
            todo=forwarding(evidence.programs.get(workload, "")),
        )
        for (workload, peer), hops in calls.items()
    ]


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
        return f"{found[0].sentence}{more}"
    if verdict is Verdict.MISROUTED:
        return _astray(routing, name)
    reached = ", ".join(f"{fork.shadow} reached your {fork.workload}" for fork in routing.forks)
    if verdict is Verdict.LOST_KEY:
        first = lost[0]
        return f"{first.workload} may lose the key when it calls {first.calling} ({first.example}); {reached}"
    return f"{counted(routing.requests, 'request')}, none failed; {reached}"


def _astray(routing: Routing, name: str) -> str:
    for fork in routing.forks:
        if fork.elsewhere:
            reasons = ", ".join(f"{count} {reason}" for reason, count in fork.elsewhere.items())
            if fork.shadow:
                asked = fork.shadow + sum(fork.elsewhere.values())
                return f"{asked - fork.shadow} of {asked} requests to {fork.workload} got another answer: {reasons}"
            return f"no request to {fork.workload} reached the shadow of sandbox {name}: {reasons}"
    forks = " or ".join(fork.workload for fork in routing.forks)
    seen = counted(routing.requests, "request")
    return f"{seen} with the key, none of which came to {forks}: nothing of your change was run"


def _meant(evidence: Evidence) -> str:
    """The key of strangers that is nearest to the sandbox's own, "" when none is near."""
    near = difflib.get_close_matches(evidence.sandbox.routing_key, evidence.strangers, n=1, cutoff=0.7)
    return near[0] if near else ""


def _next_actions(
    verdict: Verdict, found: Sequence[Failure], lost: Sequence[LostKey], evidence: Evidence
) -> list[NextAction]:
    name, key = evidence.sandbox.name, evidence.sandbox.routing_key
    if verdict is Verdict.NOT_READY:
        return _ready(evidence)
    if verdict in (Verdict.NO_TRAFFIC, Verdict.MISROUTED) and not evidence.hops:
        why = f"requests count with the key {key!r} in their baggage: baggage: routing-key={key}"
        arguments = {"key": key, "url": "http://..."}
        command = f"skycap request {key} http://..."
        return [NextAction(tool="send_request", arguments=arguments, command=command, why=why)]
    if verdict is Verdict.MISROUTED:
        return _reach(evidence)
    actions = [action for failure in found[:1] for action in _mend(failure, evidence)]
    for one in lost[:1]:
        why = f"{one.workload} does not forward what carries the key when it calls {one.calling}: {one.todo}"
        actions.append(_look(name, one.trace, why))
    return actions


def _logs(name: str, why: str) -> NextAction:
    return NextAction(tool="get_logs", arguments={"name": name}, command=f"skycap sandbox logs {name}", why=why)


def _push(name: str, workload: str, why: str) -> NextAction:
    return NextAction(tool="push_files", arguments={"name": name, "workload": workload}, why=why)


def _ready(evidence: Evidence) -> list[NextAction]:
    """What makes a fork serve that serves nothing."""
    name = evidence.sandbox.name
    status = evidence.sandbox.status
    broken = [fork for fork in status.forks if fork.state is not State.READY] if status else []
    logs = _logs(name, "what the shadow wrote says what went wrong in it")
    if broken and broken[0].state is State.PENDING:
        command = f"skycap sandbox wait {name}"
        why = "it is being started"
        return [NextAction(tool="get_sandbox", arguments={"name": name}, command=command, why=why), logs]
    return [logs, *(_push(name, fork.workload, "mend what it says; the key stays the same") for fork in broken[:1])]


def _reach(evidence: Evidence) -> list[NextAction]:
    """What brings requests to the shadow that went past it."""
    key, sandbox = evidence.sandbox.routing_key, evidence.sandbox
    own = {fork.workload for fork in sandbox.spec.forks}
    fallen = any(hop.reason == UNREACHABLE for hop in evidence.hops if hop.workload in own)
    why = (
        "its shadow could not be reached, and `onUnavailable: baseline` let the baseline answer instead: see what it "
        "wrote, and leave `onUnavailable` at `error` while you test"
    )
    return [
        *([_logs(sandbox.name, why)] if fallen else []),
        *(
            NextAction(
                tool="explain_route",
                arguments={"key": key, "workload": fork.workload},
                command=f"skycap explain {key} {fork.workload}",
                why="it tells what becomes of a request with this key there, and why",
            )
            for fork in sandbox.spec.forks
        ),
    ]


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
    peer = failure.chain[-1].workload if failure.chain and failure.chain[-1].copy_ == NO_SIDECAR else ""
    actions = []
    if failure.kind is Kind.UNREACHABLE and peer:
        what = f"nobody answers at {peer}, which {guilty} calls: correct the address, or start what should answer there"
        actions.append(_push(name, guilty, what) if guilty in own else _doctor(what))
    elif failure.kind is Kind.UNSEEN:
        what = f"{peer} has no sidecar, so only its answer is known: look into its own log, or put a sidecar beside it"
        actions.append(_doctor(what))
    elif guilty in own:
        actions.append(_push(name, guilty, _fault(failure, guilty)))
    elif caller:
        why = f"your {caller} made the call that {guilty} refused: change what it sends, or how it takes the answer"
        actions.append(_push(name, caller, why))
    elif failure.kind is Kind.UNREACHABLE:
        actions.append(_doctor(f"{guilty} cannot be reached by anybody: see whether it runs"))
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


def _doctor(why: str) -> NextAction:
    return NextAction(tool="list_workloads", command="skycap doctor", why=why)


_UNTOLD = re.compile(r"\b[A-Z][A-Z0-9_]*_(?:URL|HOST|PORT)\b")
"""A variable by which a service learns where another is."""


def _fault(failure: Failure, guilty: str) -> str:
    variable = _UNTOLD.search(failure.sentence)
    if variable and failure.kind is Kind.ANSWERED:
        return (
            f"nobody tells it {variable[0]}: it is told of each upstream that its environment declares, so declare "
            f"that service, or let your {guilty} call one that there is"
        )
    if failure.kind is Kind.TIMED_OUT:
        return f"your {guilty} is too slow for who calls it: make it faster, push the change, the key stays the same"
    if failure.kind is Kind.REDIRECTS:
        return f"your {guilty} sends its client round in a circle: end that, push the change, the key stays the same"
    if failure.suspect is not None and failure.suspect.differs:
        differs = in_words(failure.suspect.differs)
        return f"your {guilty} answers {differs}: send what its callers read, push the change, the key stays the same"
    return f"the fault is in your {guilty}: mend it and push the change, the key stays the same"


def _unknown(found: Sequence[Failure], hops: Sequence[Hop], evidence: Evidence) -> list[str]:
    """What could not be told."""
    said = [text for failure in found for text in _unknown_of(failure)]
    ids = {hop.id for hop in hops}
    detached = sum(bool(hop.parent) and hop.parent not in ids for hop in hops)
    if detached:
        said.append(f"the cause of {counted(detached, 'hop')} is not kept any more, or was not told yet")
    return list(dict.fromkeys(said))


def _unknown_of(failure: Failure) -> Iterable[str]:
    if failure.kind is Kind.UNSEEN:
        yield f"{failure.chain[-1].workload} has no sidecar: what happened behind it is not known"
    elif failure.response is not None and failure.response.omitted == "no room":
        yield f"the answer of {failure.workload} was not kept: too many failed at once"
    if failure.inferred:
        yield f"{failure.inferred} has no sidecar: that it made the next call is told by the trace and the time alone"
    if failure.suspect is not None and failure.suspect.not_compared:
        yield (
            f"the answer of {failure.suspect.workload} to {failure.suspect.request} was not compared with the "
            f"baseline's: {failure.suspect.not_compared}"
        )
