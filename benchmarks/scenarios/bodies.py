"""Large answers and uploads: CPU per MiB, and how much memory they take on their way through."""

from __future__ import annotations

import time

from benchmarks import accounting, measure
from benchmarks.errors import WrongAnswer
from benchmarks.load import bulk
from benchmarks.origin import MIB, UPLOAD_REQUESTS, file_traffic
from benchmarks.run import Origins, Run, Running
from benchmarks.scenario import Bound, Metric, Scenario, Target
from benchmarks.traffic import FORKED, Traffic

_CASES = {
    # case: MiB, upload, connections, title
    "download-1": (1, False, 8, "answers of 1 MiB, 8 connections"),
    "download-64": (64, False, 2, "answers of 64 MiB, 2 connections"),
    "upload-1": (1, True, 8, "uploads of 1 MiB, 8 connections"),
    "upload-64": (64, True, 2, "uploads of 64 MiB, 2 connections"),
}


def run(run: Run) -> None:
    """Keyed, to the shadow: the body takes the way that a decision opened."""
    origins = run.start_origins()
    fleet = run.single_hop_fleet(origins)
    run.steps(run.rounds * len(_CASES) * len(fleet))
    for running in fleet:
        measure.warm_up(running, Traffic(FORKED))
    for number in range(run.rounds):
        for case, (mib, upload, connections, title) in _CASES.items():
            for running in run.turns(fleet, number):
                run.step(f"round {number + 1} of {run.rounds}: {title}", running.name)
                traffic = file_traffic(mib, FORKED, upload)
                run.record(case, running.name, number, _turn(run, origins, running, traffic, mib, connections))
    run.check(fleet)


def _turn(
    run: Run, origins: Origins, running: Running, traffic: Traffic, mib: int, connections: int
) -> dict[str, float]:
    """CPU microseconds per MiB, MiB/s, and how far the resident set rose above where it was."""
    role = running.expected("shadow")
    before = measure.counts(origins)
    resident = 0
    for process in running.processes:
        accounting.reset_peak(process.pid)
        resident += accounting.resident_bytes(process.pid)
    cpu, clock = running.cpu_seconds(), time.perf_counter()
    moved = bulk.move(running.port, traffic, mib * MIB, role, connections, run.duration)
    used, wall = running.cpu_seconds() - cpu, time.perf_counter() - clock
    if moved.problems:
        raise WrongAnswer(f"{running.name}, {traffic.path}: {moved.problems[0]}")
    after = measure.settled(origins, running)
    arrived = {role: after[role] - before[role] for role in after}
    sent = moved.bodies * (UPLOAD_REQUESTS if traffic.body >= 0 else 1)
    measure.check_arrivals(running.name, arrived, role, sent, 0)
    values = {"rate": moved.bodies * mib / moved.seconds}
    if not running.direct:
        values["cpu_us_per_mib"] = used / (moved.bodies * mib) * 1e6
        values["busy"] = used / wall * 100
        peak = sum(accounting.peak_resident_bytes(process.pid) for process in running.processes)
        values["growth_mib"] = max(0, peak - resident) / MIB
    return values


SCENARIO = Scenario(
    name="bodies",
    summary="answers and uploads of 1 MiB and 64 MiB: CPU per MiB and memory",
    cases={case: title for case, (_, _, _, title) in _CASES.items()},
    metrics=(
        Metric("cpu_us_per_mib", "CPU per MiB", "us", 0),
        Metric("rate", "rate", "MiB/s", 0),
        Metric("growth_mib", "memory added", "MiB"),
        Metric("busy", "core used", "%", 0),
    ),
    targets=tuple(
        Target("cpu_us_per_mib", Bound.AT_MOST, limit, against="envoy", cases=(case,))
        for case, limit in (("download-1", 0.40), ("download-64", 0.50), ("upload-1", 0.75), ("upload-64", 0.65))
    ),
    run=run,
    rounds=2,
    duration=1.0,
)
