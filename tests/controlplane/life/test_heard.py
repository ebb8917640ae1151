"""A fork of a workload that nobody knows: green, and no request ever gets there."""

from __future__ import annotations

from controlplane.model.sandbox import Condition, Phase
from controlplane.model.workload import Workload
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.registry import Bench
from tests.controlplane.sandboxes import USERS, fork


def known(bench: Bench, name: str = "a") -> Condition:
    return next(one for one in bench.status(name).conditions if one.type == "WorkloadsKnown")


async def test_a_misspelt_workload_is_told_with_what_was_probably_meant(bench: Bench) -> None:
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1"))
    applied = await bench.apply("a", fork("shop/usres"))
    await bench.ready()
    said = known(bench)
    assert (said.status, said.reason) == ("False", "UnknownWorkloads")
    assert said.message == (
        "nobody knows shop/usres (did you mean shop/users?): no baseline and no sidecar, so no request is led there"
    )
    assert applied.status is not None
    assert said.message in [one.message for one in applied.status.conditions]
    assert said.message in [one.message for one in bench.registry.sandboxes.all()[0].status.conditions]  # type: ignore[union-attr]


async def test_a_baseline_or_a_sidecar_makes_it_known(bench: Bench, clock: FakeClock) -> None:
    await bench.apply("a", fork(USERS), fork("shop/cart"))
    assert known(bench).message.startswith("nobody knows shop/users, shop/cart: ")
    first = known(bench).last_transition_time
    clock.advance(60)
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1"))
    assert known(bench).message.startswith("nobody knows shop/cart: ")
    assert known(bench).last_transition_time == first
    bench.sidecar("cart-1", "shop/cart")
    assert (known(bench).status, known(bench).message) == ("True", "")
    assert known(bench).last_transition_time > first


async def test_after_a_restart_sidecars_may_still_come_back(bench: Bench, clock: FakeClock) -> None:
    bench.sidecar()
    await bench.apply()
    await bench.kill()
    await bench.open()
    await bench.registry.sandboxes.adopted()
    assert (known(bench).status, known(bench).reason) == ("Unknown", "SidecarsReturn")
    clock.advance(11)
    assert known(bench).status == "False"


async def test_guesses_are_bounded(bench: Bench) -> None:
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1"))
    for number in range(30):
        await bench.apply(f"s{number}", fork(f"shop/usres{number}"))
    told = [one.status.conditions for one in bench.registry.sandboxes.all() if one.status is not None]
    messages = [one.message for conditions in told for one in conditions if one.type == "WorkloadsKnown"]
    assert sum("did you mean" in message for message in messages) == 20
    assert all(message.startswith("nobody knows") for message in messages)


async def test_what_is_being_deleted_has_no_such_condition(bench: Bench) -> None:
    sidecar = bench.sidecar()
    await bench.apply()
    await eventually(lambda: "ready r1" in sidecar.states())
    sidecar.acknowledge()
    await bench.ready()
    await bench.registry.sandboxes.delete("a")
    status = bench.status()
    assert status.phase is Phase.DELETING
    assert "WorkloadsKnown" not in [one.type for one in status.conditions]
