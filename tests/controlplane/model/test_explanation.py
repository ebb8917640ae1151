from __future__ import annotations

import pytest

from controlplane.model.explanation import Decision, decide
from proxy.contract.routes import Endpoint, OnUnavailable, Route, State
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
