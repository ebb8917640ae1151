"""What a sidecar does with a routing key, and why: the decision table of the inbound side, in words."""

from __future__ import annotations

import re
from enum import Enum

from controlplane.model.problem import KEY
from controlplane.model.sandbox import Reported
from controlplane.model.sidecar import Sidecar
from proxy.contract.routes import OnUnavailable, Route, State


class Decision(Enum):
    """What becomes of a request."""

    BASELINE = "baseline"
    SHADOW = "shadow"
    HOLD = "hold"
    """Held up until the shadow is ready, and answered 503 `shadow-pending` when that takes too long."""
    ERROR = "error"
    """Answered 503 `shadow-unreachable`."""


class Explanation(Reported):
    """The answer to `GET /v1/explain`.

    sandbox:   whose key it is, absent when nobody's.
    reason:    one sentence for a person.
    sidecars:  those of the workload, each with whether it has this decision in force.
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


def decide(key: str, workload: str, route: Route | None, owner: str | None) -> tuple[Decision, str]:
    """The decision for one request with `key` at a sidecar of `workload`, and its reason.

    route: what the sidecars of `workload` were told about the key.
    owner: the sandbox whose key it is, whichever workloads that forks.
    """
    if not re.fullmatch(KEY.pattern, key):
        return Decision.BASELINE, f"{key!r} is no routing key ({KEY.words}), so it counts as none"
    if route is None and owner is None:
        return Decision.BASELINE, f"no sandbox has the routing key {key!r}"
    if route is None:
        return Decision.BASELINE, f"sandbox {owner!r} has the key and does not fork {workload}"
    return _by_state(route)


def _by_state(route: Route) -> tuple[Decision, str]:
    whose = f"revision {route.revision} of sandbox {route.sandbox!r}"
    if route.state is State.READY:
        return Decision.SHADOW, f"{whose} serves {route.workload} at {', '.join(map(str, route.endpoints))}"
    if route.state is State.PENDING:
        return Decision.HOLD, f"{whose} is being started: requests are held up until it answers"
    if route.on_unavailable is OnUnavailable.BASELINE:
        return Decision.BASELINE, f"{whose} has failed, and its onUnavailable is `baseline`: the answer says so"
    return Decision.ERROR, f"{whose} has failed: 503, because its onUnavailable is `error`"
