"""Sandboxes that nobody calls sleep, and the request that comes then wakes them."""

from __future__ import annotations

import pytest

from controlplane.hops.port import Line
from controlplane.launch.port import LaunchError
from controlplane.life.idle import LOOK_SECONDS
from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import Phase
from controlplane.model.workload import Workload
from proxy.contract.routes import Route, State
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.registry import Bench, FakeSidecar
from tests.controlplane.sandboxes import USERS, fork

PROCESS = {"workload": USERS, "command": ["users"]}
IDLE = 60


async def ready(bench: Bench, *more: dict[str, object]) -> FakeSidecar:
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1", command=("users",)))
    sidecar = bench.sidecar()
    await bench.apply("a", PROCESS, *more, idle="60s")
    await eventually(lambda: sidecar.states()[-1:] == ["ready r1"])
    sidecar.acknowledge()
    await bench.ready()
    return sidecar


async def looked(bench: Bench, clock: FakeClock, seconds: float) -> None:
    """So many seconds later, and every second somebody has looked."""
    for _ in range(round(seconds / LOOK_SECONDS)):
        await eventually(lambda: LOOK_SECONDS in clock.sleeping())
        clock.advance(LOOK_SECONDS)


async def asleep(bench: Bench, clock: FakeClock, sidecar: FakeSidecar) -> None:
    await looked(bench, clock, IDLE + 1)
    await eventually(lambda: bench.phase() is Phase.SLEEPING)
    sidecar.acknowledge()
    await bench.runs()


async def called(bench: Bench, key: str = "a") -> None:
    await bench.registry.hops.add(key, [Line("1", "", "t", b"{}")])


def route(sidecar: FakeSidecar, key: str = "a") -> Route:
    return sidecar.table[key]


async def test_it_sleeps_when_nobody_calls_and_a_request_wakes_it(bench: Bench, clock: FakeClock) -> None:
    sidecar = await ready(bench)
    await looked(bench, clock, IDLE - 1)
    assert bench.phase() is Phase.READY
    await looked(bench, clock, 2)
    await eventually(lambda: bench.phase() is Phase.SLEEPING)
    sidecar.acknowledge()
    assert (route(sidecar).state, route(sidecar).asleep, route(sidecar).revision) == (State.PENDING, True, 1)
    await bench.runs()
    condition = bench.status().conditions[0]
    assert (condition.reason, condition.status) == ("Asleep", "False")
    assert condition.message == "nobody has called for 60s: its shadows are stopped until the next request"
    assert "sleeps, as nobody called" in bench.registry.explain("a", USERS).reason

    await bench.registry.sandboxes.wake(["a", "nobody-has-this"])
    sidecar.acknowledge()
    assert not route(sidecar).asleep, "whoever waits is not to say so again"
    await eventually(lambda: sidecar.states()[-1] == "ready r1")
    sidecar.acknowledge()
    await bench.ready()
    await bench.runs("a shop/users r1")
    assert bench.launcher.calls == ["start a shop/users r1", "stop a shop/users r1", "start a shop/users r1"]


async def test_calls_and_open_connections_keep_it_awake(bench: Bench, clock: FakeClock) -> None:
    await ready(bench)
    await looked(bench, clock, IDLE - 5)
    await called(bench)
    await looked(bench, clock, IDLE - 5)
    assert bench.phase() is Phase.READY
    (number,) = bench.machine.live
    bench.machine.called.add(number)
    await looked(bench, clock, 3 * IDLE)
    assert bench.phase() is Phase.READY, "somebody has a connection open"
    bench.machine.called.clear()
    await looked(bench, clock, 2)
    await eventually(lambda: bench.phase() is Phase.SLEEPING)


async def test_woken_it_stays_awake_for_as_long_again(bench: Bench, clock: FakeClock) -> None:
    sidecar = await ready(bench)
    await asleep(bench, clock, sidecar)
    await bench.registry.sandboxes.wake(["a"])
    await eventually(lambda: sidecar.states()[-1] == "ready r1")
    sidecar.acknowledge()
    await bench.ready()
    await looked(bench, clock, IDLE - 2)
    assert bench.phase() is Phase.READY
    await asleep(bench, clock, sidecar)


async def test_a_request_that_comes_while_the_shadow_is_being_stopped_waits_for_the_next_one(
    bench: Bench, clock: FakeClock
) -> None:
    sidecar = await ready(bench)
    await looked(bench, clock, IDLE + 1)
    await eventually(lambda: bench.phase() is Phase.SLEEPING)
    await bench.registry.sandboxes.wake(["a"])
    assert bench.phase() is Phase.PENDING
    assert bench.launcher.calls == ["start a shop/users r1"], "no sidecar has let go of the old one"
    sidecar.acknowledge()
    await eventually(lambda: sidecar.states()[-1] == "ready r1")
    assert bench.launcher.calls == ["start a shop/users r1", "stop a shop/users r1", "start a shop/users r1"]
    await bench.runs("a shop/users r1")


async def test_an_update_wakes_it_and_what_others_run_is_left_alone(bench: Bench, clock: FakeClock) -> None:
    sidecar = await ready(bench, fork("shop/cart"))
    await looked(bench, clock, IDLE + 1)
    await eventually(lambda: bench.phase() is Phase.SLEEPING)
    sidecar.acknowledge()
    await bench.runs("a shop/cart r1")
    states = {one.workload: one.state for one in bench.status().forks}
    assert states == {USERS: State.PENDING, "shop/cart": State.READY}
    await bench.apply("a", PROCESS, fork("shop/cart"), idle="60s")
    await eventually(lambda: sidecar.states()[-1] == "ready r1")
    sidecar.acknowledge()
    await bench.ready(revision=1)


async def test_one_that_does_not_start_again_says_so(bench: Bench, clock: FakeClock) -> None:
    sidecar = await ready(bench)
    await asleep(bench, clock, sidecar)
    bench.launcher.failing[1] = LaunchError("its database is gone")
    await bench.registry.sandboxes.wake(["a"])
    status = await bench.until(Phase.FAILED)
    assert "its database is gone; it is started again in 1 s" in status.forks[0].message


async def test_it_sleeps_on_when_the_registry_is_killed_and_comes_back(bench: Bench, clock: FakeClock) -> None:
    sidecar = await ready(bench)
    await asleep(bench, clock, sidecar)
    await bench.kill()
    await bench.open()
    assert bench.phase() is Phase.SLEEPING
    sidecar = bench.sidecar()
    assert route(sidecar).asleep
    await bench.registry.sandboxes.wake(["a"])
    await bench.runs("a shop/users r1")


async def test_without_idle_it_never_sleeps_and_deleted_in_its_sleep_it_is_gone(bench: Bench, clock: FakeClock) -> None:
    sidecar = await ready(bench)
    await bench.apply("b", PROCESS)
    await asleep_one(bench, clock, sidecar)
    assert bench.phase("b") is Phase.READY
    await bench.registry.sandboxes.delete("a")
    await eventually(lambda: bench.gone("a"))


async def asleep_one(bench: Bench, clock: FakeClock, sidecar: FakeSidecar) -> None:
    sidecar.acknowledge()
    await eventually(lambda: sidecar.states()[-1] == "ready r1" and len(sidecar.states()) >= 4)
    sidecar.acknowledge()
    await bench.ready("b")
    await looked(bench, clock, IDLE + 1)
    await eventually(lambda: bench.phase() is Phase.SLEEPING)
    sidecar.acknowledge()
    await bench.runs("b shop/users r1")


async def test_idle_needs_a_shadow_that_we_start(bench: Bench) -> None:
    with pytest.raises(DocumentError, match=r"spec\.idle: needs a shadow that we start"):
        await bench.apply("a", fork(), idle="30m")
