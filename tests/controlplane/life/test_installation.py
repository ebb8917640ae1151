"""What an installation does not have is refused by its name."""

from __future__ import annotations

import pytest

from controlplane.life.installation import Installation
from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import Phase
from tests.controlplane.life.launcher import Machine, MemoryLauncher
from tests.controlplane.life.registry import Bench
from tests.controlplane.sandboxes import USERS, fork, sandbox

IMAGE = {"workload": USERS, "image": "users:1"}


async def test_everything_that_is_missing_is_told_at_once_and_nothing_is_stored(bench: Bench) -> None:
    with pytest.raises(DocumentError) as caught:
        await bench.apply("a", IMAGE, fork("shop/cart"), previews=[{"name": "web", "workload": "shop/frontend"}])
    assert {problem.path: problem.message for problem in caught.value.problems} == {
        "spec.previews": "previews need a gateway, which this installation does not have: leave them out",
        "spec.forks[0].image": (
            "needs the kubernetes launcher, which this installation does not have: say endpoints or command"
        ),
    }
    assert bench.registry.sandboxes.all() == []


def test_what_it_has_it_takes() -> None:
    launcher = MemoryLauncher(Machine())
    there = Installation({"kubernetes": launcher}, gateway="preview.localhost")
    asked = sandbox("a", IMAGE, previews=[{"name": "web", "workload": "shop/frontend"}]).spec
    assert there.check(asked, lambda workload: None, lambda fork: False) == []
    assert there.launcher(asked.forks[0].launcher) is launcher


async def test_a_shadow_whose_launcher_is_gone_says_so(bench: Bench) -> None:
    """Stored by a registry that had the launcher, found by one that does not."""
    await bench.apply("a", fork())
    await bench.ready()
    await bench.kill()
    await bench.open(without="static")
    status = await bench.until(Phase.FAILED)
    assert "needs the static launcher, which this installation does not have: say command" in status.forks[0].message
