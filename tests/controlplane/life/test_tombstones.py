"""Keys of sandboxes that have ended: remembered, told, stored, and given to whoever takes them next."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.life import sandboxes
from controlplane.life.installation import Installation
from controlplane.model.explanation import Decision
from controlplane.model.sandbox import Phase
from controlplane.model.tombstone import KEPT_SECONDS, MAX_OF_ONE
from proxy.contract.routes import OnUnavailable, Route, State, decode_tombstone
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.registry import Bench
from tests.controlplane.sandboxes import USERS, fork

CART = "shop/cart"


def left(bench: Bench, key: str = "a", workload: str = USERS) -> Route | None:
    return bench.registry.published.lookup(workload, key)


def state(bench: Bench, key: str = "a", workload: str = USERS) -> str:
    route = left(bench, key, workload)
    return route.state.value if route is not None else "none"


async def delete(bench: Bench, name: str = "a") -> None:
    await bench.registry.sandboxes.delete(name)
    await eventually(lambda: bench.gone(name))


async def made_and_deleted(bench: Bench, name: str = "a", *forks: dict[str, Any], **spec: Any) -> None:
    await bench.apply(name, *forks, **spec)
    await bench.ready(name)
    await delete(bench, name)


async def test_a_deleted_key_is_told_as_ended_with_when_and_why(bench: Bench, clock: FakeClock) -> None:
    sidecar = bench.sidecar()
    await bench.apply()
    await eventually(lambda: "ready r1" in sidecar.states())
    sidecar.acknowledge()
    await bench.ready()
    assert sidecar.keys == {"a"}
    await bench.registry.sandboxes.delete("a")
    name, told = sidecar.events()[-1]
    assert name == "delete"
    tombstone = decode_tombstone(told["ended"])
    assert tombstone == left(bench)
    assert (tombstone.sandbox, tombstone.revision, tombstone.why) == ("a", 1, "it was deleted")
    assert tombstone.since == clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
    assert sidecar.keys == set()


async def test_one_that_expired_says_so(bench: Bench, clock: FakeClock) -> None:
    await bench.apply("a", ttl="5m")
    await bench.ready()
    await eventually(lambda: 30.0 in clock.sleeping())
    for _ in range(11):
        clock.advance(30)
        await eventually(lambda: 30.0 in clock.sleeping() or bench.gone())
    await eventually(bench.gone)
    tombstone = left(bench)
    assert tombstone is not None
    assert tombstone.why == "it expired, as its ttl was 5m"


async def test_it_is_explained(bench: Bench) -> None:
    await made_and_deleted(bench)
    found = bench.registry.explain("a", USERS)
    assert found.decision is Decision.ERROR
    assert "sandbox 'a' has ended at " in found.reason
    assert "it was deleted: 503 `sandbox-ended`" in found.reason
    assert not found.known  # a tombstone makes no workload


async def test_it_survives_a_restart_without_secrets(bench: Bench) -> None:
    await bench.apply("a", {"workload": USERS, "endpoints": ["127.0.0.1:1"]})
    await bench.ready()
    await delete(bench)
    before = left(bench)
    await bench.kill()
    (record,) = (await bench.store.load()).sandboxes
    assert record.observed.forks[0].good is None
    await bench.open()
    assert left(bench) == before
    assert bench.registry.sandboxes.all() == []
    pieces = b"".join(bench.registry.published.snapshot(USERS))
    assert b'"routes":[],"ended":[{' in pieces


async def test_it_is_forgotten_after_a_day(bench: Bench, clock: FakeClock) -> None:
    await made_and_deleted(bench)
    again = bench.sidecar("again")
    clock.advance(KEPT_SECONDS - 60)
    await eventually(lambda: 30.0 in clock.sleeping())
    assert state(bench) == "ended"
    clock.advance(31)

    def forgotten() -> bool:
        clock.advance(31)
        return state(bench) == "none"

    await eventually(forgotten)
    assert "ended" not in again.events()[-1][1]
    assert (await bench.store.load()).sandboxes == []


async def test_the_same_name_takes_its_key_back(bench: Bench) -> None:
    await made_and_deleted(bench)
    await bench.apply()
    assert state(bench) == "pending"
    await bench.ready()
    assert state(bench) == "ready"


async def test_while_it_is_still_being_deleted_too(bench: Bench) -> None:
    sidecar = bench.sidecar()
    await bench.apply()
    await eventually(lambda: "ready r1" in sidecar.states())
    sidecar.acknowledge()
    await bench.registry.sandboxes.delete("a")
    assert (bench.phase(), state(bench)) == (Phase.DELETING, "ended")
    await bench.apply("a", routingKey="other")
    assert (state(bench), state(bench, "other")) == ("ended", "pending")


async def test_an_old_key_of_a_name_that_lives_again_is_still_remembered(bench: Bench) -> None:
    await made_and_deleted(bench, "a", routingKey="old")
    await bench.apply("a", routingKey="new")
    await bench.ready()
    assert (state(bench, "old"), state(bench, "new")) == ("ended", "ready")
    await bench.kill()
    await bench.open()
    assert (state(bench, "old"), state(bench, "new")) == ("ended", "ready")
    await bench.registry.sandboxes.adopted()


async def test_another_sandbox_takes_the_key_and_nothing_of_the_tombstone_is_left(bench: Bench) -> None:
    await made_and_deleted(bench, "a", fork(USERS), fork(CART), routingKey="k")
    users, cart = bench.sidecar("users-1", USERS), bench.sidecar("cart-1", CART)
    bench.store.writes = 0
    await bench.apply("b", fork(USERS), routingKey="k")
    route = left(bench, "k")
    assert route is not None
    assert (route.sandbox, route.state) == ("b", State.PENDING)
    assert state(bench, "k", CART) == "none"
    assert cart.events()[-1] == ("delete", {"workload": CART, "key": "k"})
    assert users.events()[0][0] == "put"
    assert (users.keys, cart.keys) == ({"k"}, {"k"})
    await delete(bench, "b")
    again = left(bench, "k")
    assert again is not None
    assert (again.sandbox, again.state) == ("b", State.ENDED)


async def test_a_registry_that_was_killed_in_between_lets_the_living_have_the_key(bench: Bench) -> None:
    await made_and_deleted(bench, "a", fork(USERS), fork(CART), routingKey="k")
    bench.store.refuses = {"a"}  # the old tombstone is not taken away
    await bench.apply("b", fork(USERS), routingKey="k")
    await bench.kill()
    bench.store.refuses = set()
    await bench.open()
    route = left(bench, "k")
    assert route is not None
    assert route.sandbox == "b"
    assert state(bench, "k", CART) == "none"
    await eventually(lambda: state(bench, "k") == "ready")


async def test_a_fork_that_an_update_drops_is_no_end(bench: Bench) -> None:
    await bench.apply("a", fork(USERS), fork(CART))
    await bench.ready()
    await bench.apply("a", fork(USERS))
    assert state(bench, "a", CART) == "none"


async def test_an_installation_may_let_the_baseline_answer(bench: Bench) -> None:
    around = bench.registry._around
    lenient = Installation(around.installation.launchers, ended=OnUnavailable.BASELINE)
    object.__setattr__(around, "installation", lenient)
    await made_and_deleted(bench)
    route = left(bench)
    assert route is not None
    assert (route.state, route.on_unavailable) == (State.ENDED, OnUnavailable.BASELINE)
    assert bench.registry.explain("a", USERS).decision is Decision.BASELINE


async def test_who_asked_for_the_baseline_gets_it(bench: Bench) -> None:
    await made_and_deleted(bench, "a", onUnavailable="baseline")
    route = left(bench)
    assert route is not None
    assert route.on_unavailable is OnUnavailable.BASELINE


async def test_one_name_remembers_a_bounded_number_of_keys(bench: Bench) -> None:
    for number in range(MAX_OF_ONE + 2):
        await made_and_deleted(bench, "a", routingKey=f"k{number}")
    states = [state(bench, f"k{number}") for number in range(MAX_OF_ONE + 2)]
    assert states == ["none"] * 2 + ["ended"] * MAX_OF_ONE


async def test_the_oldest_is_forgotten_for_the_newest(
    bench: Bench, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandboxes, "MAX_TOMBSTONES", 2)
    for name in ("a", "b", "c"):
        await made_and_deleted(bench, name)
        clock.advance(1)

    def forgotten() -> bool:
        clock.advance(31)
        return state(bench, "a") == "none"

    await eventually(forgotten)
    assert (state(bench, "b"), state(bench, "c")) == ("ended", "ended")


async def test_keys_are_told_in_pieces_to_who_connects(bench: Bench) -> None:
    await bench.apply("a")
    await bench.apply("b", routingKey="k")
    assert bench.registry.published.keys == {"a", "k"}
    await bench.kill()
    await bench.open()
    assert bench.registry.published.keys == {"a", "k"}
