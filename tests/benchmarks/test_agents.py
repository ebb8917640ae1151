"""What agents send, what they report, and the application that they fork."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

from benchmarks import probe
from benchmarks.errors import ToolMissing
from benchmarks.load import micro, shadow
from benchmarks.load.agents import Tally, identity, name_of
from benchmarks.machine import free_ports
from benchmarks.process import Process
from benchmarks.registry import sandbox
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.micro import parse
from benchmarks.traffic import Traffic
from controlplane.model.sandbox import parse_sandbox


class Calls:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, *_: object) -> None:
        self.times += 1


@pytest.mark.parametrize("fork", [{"endpoints": ["127.0.0.1:9"]}, {"command": ["python"], "env": {"SHADOW": "x"}}])
def test_the_documents_are_valid_sandboxes(fork: dict[str, object]) -> None:
    parsed = parse_sandbox(sandbox(name_of(7), "shop/users", fork))
    assert parsed.routing_key == "agent-7"
    assert parsed.spec.forks[0].workload == "shop/users"


def test_a_shadow_says_who_it_is(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    variables = [f"PORT={port}", f"SHADOW={identity(3, 2)}"]
    command = ["env", *variables, sys.executable, "-I", "-S", str(Path(shadow.__file__))]
    with Process("shadow", command, os.sched_getaffinity(0), tmp_path) as process:
        process.await_ready(lambda: probe.answers(port))
        with probe.connect(port) as connection:
            for number in range(2):
                answer = probe.exchange(connection, Traffic().head(number, Traffic().template()))
                assert answer.body == b"agent-3/2"


def test_a_tally_without_faults_has_no_verdict() -> None:
    assert Tally(requests=40).verdict() == ""


@pytest.mark.parametrize(
    ("tally", "verdict"),
    [
        (Tally(requests=40, misrouted=1), "1 of 40 requests misrouted, 0 lost"),
        (Tally(requests=40, lost=2), "0 of 40 requests misrouted, 2 lost"),
        (Tally(requests=40, problems=["a", "b"]), "0 of 40 requests misrouted, 0 lost; first problem: a"),
    ],
)
def test_one_fault_is_a_verdict(tally: Tally, verdict: str) -> None:
    assert tally.verdict() == verdict


@pytest.mark.interpreted
def test_the_steps_of_a_request_run_and_make_the_same_calls_every_time() -> None:
    counted = {title: micro.python_calls(case) for title, case in micro.cases().items()}
    assert counted == {title: micro.python_calls(case) for title, case in micro.cases().items()}
    assert counted["route among 100"] == counted["route among 100,000"]
    assert 0 < counted["exchange, no key"] <= counted["exchange, keyed"]


@pytest.mark.interpreted
def test_what_the_garbage_collector_calls_is_no_call_of_a_step() -> None:
    case = micro.cases()["exchange, keyed"]
    counted = micro.python_calls(case)
    thresholds = gc.get_threshold()
    called = Calls()
    gc.callbacks.append(called)
    gc.set_threshold(1)
    try:
        assert micro.python_calls(case) == counted
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(called)
    assert called.times


def test_the_values_of_pyperf_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "micro.json"
    path.write_text(
        """{"benchmarks": [
            {"metadata": {"name": "a"}, "runs": [{"warmups": [[1, 9]]}, {"values": [1e-6, 2e-6]}, {"values": [3e-6]}]},
            {"metadata": {"name": "b"}, "runs": [{"values": [5e-9]}]}]}"""
    )
    assert parse(path) == {"a": [1e-6, 2e-6, 3e-6], "b": [5e-9]}


def test_without_pyperf_nothing_is_measured_and_that_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.scenarios.micro.find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="pyperf not found; install with: pip install pyperf"):
        SCENARIOS["micro"].run(None)  # type: ignore[arg-type]
