"""What sidecars tell the registry, and what it makes of that: the scenarios with few hops and sidecars."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.machine import Cores
from benchmarks.progress import Progress
from benchmarks.run import Run
from benchmarks.scenario import Scenario
from benchmarks.scenarios import feedback, hops


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(hops, "KEPT_HOPS", 100)
    monkeypatch.setattr(hops, "WATCHERS", 3)
    monkeypatch.setattr(hops, "CHANGE_SECONDS", 0.1)
    monkeypatch.setattr(feedback, "FAILURES", 3)


def samples(scenario: Scenario, folder: Path) -> dict[str, dict[str, float]]:
    """Case -> the figures of one short round."""
    available = tuple(sorted(os.sched_getaffinity(0)))
    with ExitStack() as stack:
        run = Run(
            scenario=scenario, rounds=1, duration=0.3, candidates=[], tools={},
            cores=Cores(available, available, available), folder=folder, progress=Progress(Console(quiet=True)),
            stack=stack,
        )  # fmt: skip
        scenario.run(run)
    return {sample.case: dict(sample.values) for sample in run.samples}


@pytest.mark.timeout(180)
def test_hops_are_taken_and_changes_arrive_beside_them(tmp_path: Path) -> None:
    found = samples(hops.SCENARIO, tmp_path)
    assert set(found) == set(hops.SCENARIO.cases)
    assert all(values["core_percent"] > 0 and values["memory_mib"] > 10 for values in found.values())
    assert found["changes"]["last_p99_ms"] >= found["changes"]["last_p50_ms"] > 0


@pytest.mark.timeout(180)
def test_each_failure_is_told_of(tmp_path: Path) -> None:
    found = samples(feedback.SCENARIO, tmp_path)
    assert set(found) == set(feedback.SCENARIO.cases)
    for values in found.values():
        assert values["p99_ms"] >= values["p50_ms"] > hops.BATCH_SECONDS * 1000
