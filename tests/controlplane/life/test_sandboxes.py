"""The life of a sandbox, step by step, with a launcher in memory and a clock that stands still."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.launch.port import LaunchError
from controlplane.life.refusals import Closing, Conflict, NotFound
from controlplane.life.sandbox import SandboxLife
from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import Phase
from controlplane.model.workload import Workload
from controlplane.store.port import StoreError
from proxy.contract.routes import State
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.registry import Bench
from tests.controlplane.sandboxes import USERS, fork, sandbox

PROCESS = {"workload": USERS, "command": ["users"]}


# Create and update.


async def test_create_is_pending_then_ready(bench: Bench) -> None:
    sidecar = bench.sidecar()
    bench.launcher.hold = {1}
    await bench.apply()
    assert bench.phase() is Phase.PENDING
    assert sidecar.states() == ["pending r1"]
    bench.launcher.let()
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    assert bench.phase() is Phase.PENDING
    sidecar.acknowledge()
    status = await bench.ready()
    assert status.forks[0].endpoints == ("127.0.0.1:9102",)
    assert {one.type: one.status for one in status.conditions} == {
        "Ready": "True", "RoutesInForce": "True", "EndpointsReachable": "True", "WorkloadsKnown": "True",
    }  # fmt: skip


async def test_the_launcher_is_told_what_it_needs(bench: Bench) -> None:
    users = Workload(workload=USERS, address="127.0.0.1:1", command=("users",))
    await bench.registry.definitions.put(users)
    await bench.apply("a", PROCESS | {"env": {"A": "1"}}, routingKey="k")
    await bench.ready()
    (request,) = bench.machine.live.values()
    assert (request.sandbox, request.routing_key, request.workload, request.revision) == ("a", "k", USERS, 1)
    assert (request.definition, request.fork.command, request.fork.env) == (users, ("users",), {"A": "1"})


async def test_the_same_again_starts_nothing_and_restarts_the_ttl(bench: Bench, clock: FakeClock) -> None:
    await bench.apply()
    first = await bench.ready()
    clock.advance(60)
    again = (await bench.apply()).status
    assert again is not None
    assert again.revision == 1
    assert (again.expires - first.expires).total_seconds() == 60
    assert bench.launcher.calls == ["start a shop/users r1"]


async def test_an_update_switches_when_it_is_ready_and_stops_the_old_one_when_all_sidecars_know(bench: Bench) -> None:
    one, two = bench.sidecar("one"), bench.sidecar("two")
    await bench.apply()
    await eventually(lambda: one.states() == ["pending r1", "ready r1"])
    one.acknowledge()
    two.acknowledge()
    await bench.ready()
    bench.launcher.hold = {2}
    await bench.apply("a", fork(port=2))
    await eventually(lambda: "start a shop/users r2" in bench.launcher.calls)
    assert bench.status().forks[0].revision == 1
    bench.launcher.let()
    await eventually(lambda: one.states()[2:] == ["ready r2"])
    await bench.runs("a shop/users r1", "a shop/users r2")
    one.acknowledge()
    assert bench.machine.running() == ["a shop/users r1", "a shop/users r2"]
    assert bench.phase() is Phase.PENDING
    two.acknowledge()
    await bench.runs("a shop/users r2")
    await bench.ready(revision=2)


async def test_a_sidecar_that_hangs_delays_the_end_of_the_old_one_by_5_seconds(bench: Bench, clock: FakeClock) -> None:
    sidecar = bench.sidecar("slow")
    await bench.apply()
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    sidecar.acknowledge()
    await bench.ready()
    await bench.apply("a", fork(port=2))
    await bench.runs("a shop/users r1", "a shop/users r2")
    await eventually(lambda: clock.sleeping().count(5.0) == 2)
    clock.advance(4.9)
    assert bench.machine.running() == ["a shop/users r1", "a shop/users r2"]
    clock.advance(0.2)
    await bench.runs("a shop/users r2")
    status = await bench.ready(revision=2)
    assert status.conditions[1].reason == "SidecarsLag"
    assert status.conditions[1].message == "not acknowledged by slow"
    sidecar.acknowledge()
    await eventually(lambda: bench.status().conditions[1].status == "True")


async def test_a_failed_update_leaves_the_old_one_serving(bench: Bench) -> None:
    sidecar = bench.sidecar()
    await bench.apply()
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    sidecar.acknowledge()
    await bench.ready()
    bench.launcher.failing[2] = LaunchError("exit status 1 before it was ready", "Traceback\nImportError: x")
    await bench.apply("a", fork(port=2))
    status = await bench.until(Phase.DEGRADED)
    assert status.forks[0].state is State.READY
    assert status.forks[0].revision == 1
    assert status.forks[0].message == ("revision 2: exit status 1 before it was ready\nTraceback\nImportError: x")
    assert sidecar.states() == ["pending r1", "ready r1"]
    assert bench.machine.running() == ["a shop/users r1"]


async def test_a_failed_first_start_is_told_to_the_sidecars_and_not_tried_again_unasked(bench: Bench) -> None:
    sidecar = bench.sidecar()
    bench.launcher.failing[1] = LaunchError("no such file")
    await bench.apply()
    await bench.until(Phase.FAILED)
    assert sidecar.states() == ["pending r1", "failed r1"]
    assert bench.launcher.calls == ["start a shop/users r1"]
    del bench.launcher.failing[1]
    await bench.apply()
    await eventually(lambda: sidecar.states()[2:] == ["pending r1", "ready r1"])
    assert bench.launcher.calls == ["start a shop/users r1"] * 2


async def test_a_launcher_with_a_fault_is_a_failed_start(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.launcher.failing = {1: KeyError("bug")}  # type: ignore[dict-item]
    await bench.apply()
    status = await bench.until(Phase.FAILED)
    assert "the launcher failed" in status.forks[0].message
    assert "the launcher failed to start" in caplog.text


async def test_of_overlapping_updates_the_last_one_wins_and_nothing_leaks(bench: Bench) -> None:
    bench.launcher.hold = set(range(1, 20))
    for port in range(1, 11):
        await bench.apply("a", fork(port=port))
    await eventually(lambda: "start a shop/users r10" in bench.launcher.calls)
    bench.launcher.let()
    await bench.ready(revision=10)
    assert bench.machine.running() == ["a shop/users r10"]
    begun = {call.removeprefix("start ") for call in bench.launcher.calls if call.startswith("start ")}
    ended = {call.removeprefix("cancelled ") for call in bench.launcher.calls if call.startswith("cancelled ")}
    assert begun - ended == {"a shop/users r10"}


async def test_updates_at_the_same_moment_are_taken_in_turn(bench: Bench) -> None:
    await asyncio.gather(*(bench.apply("a", fork(port=port)) for port in range(1, 9)))
    status = await bench.ready(revision=8)
    assert status.forks[0].endpoints == ("127.0.0.1:8",)
    await bench.runs("a shop/users r8")


async def test_an_update_that_answers_in_the_moment_it_is_overtaken_is_stopped(bench: Bench) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    await eventually(lambda: bench.launcher.calls == ["start a shop/users r1"])
    bench.store.free.clear()
    bench.launcher.let()
    await eventually(lambda: bench.machine.running() == ["a shop/users r1"])
    update = bench.begin(bench.apply("a", fork(port=2)))
    await asyncio.sleep(0)
    bench.store.free.set()
    await update
    await bench.ready(revision=2)
    await bench.runs("a shop/users r2")


async def test_forks_live_each_for_themselves(bench: Bench) -> None:
    bench.launcher.failing[2] = LaunchError("broken")
    await bench.apply("a", fork(), fork("shop/cart", port=2))
    await bench.ready()
    await bench.apply("a", fork(), fork("shop/cart", port=3))
    status = await bench.until(Phase.DEGRADED)
    assert [one.message for one in status.forks] == ["", "revision 2: broken"]
    assert bench.launcher.calls.count("start a shop/users r1") == 1
    assert not any("shop/users r2" in call for call in bench.launcher.calls)


async def test_a_fork_that_an_update_drops_loses_its_route_and_is_stopped(bench: Bench) -> None:
    sidecar = bench.sidecar()
    await bench.apply("a", fork(), fork("shop/cart", port=2))
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    sidecar.acknowledge()
    await bench.ready()
    await bench.apply("a", fork("shop/cart", port=2))
    assert sidecar.states()[2:] == ["gone"]
    assert "a shop/users r1" in bench.machine.running()
    sidecar.acknowledge()
    await bench.runs("a shop/cart r1")
    await bench.ready(revision=2)


async def test_a_dropped_fork_that_is_still_starting_is_cancelled(bench: Bench) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    await eventually(lambda: bench.launcher.calls == ["start a shop/users r1"])
    bench.launcher.hold = {1, 2}
    await bench.apply("a", fork("shop/cart"))
    await eventually(lambda: "cancelled a shop/users r1" in bench.launcher.calls)
    bench.launcher.let()
    await bench.runs("a shop/cart r2")


# Refusals.


async def test_a_routing_key_has_one_owner(bench: Bench) -> None:
    await bench.apply("a", routingKey="k")
    with pytest.raises(Conflict, match="'k' is the routing key of sandbox 'a'"):
        await bench.apply("b", routingKey="k")
    with pytest.raises(Conflict, match="'k' is the routing key of sandbox 'a'"):
        await bench.apply("k")
    await bench.apply("b", routingKey="l")
    await bench.ready("a")
    await bench.registry.sandboxes.delete("a")
    await bench.apply("c", routingKey="k")
    assert bench.registry.sandboxes.owner("k") == "c"


async def test_of_two_that_want_one_key_at_once_one_gets_it(bench: Bench) -> None:
    outcomes = await asyncio.gather(
        bench.apply("a", routingKey="k"), bench.apply("b", routingKey="k"), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Sandbox"]


async def test_a_key_that_was_claimed_for_what_could_not_be_stored_is_free_again(bench: Bench) -> None:
    bench.store.problem = StoreError("full", full=True)
    with pytest.raises(StoreError):
        await bench.apply("a", routingKey="k")
    bench.store.problem = None
    assert bench.registry.sandboxes.owner("k") is None
    await bench.apply("b", routingKey="k")


async def test_the_routing_key_cannot_change(bench: Bench) -> None:
    await bench.apply("a", routingKey="k")
    with pytest.raises(DocumentError, match="routingKey: is 'k' and cannot change"):
        await bench.apply("a", routingKey="l")
    await bench.ready("a")
    await bench.registry.sandboxes.delete("a")
    await bench.apply("a", routingKey="l")
    assert bench.registry.sandboxes.owner("k") is None
    assert bench.registry.sandboxes.owner("l") == "a"


async def test_a_process_needs_a_baseline_that_says_how(bench: Bench) -> None:
    with pytest.raises(DocumentError, match=r"forks\[0\].workload: no baseline of shop/users is registered"):
        await bench.apply("a", PROCESS)
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1"))
    with pytest.raises(DocumentError, match=r"forks\[0\].command: the baseline of shop/users was not started by"):
        await bench.apply("a", PROCESS)
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1", command=("x",)))
    with pytest.raises(DocumentError, match=r"forks\[0\].env.PORT: every copy gets its own"):
        await bench.apply("a", PROCESS | {"env": {"PORT": "1"}})
    await bench.apply("a", PROCESS)
    await bench.ready("a")
    await bench.registry.definitions.delete(USERS)
    await bench.apply("a", PROCESS)


async def test_what_is_not_there(bench: Bench) -> None:
    sandboxes = bench.registry.sandboxes
    for ask in (sandboxes.delete("a"), sandboxes.settled("a", 0), sandboxes.output("a", "", 10)):
        with pytest.raises(NotFound, match="there is no sandbox 'a'"):
            await ask
    assert await sandboxes.gone("a", 0) is None


# Delete and expiry.


async def test_delete_takes_the_routes_away_before_it_stops(bench: Bench) -> None:
    sidecar = bench.sidecar()
    await bench.apply()
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    sidecar.acknowledge()
    await bench.ready()
    await bench.registry.sandboxes.delete("a")
    assert sidecar.states()[2:] == ["gone"]
    assert bench.phase() is Phase.DELETING
    assert bench.machine.running() == ["a shop/users r1"]
    sidecar.acknowledge()
    await bench.runs()
    await eventually(bench.gone)
    assert [record.finished for record in (await bench.store.load()).sandboxes] == [True]


async def test_deleting_twice_is_deleting_once(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    bench.launcher.stop_gate = asyncio.Event()
    await bench.registry.sandboxes.delete("a")
    await bench.registry.sandboxes.delete("a")
    bench.launcher.stop_gate.set()
    await eventually(bench.gone)
    assert bench.launcher.calls == ["start a shop/users r1", "stop a shop/users r1"]


async def test_delete_during_a_start_cancels_it(bench: Bench) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    await eventually(lambda: bench.launcher.calls == ["start a shop/users r1"])
    await bench.registry.sandboxes.delete("a")
    assert bench.gone()
    await eventually(lambda: bench.launcher.calls[-1] == "cancelled a shop/users r1")


async def test_what_is_created_again_while_it_is_deleted_goes_on_counting(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    bench.launcher.stop_gate = asyncio.Event()
    await bench.registry.sandboxes.delete("a")
    _, created = await bench.registry.sandboxes.apply(sandbox("a"))
    assert created
    await bench.ready(revision=2)
    await bench.runs("a shop/users r1", "a shop/users r2")
    bench.launcher.stop_gate.set()
    await bench.runs("a shop/users r2")
    assert bench.phase() is Phase.READY


async def test_waiting_for_the_end(bench: Bench, clock: FakeClock) -> None:
    await bench.apply()
    await bench.ready()
    bench.launcher.stop_gate = asyncio.Event()
    await bench.registry.sandboxes.delete("a")
    waiting = bench.begin(bench.registry.sandboxes.gone("a", 7))
    await eventually(lambda: 7.0 in clock.sleeping())
    clock.advance(7)
    left = await waiting
    assert left is not None
    assert left.status is not None
    assert left.status.phase is Phase.DELETING
    waiting = bench.begin(bench.registry.sandboxes.gone("a", 7))
    bench.launcher.stop_gate.set()
    assert await waiting is None


async def test_the_ttl_deletes(bench: Bench, clock: FakeClock) -> None:
    await bench.apply("a", ttl="90s")
    await bench.apply("b", routingKey="l")
    await bench.ready("a")
    await bench.ready("b")
    for _ in range(3):
        await eventually(lambda: 30.0 in clock.sleeping())
        assert not bench.gone()
        clock.advance(30)
    await eventually(bench.gone)
    assert not bench.gone("b")
    await bench.runs("b shop/users r1")
    assert bench.registry.counters.expired == 1


async def test_an_update_restarts_the_ttl(bench: Bench, clock: FakeClock) -> None:
    await bench.apply("a", ttl="20s")
    await bench.ready()
    await eventually(lambda: 20.0 in clock.sleeping())
    clock.advance(15)
    await bench.apply("a", ttl="20s")
    clock.advance(5)
    await eventually(lambda: 15.0 in clock.sleeping())
    assert not bench.gone()
    clock.advance(15)
    await eventually(bench.gone)


async def test_a_wall_clock_that_is_set_forward_is_noticed(bench: Bench, clock: FakeClock) -> None:
    await bench.apply("a", ttl="4h")
    await bench.ready()
    await eventually(lambda: 30.0 in clock.sleeping())
    clock.shift(5 * 3600)
    clock.advance(30)
    await eventually(bench.gone)


async def test_a_wall_clock_that_is_set_back_makes_no_sandbox_immortal(
    bench: Bench, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.apply("a", ttl="20s")
    await bench.ready()
    await eventually(lambda: 20.0 in clock.sleeping())
    clock.advance(15)
    clock.shift(-86400)
    await bench.apply("b", routingKey="l", ttl="1s")  # somebody works on
    await eventually(lambda: 1.0 in clock.sleeping())
    clock.advance(1)
    await eventually(lambda: bench.gone("b"))
    assert not bench.gone()
    await eventually(lambda: 4.0 in clock.sleeping())
    clock.advance(4)
    await eventually(bench.gone)
    assert "the wall clock was set back by 1 day, 0:00:00" in caplog.text


async def test_the_log_says_that_the_wall_clock_was_set_forward(
    bench: Bench, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.apply("a", ttl="4h")
    await bench.ready()
    await eventually(lambda: 30.0 in clock.sleeping())
    clock.shift(4)
    clock.advance(30)
    await eventually(lambda: 30.0 in clock.sleeping())
    assert "wall clock" not in caplog.text, "a small step"
    clock.shift(5 * 3600)
    clock.advance(30)
    await eventually(bench.gone)
    assert "the wall clock has gone forward by 5:00:0" in caplog.text  # with the small step, or without


async def test_what_expires_while_the_store_is_full_is_deleted_when_it_can_be(bench: Bench, clock: FakeClock) -> None:
    await bench.apply("a", ttl="20s")
    await bench.ready()
    bench.store.problem = StoreError("full", full=True)
    await eventually(lambda: 20.0 in clock.sleeping())
    clock.advance(20)
    await eventually(lambda: 1.0 in clock.sleeping())
    assert bench.phase() is Phase.READY
    bench.store.problem = None
    clock.advance(1)
    await eventually(bench.gone)


# Death and back-off.


async def test_a_shadow_that_dies_is_failed_and_started_again_with_back_off(bench: Bench, clock: FakeClock) -> None:
    sidecar = bench.sidecar()
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1", command=("users",)))
    await bench.apply("a", PROCESS)
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    sidecar.acknowledge()
    await bench.ready()
    for pause in (1.0, 2.0, 4.0):
        bench.machine.kill("a", USERS, "killed by signal 9", "last words")
        await eventually(lambda: bench.phase() is Phase.FAILED)
        assert bench.status().forks[0].message == (
            f"revision 1: killed by signal 9; it is started again in {pause:g} s\nlast words"
        )
        assert sidecar.states()[-1] == "failed r1"
        sidecar.acknowledge()
        await eventually(lambda pause=pause: pause in clock.sleeping())  # type: ignore[misc]
        clock.advance(pause)
        await eventually(lambda: sidecar.states()[-1] == "ready r1")
        sidecar.acknowledge()
        await bench.ready(revision=1)
    assert bench.registry.counters.died == 3


async def test_one_that_ran_long_begins_with_the_first_pause_again(bench: Bench, clock: FakeClock) -> None:
    await bench.apply()
    for pause in (1.0, 2.0):
        await bench.ready()
        bench.machine.kill("a", USERS)
        await eventually(lambda pause=pause: pause in clock.sleeping())  # type: ignore[misc]
        clock.advance(pause)
    await bench.ready()
    clock.advance(60)
    bench.machine.kill("a", USERS)
    await bench.until(Phase.FAILED)
    assert "again in 1 s" in bench.status().forks[0].message


async def test_a_restart_that_fails_is_tried_again_later_still(bench: Bench, clock: FakeClock) -> None:
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1", command=("users",)))
    await bench.apply("a", PROCESS)
    await bench.ready()
    bench.launcher.failing[1] = LaunchError("port is taken")
    bench.machine.kill("a", USERS)
    await eventually(lambda: 1.0 in clock.sleeping())
    clock.advance(1)
    await eventually(lambda: "port is taken; it is started again in 2 s" in bench.status().forks[0].message)
    bench.launcher.failing.clear()
    await eventually(lambda: 2.0 in clock.sleeping())
    clock.advance(2)
    await bench.ready()


async def test_asking_again_does_not_wait_for_the_back_off(bench: Bench, clock: FakeClock) -> None:
    await bench.apply()
    await bench.ready()
    bench.machine.kill("a", USERS)
    await bench.until(Phase.FAILED)
    await bench.apply()
    await bench.ready()
    assert clock.monotonic() == FakeClock().monotonic()


async def test_an_update_of_what_has_died_does_not_wait_for_the_back_off(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    bench.machine.kill("a", USERS)
    await bench.until(Phase.FAILED)
    await bench.apply("a", fork(port=2))
    await bench.ready(revision=2)
    assert bench.machine.running() == ["a shop/users r2"]


async def test_the_good_revision_comes_back_when_it_dies_after_a_failed_update(bench: Bench, clock: FakeClock) -> None:
    await bench.apply()
    await bench.ready()
    bench.launcher.failing[2] = LaunchError("broken")
    await bench.apply("a", fork(port=2))
    await bench.until(Phase.DEGRADED)
    bench.machine.kill("a", USERS)
    await bench.until(Phase.FAILED)
    await eventually(lambda: 1.0 in clock.sleeping())
    clock.advance(1)
    status = await bench.until(Phase.DEGRADED)
    assert status.forks[0].revision == 1
    assert status.forks[0].message == "revision 2: broken"


async def test_a_shadow_that_dies_during_an_update_leaves_the_update_its_chance(bench: Bench) -> None:
    sidecar = bench.sidecar()
    await bench.apply()
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    sidecar.acknowledge()
    await bench.ready()
    bench.launcher.hold = {2}
    await bench.apply("a", fork(port=2))
    await eventually(lambda: "start a shop/users r2" in bench.launcher.calls)
    bench.machine.kill("a", USERS)
    await eventually(lambda: sidecar.states()[2:] == ["pending r2"])
    bench.launcher.let()
    await eventually(lambda: sidecar.states()[3:] == ["ready r2"])
    assert bench.launcher.calls.count("start a shop/users r1") == 1


# Waiting and output.


async def test_waiting_until_it_is_settled(bench: Bench, clock: FakeClock) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    waiting = bench.begin(bench.registry.sandboxes.settled("a", 7))
    await eventually(lambda: 7.0 in clock.sleeping())
    assert not waiting.done()
    bench.launcher.let()
    found = (await waiting).status
    assert found is not None
    assert found.phase is Phase.READY


async def test_waiting_ends_with_its_time(bench: Bench, clock: FakeClock) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    waiting = bench.begin(bench.registry.sandboxes.settled("a", 7))
    await eventually(lambda: 7.0 in clock.sleeping())
    clock.advance(7)
    found = (await waiting).status
    assert found is not None
    assert found.phase is Phase.PENDING


async def test_waiting_for_what_is_deleted_meanwhile(bench: Bench) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    waiting = bench.begin(bench.registry.sandboxes.settled("a", 7))
    await asyncio.sleep(0)
    await bench.registry.sandboxes.delete("a")
    with pytest.raises(NotFound):
        await waiting


async def test_output_of_what_runs_and_of_what_failed(bench: Bench) -> None:
    await bench.apply("a", fork(), fork("shop/cart", port=2))
    await bench.ready()
    bench.launcher.failing[2] = LaunchError("broken", "one\ntwo\nthree")
    await bench.apply("a", fork(port=3), fork("shop/cart", port=2))
    await bench.until(Phase.DEGRADED)
    outputs = await bench.registry.sandboxes.output("a", USERS, 2)
    assert [(one.workload, one.revision, one.state, one.log) for one in outputs] == [
        (USERS, 1, "running", "line 199 of 1\nline 200 of 1"),
        (USERS, 2, "ended", "two\nthree"),
    ]
    assert len(await bench.registry.sandboxes.output("a", "", 1)) == 3
    assert await bench.registry.sandboxes.output("a", "shop/else", 1) == []


# The store.


async def test_what_cannot_be_stored_has_not_happened(bench: Bench) -> None:
    sidecar = bench.sidecar()
    await bench.apply()
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    sidecar.acknowledge()
    before = (await bench.ready()).model_dump()
    bench.store.problem = StoreError("the registry's store is full: nothing was changed", full=True)
    with pytest.raises(StoreError, match="full"):
        await bench.apply("a", fork(port=2))
    with pytest.raises(StoreError, match="full"):
        await bench.apply("b", routingKey="l")
    with pytest.raises(StoreError, match="full"):
        await bench.registry.sandboxes.delete("a")
    assert bench.status().model_dump() == before
    assert bench.gone("b")
    assert sidecar.states() == ["pending r1", "ready r1"]
    assert bench.launcher.calls == ["start a shop/users r1"]


async def test_a_shadow_that_answers_while_the_store_is_full_serves_as_soon_as_it_can_be_stored(
    bench: Bench, clock: FakeClock
) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    bench.store.problem = StoreError("the registry's store is full: nothing was changed", full=True)
    bench.launcher.let()
    await eventually(lambda: bench.status().conditions[-1].type == "Stored")
    assert bench.status().conditions[-1].message == "the registry's store is full: nothing was changed"
    assert bench.phase() is Phase.PENDING
    await eventually(lambda: 1.0 in clock.sleeping())
    clock.advance(1)
    await eventually(lambda: 2.0 in clock.sleeping())
    bench.store.problem = None
    clock.advance(2)
    status = await bench.ready()
    assert [one.type for one in status.conditions] == ["Ready", "RoutesInForce", "EndpointsReachable", "WorkloadsKnown"]
    assert bench.launcher.calls == ["start a shop/users r1"]


async def test_who_asks_and_goes_away_does_not_leave_half_a_step(bench: Bench) -> None:
    bench.store.free.clear()
    asking = bench.begin(bench.apply("a"))
    await eventually(lambda: bench.store.writes == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    bench.store.free.set()
    await eventually(lambda: not bench.gone())
    await bench.ready()
    await bench.apply("a", fork(port=2))
    await bench.ready(revision=2)


# The end.


async def test_the_end_stops_the_shadows_and_tells_the_sidecars(bench: Bench) -> None:
    sidecar = bench.sidecar()
    await bench.apply()
    await eventually(lambda: sidecar.states() == ["pending r1", "ready r1"])
    sidecar.acknowledge()
    await bench.ready()
    await bench.close(stop_shadows=True)
    assert bench.machine.running() == []
    assert sidecar.states()[2:] == ["pending r1"]
    assert sidecar.wire.closed
    stored = (await bench.store.load()).sandboxes[0]
    assert stored.retiring == ()
    assert stored.phase is Phase.PENDING
    await bench.open()
    await bench.runs("a shop/users r1")
    bench.sidecar()
    await eventually(lambda: bench.status().forks[0].state is State.READY)


async def test_the_end_can_leave_the_shadows_running(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    await bench.close(stop_shadows=False)
    assert bench.machine.running() == ["a shop/users r1"]


async def test_the_end_stops_the_shadows_even_when_that_cannot_be_stored(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    bench.store.problem = StoreError("full", full=True)
    await bench.close(stop_shadows=True)
    assert bench.machine.running() == []
    bench.store.problem = None
    await bench.open()
    await bench.runs("a shop/users r1")


async def test_the_end_cancels_what_is_being_started(bench: Bench) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    await eventually(lambda: bench.launcher.calls == ["start a shop/users r1"])
    launcher = bench.launcher
    await bench.close()
    assert launcher.calls[-1] == "cancelled a shop/users r1"


async def test_nothing_is_taken_on_any_more(bench: Bench) -> None:
    bench.registry._around.closing.set()
    with pytest.raises(Closing):
        await bench.apply()
    with pytest.raises(Closing):
        await bench.registry.sandboxes.delete("a")


async def test_a_short_ttl_that_comes_while_another_is_being_deleted(
    bench: Bench, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.apply("a", ttl="20s")
    await bench.ready()
    await eventually(lambda: 20.0 in clock.sleeping())
    sandboxes = bench.registry.sandboxes
    delete = sandboxes._expiry._delete

    async def apply_meanwhile(life: SandboxLife) -> None:
        if life.name == "a":
            await bench.apply("b", routingKey="l", ttl="5s")
        await delete(life)

    monkeypatch.setattr(sandboxes._expiry, "_delete", apply_meanwhile)
    clock.advance(20)
    await eventually(lambda: 5.0 in clock.sleeping())
    clock.advance(5)
    await eventually(lambda: bench.gone("b"))
