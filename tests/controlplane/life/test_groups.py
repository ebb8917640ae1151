"""Route groups: several sandboxes under one further key."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.life.groups import RETRY_SECONDS
from controlplane.life.refusals import Conflict, NotFound
from controlplane.model.group import GroupPhase, RouteGroup, parse_group
from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import Phase
from controlplane.model.tombstone import KEPT_SECONDS
from controlplane.model.workload import Workload
from controlplane.store.port import StoreError
from proxy.contract.routes import State
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.registry import Bench
from tests.controlplane.sandboxes import USERS, fork

CART = "shop/cart"


def group(name: str, *members: str, **spec: Any) -> RouteGroup:
    document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "RouteGroup", "metadata": {"name": name}}
    return parse_group(document | {"spec": {"members": list(members), **spec}}, name)


async def apply(bench: Bench, name: str, *members: str, **spec: Any) -> RouteGroup:
    found, _ = await bench.registry.groups.apply(group(name, *members, **spec))
    return found


def led(bench: Bench, workload: str, key: str = "g") -> str:
    """Where the key is led, as a sidecar was told."""
    route = bench.registry.published.lookup(workload, key)
    return "nowhere" if route is None else f"{route.sandbox} r{route.revision} {route.state.value}"


def shown(bench: Bench, name: str = "g") -> RouteGroup:
    found = bench.registry.groups.get(name)
    assert found is not None
    assert found.status is not None
    return found


async def both(bench: Bench) -> None:
    """Sandboxes a and b are ready, each with a fork of its own."""
    await bench.apply("a", fork())
    await bench.apply("b", fork(CART, port=2))
    await bench.ready("a")
    await bench.ready("b")


async def test_the_key_of_a_group_leads_to_the_shadows_of_all_its_members(bench: Bench) -> None:
    await both(bench)
    sidecar = bench.sidecar()
    found = await apply(bench, "g", "a", "b")
    assert found.status is not None
    assert (found.status.phase, found.status.message) == (GroupPhase.READY, "")
    assert [(one.sandbox, one.workloads) for one in found.status.members] == [("a", (USERS,)), ("b", (CART,))]
    assert (led(bench, USERS), led(bench, CART), led(bench, "shop/orders")) == ("a r1 ready", "b r1 ready", "nowhere")
    sidecar.acknowledge()
    assert sidecar.table["g"].endpoints == sidecar.table["a"].endpoints
    assert "g" in sidecar.keys
    assert "none of its sandboxes forks shop/orders" in bench.registry.explain("g", "shop/orders").reason
    assert bench.registry.explain("g", USERS).sandbox == "a"


async def test_it_follows_its_members(bench: Bench) -> None:
    await both(bench)
    await apply(bench, "g", "a", "b")
    await bench.apply("a", fork(port=3))
    await eventually(lambda: led(bench, USERS) == "a r2 ready")
    await bench.apply("b", fork("shop/orders", port=4))
    await eventually(lambda: (led(bench, CART), led(bench, "shop/orders")) == ("nowhere", "b r2 ready"))


async def test_an_old_shadow_is_not_stopped_before_the_group_has_left_it(bench: Bench, clock: FakeClock) -> None:
    await both(bench)
    await apply(bench, "g", "a", "b")
    bench.store.refuses = {"g"}
    await bench.apply("a", fork(port=3))
    await bench.runs("a shop/users r1", "a shop/users r2", "b shop/cart r1")
    await eventually(lambda: RETRY_SECONDS in clock.sleeping())
    assert led(bench, USERS) == "a r1 ready"
    bench.store.refuses = set()
    clock.advance(RETRY_SECONDS)
    await bench.runs("a shop/users r2", "b shop/cart r1")
    assert led(bench, USERS) == "a r2 ready"


async def test_two_members_that_fork_the_same_workload_are_refused_by_name(bench: Bench) -> None:
    await both(bench)
    await bench.apply("c", fork(port=3), fork(CART, port=4))
    with pytest.raises(Conflict) as refused:
        await apply(bench, "g", "a", "b", "c")
    (problem,) = refused.value.problems
    assert problem.path == "spec.members"
    assert "a and c both fork shop/users, and nobody can say which is meant: take one of them out" in problem.message
    assert "b and c both fork shop/cart" in problem.message
    assert bench.registry.groups.get("g") is None


async def test_a_conflict_that_comes_later_is_told_and_its_requests_refused(bench: Bench) -> None:
    await both(bench)
    await apply(bench, "g", "a", "b")
    await bench.apply("b", fork(CART, port=2), fork(port=5))
    await eventually(lambda: led(bench, USERS) == "g r1 failed")
    assert led(bench, CART).startswith("b r")
    status = shown(bench).status
    assert status is not None
    assert status.phase is GroupPhase.CONFLICT
    assert [(one.workload, one.sandboxes) for one in status.conflicts] == [(USERS, ("a", "b"))]
    assert "a and b both fork shop/users" in bench.registry.explain("g", USERS).reason
    assert led(bench, USERS, "a").startswith("a r1"), "each goes on under its own key"
    await bench.apply("b", fork(CART, port=2))
    await eventually(lambda: led(bench, USERS) == "a r1 ready")


async def test_a_member_that_is_missing_is_taken_in_when_it_is_made(bench: Bench) -> None:
    await bench.apply("a", fork())
    await bench.ready("a")
    found = await apply(bench, "g", "a", "b")
    assert found.status is not None
    assert (found.status.phase, found.status.message) == (GroupPhase.INCOMPLETE, "there is no sandbox 'b'")
    await bench.apply("b", fork(CART, port=2))
    await eventually(lambda: led(bench, CART) == "b r1 ready")
    assert shown(bench).status.phase is GroupPhase.READY  # type: ignore[union-attr]


async def test_what_a_member_had_is_told_ended_and_without_any_member_it_ends(bench: Bench) -> None:
    await both(bench)
    await apply(bench, "g", "a", "b")
    await bench.registry.sandboxes.delete("a")
    await eventually(lambda: led(bench, USERS) == "a r1 ended")
    assert led(bench, CART) == "b r1 ready"
    await bench.registry.sandboxes.delete("b")
    await eventually(lambda: led(bench, CART) == "b r1 ended")
    assert bench.registry.groups.get("g") is not None, "its members' keys are remembered, and so is where it led"


async def test_a_group_that_is_deleted_is_remembered_until_somebody_takes_its_key(bench: Bench) -> None:
    await both(bench)
    await apply(bench, "g", "a", "b")
    await bench.registry.groups.delete("g")
    assert bench.registry.groups.get("g") is None
    assert (led(bench, USERS), led(bench, CART)) == ("g r1 ended", "g r1 ended")
    assert led(bench, USERS, "a") == "a r1 ready"
    with pytest.raises(NotFound):
        await bench.registry.groups.delete("g")
    await bench.apply("c", fork(port=7), routingKey="g")
    await eventually(lambda: led(bench, USERS) == "c r1 ready")
    assert led(bench, CART) == "nowhere", "no tombstone of another is in its way"


async def test_after_a_day_its_key_is_forgotten(bench: Bench, clock: FakeClock) -> None:
    await both(bench)
    await bench.apply("a", fork(), ttl="7d")
    await apply(bench, "g", "a")
    await bench.registry.groups.delete("g")
    assert led(bench, USERS) == "g r1 ended"
    await eventually(lambda: 60.0 in clock.sleeping())
    clock.advance(KEPT_SECONDS + 60)
    await eventually(lambda: led(bench, USERS) == "nowhere")


async def test_a_key_belongs_to_one_of_them(bench: Bench) -> None:
    await both(bench)
    with pytest.raises(Conflict, match="'a' is the routing key of sandbox 'a'"):
        await apply(bench, "g", "b", routingKey="a")
    await apply(bench, "g", "a")
    with pytest.raises(Conflict, match="'g' is the routing key of route group 'g'"):
        await apply(bench, "other", "b", routingKey="g")
    with pytest.raises(Conflict, match="'g' is the routing key of route group 'g'"):
        await bench.apply("g", fork("shop/x"))
    with pytest.raises(Conflict, match="cannot change"):
        await apply(bench, "g", "a", routingKey="other")


async def test_it_is_the_same_after_kill_9(bench: Bench) -> None:
    await both(bench)
    await apply(bench, "g", "a", "b")
    await bench.kill()
    await bench.open()
    assert (led(bench, USERS), led(bench, CART)) == ("a r1 ready", "b r1 ready")
    assert bench.registry.groups.names() == ["g"]
    revision = bench.registry.published.revision
    await bench.apply("a", fork(port=9))
    await eventually(lambda: led(bench, USERS) == "a r2 ready")
    assert bench.registry.published.since(USERS, revision) is not None


async def test_a_request_with_its_key_wakes_a_member(bench: Bench) -> None:
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1", command=("users",)))
    await bench.apply("a", {"workload": USERS, "command": ["users"]}, idle="1h")
    await bench.ready("a")
    await apply(bench, "g", "a")
    assert await bench.registry.sandboxes._lives["a"].step(lambda record, now: record.slept(now))
    await eventually(lambda: led(bench, USERS) == "a r1 pending")
    route = bench.registry.published.lookup(USERS, "g")
    assert route is not None
    assert (route.state, route.asleep) == (State.PENDING, True)
    await bench.registry.wake(["g"])
    await eventually(lambda: led(bench, USERS) == "a r1 ready")
    await bench.ready("a")
    assert bench.phase("a") is Phase.READY


async def test_what_cannot_be_stored_has_not_happened(bench: Bench) -> None:
    await both(bench)
    bench.store.problem = StoreError("the disk is gone")
    with pytest.raises(StoreError):
        await apply(bench, "g", "a")
    bench.store.problem = None
    assert (bench.registry.groups.get("g"), led(bench, USERS)) == (None, "nowhere")
    await apply(bench, "g", "a")


def test_what_is_no_group_is_told_with_its_path() -> None:
    wrong: list[dict[str, list[str]]] = [{"members": []}, {"members": ["a", "a"]}, {}, {"members": ["A"]}]
    for spec in wrong:
        document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "RouteGroup", "metadata": {"name": "g"}, "spec": spec}
        with pytest.raises(DocumentError, match=r"spec\.members"):
            parse_group(document, "g")
    with pytest.raises(DocumentError, match=r"metadata\.name: 'g' is not 'h'"):
        parse_group(document | {"spec": {"members": ["a"]}}, "h")
