"""What a sidecar does with a routing key, and why: the decision table of the inbound side, in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from enum import Enum

from controlplane.model.problem import KEY
from controlplane.model.sandbox import Reported
from controlplane.model.sidecar import Sidecar
from proxy.contract.routes import OnUnavailable, Route, State

MAX_KNOWN = 20
"""Of the workloads that are named where another was asked for; `GET /v1/workloads` has all baselines."""


MAX_COMPARED = 1_000
"""Comparing takes some 20 us each, and everybody else waits meanwhile."""


LIKELY = 0.7
"""How much of two names must agree; those of one namespace agree in that already."""


class Decision(Enum):
    """What becomes of a request."""

    BASELINE = "baseline"
    SHADOW = "shadow"
    HOLD = "hold"
    """Held up until the shadow is ready, and answered 503 `shadow-pending` when that takes too long."""
    ERROR = "error"
    """Answered 503: `shadow-unreachable`, or `sandbox-ended`."""


class Explanation(Reported):
    """The answer to `GET /v1/explain`.

    sandbox:   whose key it is, absent when nobody's.
    reason:    one sentence for a person.
    sidecars:  those of the workload, each with whether it has this decision in force.
    known:     whether there is such a workload: a baseline is registered, a sidecar watches, or a sandbox forks it.
    known_workloads: when it is not known, those that are, the likeliest first, at most MAX_KNOWN.
    """

    key: str
    workload: str
    decision: Decision
    reason: str
    sandbox: str | None = None
    revision: int | None = None
    endpoints: tuple[str, ...] = ()
    sidecars: tuple[Sidecar, ...] = ()
    in_force: bool
    """Every connected sidecar of the workload has acknowledged all changes, and there is at least one."""
    stubs: tuple[str, ...] = ()
    """What its sandbox's stubs do to its requests here, before any of this."""
    known: bool = True
    known_workloads: tuple[str, ...] = ()


def unknown(workload: str, known: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """What to say of a workload that nobody has heard of, and which may have been meant, the likeliest first."""
    names = sorted(known)
    likely = near(workload, names)
    meant = f" (did you mean {likely[0]!r}?)" if likely else ""
    reason = f"nobody knows a workload {workload!r}{meant}: it has no baseline, no sidecar and no fork here"
    return reason, (*likely, *(name for name in names if name not in likely))[:MAX_KNOWN]


def near(workload: str, names: Sequence[str]) -> list[str]:
    """Those that were probably meant, the likeliest first, at most three."""
    return difflib.get_close_matches(workload, names[:MAX_COMPARED], n=3, cutoff=LIKELY)


def decide(
    key: str, workload: str, route: Route | None, owner: str | None, group: str | None = None
) -> tuple[Decision, str]:
    """The decision for one request with `key` at a sidecar of `workload`, and its reason.

    route: what the sidecars of `workload` were told about the key.
    owner: the sandbox whose key it is, whichever workloads that forks; group: the route group likewise.
    """
    if not re.fullmatch(KEY.pattern, key):
        return Decision.BASELINE, f"{key!r} is no routing key ({KEY.words}), so it counts as none"
    if route is None and group is not None:
        return Decision.BASELINE, f"route group {group!r} has the key, and none of its sandboxes forks {workload}"
    if route is None and owner is None:
        return Decision.BASELINE, f"no sandbox has the routing key {key!r}"
    if route is None:
        return Decision.BASELINE, f"sandbox {owner!r} has the key and does not fork {workload}"
    return _by_state(route)


def _by_state(route: Route) -> tuple[Decision, str]:
    whose = f"revision {route.revision} of sandbox {route.sandbox!r}"
    if route.state is State.READY:
        return Decision.SHADOW, f"{whose} serves {route.workload} at {', '.join(map(str, route.endpoints))}"
    if route.state is State.ENDED:
        said = f"sandbox {route.sandbox!r} has ended at {route.since}: {route.why}"
        if route.on_unavailable is OnUnavailable.BASELINE:
            return Decision.BASELINE, f"{said}; the answer says so"
        return Decision.ERROR, f"{said}: 503 `sandbox-ended`, until another sandbox has the key"
    if route.asleep:
        return (
            Decision.HOLD,
            f"{whose} sleeps, as nobody called: a request starts it, and is held up meanwhile",
        )
    if route.state is State.PENDING:
        return Decision.HOLD, f"{whose} is being started: requests are held up until it answers"
    if route.on_unavailable is OnUnavailable.BASELINE:
        return Decision.BASELINE, f"{whose} has failed, and its onUnavailable is `baseline`: the answer says so"
    return Decision.ERROR, f"{whose} has failed: 503, because its onUnavailable is `error`"
