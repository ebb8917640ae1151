"""The registry is killed and comes back on the same store; the shadows were not asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from controlplane.launch.port import LaunchError
from controlplane.model.sandbox import Phase
from controlplane.model.workload import Workload
from controlplane.store.port import Contents
from proxy.contract.routes import State
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.launcher import Machine
from tests.controlplane.life.registry import Bench
from tests.controlplane.life.store import TroubledStore
from tests.controlplane.sandboxes import USERS, fork


async def test_what_runs_is_adopted_and_its_route_does_not_flap(bench: Bench) -> None:
    await bench.registry.definitions.put(Workload(workload=USERS, address="127.0.0.1:1"))
    await bench.apply()
    before = await bench.ready()
    revision = bench.registry.published.revision
    await bench.kill()
    await bench.open()
    route = bench.registry.published.lookup(USERS, "a")
    assert route is not None
    assert route.state is State.READY
    await bench.registry.sandboxes.adopted()
    assert bench.launcher.calls == ["adopt a shop/users r1"]
    assert bench.status() == before
    assert bench.registry.published.revision == revision
    assert bench.registry.published.since(USERS, 100) is not None


class Forgetful(TroubledStore):
    """Keeps objects and no change log, as a store does that knows nothing but objects."""

    async def load(self) -> Contents:
        contents = await super().load()
        later = contents.revision + 1_000_000
        return replace(contents, revision=later, floor=later, events=[])


async def test_a_store_without_a_change_log_serves_and_sidecars_get_a_snapshot(clock: FakeClock) -> None:
    bench = Bench(clock, Forgetful(), Machine())
    await bench.open()
    await bench.apply()
    await bench.ready()
    told = bench.registry.published.revision
    await bench.kill()
    await bench.open()
    published = bench.registry.published
    assert published.lookup(USERS, "a") is not None
    assert published.revision > told
    assert published.since(USERS, told) is None
    await bench.registry.sandboxes.adopted()
    await bench.close()


async def test_an_adopted_shadow_is_watched_stopped_and_read_like_any_other(bench: Bench, clock: FakeClock) -> None:
    await bench.apply()
    await bench.ready()
    await bench.kill()
    await bench.open()
    await bench.registry.sandboxes.adopted()
    (output,) = await bench.registry.sandboxes.output("a", USERS, 1)
    assert output.log == "line 200 of 1"
    await eventually(lambda: 1 in bench.machine.deaths)
    bench.machine.kill("a", USERS)
    await bench.until(Phase.FAILED)
    await eventually(lambda: 1.0 in clock.sleeping())
    clock.advance(1)
    await eventually(lambda: bench.machine.running() == ["a shop/users r1"])
    await bench.registry.sandboxes.delete("a")
    await eventually(lambda: clock.sleeping().count(9.0) == 1)
    clock.advance(9)
    await bench.runs()
    await eventually(bench.gone)


async def test_what_has_gone_meanwhile_is_started_again_at_its_revision(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    await bench.apply("a", fork(port=2))
    await bench.ready(revision=2)
    await bench.runs("a shop/users r2")
    await bench.kill()
    bench.machine.live.clear()
    await bench.open()
    await bench.runs("a shop/users r2")
    assert bench.launcher.calls == ["adopt a shop/users r2", "start a shop/users r2"]
    await eventually(lambda: bench.status().forks[0].state is State.READY)
    assert bench.registry.counters.adopted == 0


async def test_what_was_being_started_is_started_again(bench: Bench) -> None:
    bench.launcher.hold = {1}
    await bench.apply()
    await eventually(lambda: bench.launcher.calls != [])
    await bench.kill()
    await bench.open()
    await bench.runs("a shop/users r1")


async def test_an_update_that_was_under_way_goes_on(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    bench.launcher.hold = {2}
    await bench.apply("a", fork(port=2))
    await eventually(lambda: "start a shop/users r2" in bench.launcher.calls)
    await bench.kill()
    await bench.open()
    await eventually(lambda: bench.status().forks[0].revision == 2)
    assert bench.launcher.calls == ["adopt a shop/users r1", "start a shop/users r2"]


async def test_what_was_given_up_stays_given_up(bench: Bench) -> None:
    bench.launcher.failing[1] = LaunchError("broken")
    await bench.apply()
    await bench.until(Phase.FAILED)
    await bench.kill()
    await bench.open()
    await bench.registry.sandboxes.adopted()
    assert bench.phase() is Phase.FAILED
    assert "broken" in bench.status().forks[0].message
    assert bench.launcher.calls == []


async def test_what_had_died_is_started_at_once(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    bench.machine.kill("a", USERS)
    await bench.until(Phase.FAILED)
    await bench.kill()
    await bench.open()
    await bench.runs("a shop/users r1")


async def test_what_was_retiring_is_stopped_when_the_sidecars_had_time_to_come_back(
    bench: Bench, clock: FakeClock
) -> None:
    await bench.apply()
    await bench.ready()
    bench.launcher.stop_gate = asyncio.Event()
    await bench.apply("a", fork(port=2))
    await bench.ready(revision=2)
    await bench.kill()
    assert bench.machine.running() == ["a shop/users r1", "a shop/users r2"]
    await bench.open()
    await bench.registry.sandboxes.adopted()
    assert sorted(bench.launcher.calls) == ["adopt a shop/users r1", "adopt a shop/users r2"]
    await eventually(lambda: 10.0 in clock.sleeping())
    clock.advance(9.9)
    assert bench.machine.running() == ["a shop/users r1", "a shop/users r2"]
    clock.advance(0.2)
    await bench.runs("a shop/users r2")
    await eventually(lambda: bench.launcher.calls[-1] == "stop a shop/users r1")


async def test_a_deletion_that_was_under_way_goes_on(bench: Bench, clock: FakeClock) -> None:
    await bench.apply()
    await bench.ready()
    bench.launcher.stop_gate = asyncio.Event()
    await bench.registry.sandboxes.delete("a")
    await bench.kill()
    await bench.open()
    assert bench.phase() is Phase.DELETING
    tombstone = bench.registry.published.lookup(USERS, "a")
    assert tombstone is not None
    assert tombstone.state is State.ENDED
    assert bench.registry.sandboxes.owner("a") is None
    await eventually(lambda: 10.0 in clock.sleeping())
    clock.advance(10)
    await eventually(bench.gone)
    assert bench.machine.running() == []


async def test_keys_and_expiry_are_remembered(bench: Bench, clock: FakeClock) -> None:
    await bench.apply("a", routingKey="k", ttl="60s")
    await bench.ready()
    await bench.kill()
    clock.advance(61)
    await bench.open()
    assert bench.registry.sandboxes.owner("k") == "a"
    await eventually(lambda: bench.registry.counters.expired == 1)


async def test_after_a_restart_ready_waits_for_the_first_sidecar_to_come_back(bench: Bench) -> None:
    await bench.apply()
    await bench.ready()
    await bench.kill()
    await bench.open()
    await bench.apply("a", fork(port=2))
    await eventually(lambda: bench.status().forks[0].revision == 2)
    assert bench.phase() is Phase.PENDING
    sidecar = bench.sidecar()
    sidecar.acknowledge()
    await bench.ready(revision=2)
    assert bench.machine.running() == ["a shop/users r1", "a shop/users r2"]


async def test_a_launcher_that_fails_to_adopt_is_one_that_finds_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.apply()
    await bench.ready()
    await bench.kill()

    async def adopt(*_: object) -> None:
        raise OSError("no /proc")

    monkeypatch.setattr("tests.controlplane.life.launcher.MemoryLauncher.adopt", adopt)
    await bench.open()
    await eventually(lambda: bench.launcher.calls == ["start a shop/users r1"])
    assert "failed to adopt" in caplog.text
