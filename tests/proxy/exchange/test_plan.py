"""Plans: which pool comes next."""

from __future__ import annotations

from proxy.contract.routes import Endpoint
from proxy.errors import APP_UNREACHABLE
from proxy.exchange.plan import HOLD, POOLS, Plan
from proxy.routing.decision import Action
from tests.proxy.exchange.playbook import PlayedPool, ready


def plan_of(count: int) -> Plan:
    pools = [PlayedPool(Endpoint("127.0.0.1", 9000 + number), 0) for number in range(count)]
    return Plan(
        POOLS, Action.SHADOW, [0] * 6, failure=APP_UNREACHABLE, detail="x", pools=pools, key="a", route=ready("a")
    )


def test_attempts_of_one_request_meet_every_pool_once() -> None:
    plan = plan_of(3)
    for _ in range(7):
        tried = [plan.next_pool(attempt) for attempt in range(3)]
        assert len({id(pool) for pool in tried}) == 3


def test_first_attempts_take_turns() -> None:
    plan = plan_of(3)
    first = [plan.next_pool(0) for _ in range(9)]
    assert all(first.count(pool) == 3 for pool in plan.pools)
    assert first[:3] == first[3:6] == first[6:]


def test_the_only_pool_is_at_hand() -> None:
    assert plan_of(1).pool is plan_of(1).pools[0] or plan_of(1).pool is not None
    assert plan_of(2).pool is None
    assert plan_of(0).pool is None


def test_repr_and_sandbox() -> None:
    assert repr(plan_of(2)) == "<Plan shadow key=a pools=2>"
    assert plan_of(1).sandbox == "a"
    assert Plan(POOLS, Action.BASELINE, [], failure=APP_UNREACHABLE, detail="").sandbox == ""
    held = Plan(HOLD, Action.HOLD_PENDING, [], failure=APP_UNREACHABLE, detail="", wait=100)
    assert repr(held) == "<Plan hold-pending key=- pools=0>"
