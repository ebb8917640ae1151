"""The conditions of a sandbox, as Kubernetes has them: what follows from its record, in words for a person."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from controlplane.model.observed import ForkState
from controlplane.model.sandbox import Condition, Phase

if TYPE_CHECKING:
    from controlplane.model.record import Record

NAMED_SIDECARS = 5
"""Sidecars named in one message; the rest is a number."""


def conditions(record: Record, now: datetime) -> tuple[Condition, ...]:
    """Those of the record, each with the time at which its status last became another."""
    before = {condition.type: condition for condition in record.observed.conditions}
    made = []
    for kind, judge in _JUDGES.items():
        verdict = judge(record)
        if verdict is None:
            continue
        status, reason, message = verdict
        old = before.get(kind)
        since = old.last_transition_time if old is not None and old.status == status else now
        made.append(Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since))
    return tuple(made)


_Verdict = tuple[Literal["True", "False", "Unknown"], str, str]


def _ready(record: Record) -> _Verdict:
    phase = record.phase
    if phase is Phase.READY:
        return "True", "ShadowsServe", ""
    if phase is Phase.DELETING:
        return "False", "Deleting", "the routes are gone, the shadows are being stopped"
    if phase is Phase.SLEEPING:
        idle = record.desired.spec.idle
        return "False", "Asleep", f"nobody has called for {idle}: its shadows are stopped until the next request"
    starting = [fork for fork in record.forks if fork.starting]
    if phase is Phase.PENDING and starting:
        return "False", "Starting", "; ".join(map(_starting, starting))
    if phase is Phase.PENDING:
        return "False", "WaitingForSidecars", "the shadows serve; not every sidecar has the routes yet"
    setbacks = [(fork, setback) for fork in record.forks for setback in (fork.setback, fork.ended) if setback]
    told = "\n".join(f"{fork.fork.workload} {setback.told()}" for fork, setback in setbacks)
    return "False", "UpdateFailed" if phase is Phase.DEGRADED else "ShadowFailed", told


def _starting(fork: ForkState) -> str:
    serving = fork.serving
    meanwhile = f", revision {serving.revision} serves until then" if serving else ""
    return f"{fork.fork.workload}: revision {fork.revision} is being started{meanwhile}"


def _in_force(record: Record) -> _Verdict:
    if record.desired.deleting:
        return "False", "Deleting", "the routes are gone"
    if not record.observed.settled:
        return "Unknown", "WaitingForSidecars", "sidecars are being told"
    if record.observed.lagging:
        named = ", ".join(record.observed.lagging[:NAMED_SIDECARS])
        more = len(record.observed.lagging) - NAMED_SIDECARS
        return "False", "SidecarsLag", f"not acknowledged by {named}{f' and {more} more' if more > 0 else ''}"
    if record.observed.unwatched:
        where = ", ".join(record.observed.unwatched)
        return "Unknown", "NoSidecars", f"no sidecar was connected when the routes changed: {where}"
    return "True", "Acknowledged", ""


def _reachable(record: Record) -> _Verdict | None:
    """Of endpoints that somebody else runs."""
    static = [fork for fork in record.forks if fork.fork.endpoints is not None]
    if not static or record.deleting:
        return None
    dead = [fork.fork.workload for fork in static if fork.fork.dialled and not fork.current and fork.broken]
    if dead:
        return "False", "NothingAnswers", f"nothing accepts connections at the endpoints of {', '.join(dead)}"
    unknown = [fork.fork.workload for fork in static if not fork.fork.dialled]
    if unknown:
        message = f"nobody dials the endpoints of {', '.join(unknown)}, as its fork asks (`reachable: false`)"
        return "Unknown", "NotDialled", message
    waiting = [fork.fork.workload for fork in static if not fork.current]
    if waiting:
        return "Unknown", "BeingDialled", f"the endpoints of {', '.join(waiting)} have not answered yet"
    return "True", "Answered", ""


def _baseline(record: Record) -> _Verdict | None:
    """Of copies of their baselines' pods."""
    copied = [fork for fork in record.forks if fork.serving is not None and fork.serving.template()]
    if not copied or record.deleting:
        return None
    if not record.observed.outdated:
        return "True", "SameTemplate", ""
    others = [fork.fork.workload for fork in copied if fork.fork.workload in record.observed.outdated]
    message = f"the pods of {', '.join(others)} are made from another template by now than their shadows here"
    advice = "say followBaseline: true, or `skycap sandbox apply --restart`"
    return "False", "BaselineChanged", f"{message}: {advice}"


_JUDGES: dict[str, Callable[[Record], _Verdict | None]] = {
    "Ready": _ready,
    "RoutesInForce": _in_force,
    "EndpointsReachable": _reachable,
    "BaselineCurrent": _baseline,
}
