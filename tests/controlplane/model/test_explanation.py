from __future__ import annotations

import pytest

from controlplane.model.explanation import Decision, decide
from proxy.contract.routes import Endpoint, OnUnavailable, Route, State
from proxy.routing.decision import Action
from proxy.routing.decision import decide as routing_decide
from proxy.routing.table import RouteTable
from tests.controlplane.sandboxes import USERS

READY = Route(USERS, "k", (Endpoint("127.0.0.1", 1),), "a", 3)


@pytest.mark.parametrize(
    ("key", "route", "owner", "decision", "said"),
    [
        ("a b", None, None, Decision.BASELINE, "no routing key"),
        ("k", None, None, Decision.BASELINE, "no sandbox has the routing key 'k'"),
        ("k", None, "a", Decision.BASELINE, "sandbox 'a' has the key and does not fork shop/users"),
        ("k", READY, "a", Decision.SHADOW, "revision 3 of sandbox 'a' serves shop/users at 127.0.0.1:1"),
        ("k", Route(USERS, "k", (), "a", 3, State.PENDING), "a", Decision.HOLD, "held up until it answers"),
        ("k", Route(USERS, "k", (), "a", 3, State.FAILED), "a", Decision.ERROR, "503"),
        (
            "k",
            Route(USERS, "k", (), "a", 3, State.FAILED, OnUnavailable.BASELINE),
            "a",
            Decision.BASELINE,
            "onUnavailable is `baseline`",
        ),
    ],
)
def test_the_decision_and_its_reason(
    key: str, route: Route | None, owner: str | None, decision: Decision, said: str
) -> None:
    made, reason = decide(key, USERS, route, owner)
    assert made is decision
    assert said in reason


MEANING = {
    Action.BASELINE: Decision.BASELINE,
    Action.FALLBACK: Decision.BASELINE,
    Action.SHADOW: Decision.SHADOW,
    Action.HOLD_PENDING: Decision.HOLD,
    Action.ERROR: Decision.ERROR,
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("policy", OnUnavailable)
def test_what_is_explained_is_what_a_sidecar_does(state: State, policy: OnUnavailable) -> None:
    """Two tables of the same decision: one in words, one on the data path."""
    endpoints = (Endpoint("127.0.0.1", 1),) if state is State.READY else ()
    route = Route("shop/users", "k", endpoints, state=state, on_unavailable=policy)
    table = RouteTable("shop/users")
    table.replace({"k": route})
    for key, known in (("k", route), ("other", None)):
        action, _ = routing_decide(key, table, "", False)
        decision, _ = decide(key, "shop/users", known, "a" if known else None)
        assert MEANING[action] is decision
