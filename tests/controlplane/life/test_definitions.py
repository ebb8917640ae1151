from __future__ import annotations

import pytest

from controlplane.life import definitions as module
from controlplane.life.refusals import TooMany
from controlplane.model.workload import Workload
from controlplane.store.port import StoreError
from tests.controlplane.life.registry import Bench
from tests.controlplane.sandboxes import USERS


def workload(name: str = USERS, port: int = 1) -> Workload:
    return Workload(workload=name, address=f"127.0.0.1:{port}")


async def test_put_replace_delete(bench: Bench) -> None:
    definitions = bench.registry.definitions
    assert await definitions.put(workload())
    assert not await definitions.put(workload(port=2))
    assert await definitions.put(workload("shop/cart"))
    assert definitions.all() == [workload("shop/cart"), workload(port=2)]
    assert await definitions.delete(USERS)
    assert not await definitions.delete(USERS)
    assert definitions.get(USERS) is None


async def test_the_same_again_writes_nothing(bench: Bench) -> None:
    await bench.registry.definitions.put(workload())
    writes = bench.store.writes
    await bench.registry.definitions.put(workload())
    assert bench.store.writes == writes


async def test_they_survive_a_restart(bench: Bench) -> None:
    await bench.registry.definitions.put(workload())
    await bench.kill()
    await bench.open()
    assert bench.registry.definitions.all() == [workload()]


async def test_what_cannot_be_stored_is_not_registered(bench: Bench) -> None:
    bench.store.problem = StoreError("full", full=True)
    with pytest.raises(StoreError):
        await bench.registry.definitions.put(workload())
    assert bench.registry.definitions.all() == []


async def test_there_is_a_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WORKLOADS", 1)
    await bench.registry.definitions.put(workload())
    with pytest.raises(TooMany, match="1 workloads are registered"):
        await bench.registry.definitions.put(workload("shop/cart"))
    await bench.registry.definitions.put(workload(port=2))
