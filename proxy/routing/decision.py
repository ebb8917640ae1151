"""What the inbound side does with a request: the decision table, as one function.

| key     | route of this workload                          | decision                                   |
|---------|--------------------------------------------------|--------------------------------------------|
| none    | -                                                | BASELINE                                   |
| present | none                                             | BASELINE                                   |
| present | ready                                            | SHADOW                                     |
| present | pending                                          | HOLD, then SHADOW or ERROR                 |
| present | failed, or its sandbox has ended                 | ERROR or FALLBACK, by the route's policy   |
| present | no table was ever received                       | HOLD, then as above or UNSYNCED            |

A sidecar beside a shadow always delivers to its own application, whose answer is the sandbox's.
"""

from __future__ import annotations

from enum import Enum

from proxy.contract.routes import OnUnavailable, Route, State
from proxy.routing.table import RouteTable


class Action(Enum):
    """The value is the label of the request counter."""

    BASELINE = "baseline"
    SHADOW = "shadow"
    FALLBACK = "fallback"
    """The baseline, because the shadow is unavailable or gone and its policy allows it. The answer says so."""
    UNSYNCED = "unsynced"
    """The baseline, because no table came in time. The answer says so."""
    ERROR = "error"
    FORWARD = "forward"
    """The outbound side carries it on."""
    STUB = "stub"
    """A rule of the key's own answers, or keeps it from being answered (`proxy.routing.rules`)."""
    HOLD_PENDING = "hold-pending"
    HOLD_UNSYNCED = "hold-unsynced"


def decide(key: str, table: RouteTable, own_sandbox: str, gave_up: bool) -> tuple[Action, Route | None]:
    """The action for a request with `key` ("" for none), and the route that it follows from.

    own_sandbox: the sandbox whose shadow this sidecar stands beside, "" beside the baseline.
    gave_up:     `sync_timeout` has passed: stop waiting for a first table.
    """
    if not key:
        return Action.BASELINE, None
    if own_sandbox:
        return Action.SHADOW, None
    if not table.synced:
        return (Action.UNSYNCED if gave_up else Action.HOLD_UNSYNCED), None
    route = table.lookup(key)
    if route is None:
        return Action.BASELINE, None
    if route.state is State.READY:
        return Action.SHADOW, route
    if route.state is State.PENDING:
        return Action.HOLD_PENDING, route
    return unavailable(route), route


def unavailable(route: Route) -> Action:
    """What the route's policy says when its shadow cannot answer."""
    return Action.FALLBACK if route.on_unavailable is OnUnavailable.BASELINE else Action.ERROR
