"""Faults of our own, in the tasks that last as long as the registry: told or mended, never silent."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.life.fork import ForkLife
from controlplane.model.sandbox import Phase
from proxy.base import tasks
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.registry import Bench
from tests.controlplane.sandboxes import fork


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "FIRST_PAUSE_SECONDS", 0.01)


def failing_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    real = getattr(owner, name)
    failed: list[str] = []

    def work(*arguments: Any, **more: Any) -> Any:
        if not failed:
            failed.append(name)
            raise LookupError("a fault of our own")
        return real(*arguments, **more)

    monkeypatch.setattr(owner, name, work)


async def test_the_expiry(bench: Bench, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.apply("a", ttl="60s")
    await bench.ready()
    failing_once(monkeypatch, bench.registry.sandboxes._expiry._deadlines, "notice_jump")
    await eventually(lambda: 30.0 in clock.sleeping())
    clock.advance(31)
    await eventually(lambda: bench.registry.trouble == "expiry: LookupError: a fault of our own")
    await eventually(lambda: bench.registry.sandboxes._expiry._next_look > clock.monotonic())
    clock.advance(31)
    await eventually(bench.gone)


async def test_the_heartbeat(bench: Bench, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar = bench.sidecar()
    failing_once(monkeypatch, bench.registry.watchers, "beat")
    await eventually(lambda: 15.0 in clock.sleeping())
    clock.advance(15)
    await eventually(lambda: "heartbeat: LookupError" in bench.registry.trouble)
    await eventually(lambda: clock.sleeping().count(15.0) == 2)  # the expiry's, too
    clock.advance(15)
    await eventually(lambda: b": keep-alive" in sidecar.wire.data)


async def test_the_life_of_one_fork_is_taken_up_again_and_harms_nobody_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.apply("a")
    await bench.ready("a")
    failing_once(monkeypatch, ForkLife, "_bury")
    await bench.apply("a", fork(port=2))
    await bench.ready("a", revision=2)
    assert bench.registry.trouble == ""
    await bench.apply("b")
    await bench.ready("b")


async def test_the_end_of_a_copy_that_retires(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.apply("a")
    await bench.ready("a")
    failing_once(monkeypatch, bench.registry.sidecars, "abandoned")
    await bench.registry.sandboxes.delete("a")
    assert bench.phase() is Phase.DELETING
    await eventually(bench.gone)
    await bench.runs()
