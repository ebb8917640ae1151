"""What a shadow's calls to a host get that has no sidecar, from its first call on: real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.launch.process import ProcessLauncher
from controlplane.model.workload import Upstream
from proxy.contract.rules import Rule
from tests.controlplane.launch.test_process import definition, get, request
from tests.controlplane.process.marked import Marked


@pytest.fixture
async def launcher(tmp_path: Path, marked: Marked) -> AsyncIterator[ProcessLauncher]:
    launcher = ProcessLauncher(tmp_path / "shadows", marked.environ)
    yield launcher
    await ProcessLauncher(tmp_path / "shadows", marked.environ).sweep()


async def test_a_shadow_s_call_is_answered_by_a_stub(launcher: ProcessLauncher) -> None:
    bank = Upstream(name="bank", workload="ext/bank", address="api.bank.example:80")
    rule = Rule(name="paid", effect="respond", host="api.bank.example", path="/pay", body='{"paid": true}')
    asked = replace(request(of=definition(upstreams=(bank,))), rules=(rule,))
    running = await launcher.start(asked)
    answer = await get(running, "/call/bank/pay")
    assert (answer.status, await answer.json()) == (200, {"paid": True})
    told = answer.headers["skycap-served-by"]
    assert told == "shop/users;sandbox=agent-42;rev=3, api.bank.example:80;stub=paid"
    await launcher.stop(running)
