"""How many sandboxes there may be, of all and of one owner."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.life.installation import Installation
from controlplane.life.quota import Quota
from controlplane.life.refusals import TooMany
from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import parse_sandbox
from tests.controlplane.eventually import eventually
from tests.controlplane.life.registry import Bench
from tests.controlplane.sandboxes import document


def limited(bench: Bench, quota: Quota) -> None:
    """As if the registry had been started with it."""
    around = bench.registry.sandboxes._around
    installation = Installation(around.installation.launchers, quota=quota)
    object.__setattr__(around, "installation", installation)


async def apply(bench: Bench, name: str, owner: str | None = "ada") -> None:
    said = document(name)
    if owner:
        said["metadata"]["owner"] = owner
    await bench.registry.sandboxes.apply(parse_sandbox(said))


async def test_so_many_and_one_more_when_one_is_gone(bench: Bench) -> None:
    limited(bench, Quota(sandboxes=2))
    await apply(bench, "a")
    await apply(bench, "b", None)
    with pytest.raises(TooMany, match="there are 2 sandboxes, which is the limit: delete one"):
        await apply(bench, "c")
    await apply(bench, "a", "bob")
    await bench.registry.sandboxes.delete("b")
    await eventually(lambda: bench.gone("b"))
    await apply(bench, "c")


async def test_each_owner_has_so_many_and_nobody_is_without_a_name(bench: Bench) -> None:
    limited(bench, Quota(per_owner=1))
    await apply(bench, "a")
    await apply(bench, "a")
    await apply(bench, "b", "bob")
    with pytest.raises(TooMany, match="'ada' has 1 sandbox, which is the limit of each owner"):
        await apply(bench, "c")
    with pytest.raises(TooMany, match="'ada' has 1 sandbox"):
        await apply(bench, "b", "ada")
    with pytest.raises(DocumentError, match=r"metadata\.owner: is required"):
        await apply(bench, "d", None)


async def test_of_two_that_come_at_once_one_is_refused(bench: Bench) -> None:
    limited(bench, Quota(per_owner=1))
    bench.store.free.clear()
    first, second = bench.begin(apply(bench, "a")), bench.begin(apply(bench, "b"))
    await eventually(lambda: second.done())
    bench.store.free.set()
    await first
    assert isinstance(second.exception(), TooMany)
    await asyncio.sleep(0)
    assert bench.gone("b")
