"""The agents' whole loop, of a few: with a real registry, real sidecars, and real processes, none of which is left."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.load.loop import LoopTally
from benchmarks.machine import Cores
from benchmarks.progress import Progress
from benchmarks.run import Run
from benchmarks.scenarios import agents
from tests.tools import find, require


@pytest.mark.timeout(180)  # twenty processes start
def test_each_is_told_what_it_broke_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("nginx")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    available = tuple(sorted(os.sched_getaffinity(0)))
    with ExitStack() as stack:
        run = Run(
            scenario=agents.SCENARIO, rounds=1, duration=1.0, candidates=[], tools={"nginx": Path(find("nginx") or "")},
            cores=Cores(available, available, available), folder=tmp_path, progress=Progress(Console(quiet=True)),
            stack=stack,
        )  # fmt: skip
        site = agents._Site(run)
        figures = asyncio.run(agents._loop(site, 3))
        change = asyncio.run(agents._change(site, 1))
    assert (figures["requests"], figures["misrouted"], figures["lost"], figures["left"]) == (30, 0, 0, 0)
    assert figures["told_p50_ms"] > 0
    assert change["pushed_ms"] > 0 < change["woken_ms"]
    assert set(figures) | set(change) <= {metric.name for metric in agents.SCENARIO.metrics}


def test_one_fault_is_a_verdict() -> None:
    assert LoopTally(requests=10).verdict() == ""
    tally = LoopTally(requests=10, lost=1, problems=["agent-1: it died"])
    assert tally.verdict() == "0 of 10 requests misrouted, 1 lost; 1 could not go on, the first: agent-1: it died"
