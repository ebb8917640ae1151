"""The decision table, row by row."""

from __future__ import annotations

import pytest

from proxy.contract.routes import Endpoint, OnUnavailable, Route, State
from proxy.routing.decision import Action, decide, unavailable
from proxy.routing.table import RouteTable
from proxy.telemetry.counters import DECISIONS

WORKLOAD = "shop/users"


def route(key: str, state: State = State.READY, policy: OnUnavailable = OnUnavailable.ERROR) -> Route:
    endpoints = (Endpoint("127.0.0.1", 9102),) if state is State.READY else ()
    return Route(WORKLOAD, key, endpoints, state=state, on_unavailable=policy)


ROUTES = [
    route("ready"),
    route("pending", State.PENDING),
    route("pending-baseline", State.PENDING, OnUnavailable.BASELINE),
    route("failed", State.FAILED),
    route("failed-baseline", State.FAILED, OnUnavailable.BASELINE),
    route("ended", State.ENDED),
    route("ended-baseline", State.ENDED, OnUnavailable.BASELINE),
]


def table(*, synced: bool = True) -> RouteTable:
    made = RouteTable(WORKLOAD)
    if synced:
        made.replace({one.key: one for one in ROUTES})
    return made


@pytest.mark.parametrize(
    ("key", "action"),
    [
        ("", Action.BASELINE),
        ("unknown", Action.BASELINE),
        ("Ready", Action.BASELINE),
        ("ready", Action.SHADOW),
        ("pending", Action.HOLD_PENDING),
        ("pending-baseline", Action.HOLD_PENDING),
        ("failed", Action.ERROR),
        ("failed-baseline", Action.FALLBACK),
        ("ended", Action.ERROR),
        ("ended-baseline", Action.FALLBACK),
    ],
)
@pytest.mark.parametrize("gave_up", [False, True])
def test_beside_the_baseline(key: str, action: Action, gave_up: bool) -> None:
    routes = table()
    assert decide(key, routes, "", gave_up) == (action, routes.lookup(key))


@pytest.mark.parametrize("key", ["ready", "unknown", "pending", "failed"])
def test_without_a_table_a_key_waits_and_then_goes_to_the_baseline(key: str) -> None:
    assert decide(key, table(synced=False), "", gave_up=False) == (Action.HOLD_UNSYNCED, None)
    assert decide(key, table(synced=False), "", gave_up=True) == (Action.UNSYNCED, None)


def test_without_a_table_but_with_a_route_it_waits_all_the_same() -> None:
    """A single `put` before the first snapshot says nothing about the other keys."""
    routes = table(synced=False)
    routes.put(ROUTES[0])
    assert decide("ready", routes, "", gave_up=False) == (Action.HOLD_UNSYNCED, None)


def test_without_a_key_nothing_ever_waits() -> None:
    for routes in (table(), table(synced=False)):
        for sandbox in ("", "agent-42"):
            assert decide("", routes, sandbox, gave_up=False) == (Action.BASELINE, None)


@pytest.mark.parametrize("key", ["ready", "unknown", "pending", "failed", "agent-42"])
@pytest.mark.parametrize("synced", [False, True])
def test_beside_a_shadow_it_is_always_the_own_application(key: str, synced: bool) -> None:
    assert decide(key, table(synced=synced), "agent-42", gave_up=False) == (Action.SHADOW, None)


def test_the_policy_of_a_shadow_that_cannot_answer() -> None:
    assert unavailable(route("a")) is Action.ERROR
    assert unavailable(route("a", policy=OnUnavailable.BASELINE)) is Action.FALLBACK


def test_every_action_that_ends_a_request_is_counted_under_its_name() -> None:
    waiting = {Action.HOLD_PENDING, Action.HOLD_UNSYNCED}
    assert {action.value for action in Action} - {action.value for action in waiting} == set(DECISIONS)
