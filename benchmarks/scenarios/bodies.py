"""Large answers and uploads: CPU per MiB, and how much memory they take on their way through."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks import accounting, measure
from benchmarks.errors import WrongAnswer
from benchmarks.load import bulk
from benchmarks.load.bulk import Moved
from benchmarks.origin import MIB, UPLOAD_REQUESTS, file_traffic
from benchmarks.run import Origins, Run, Running
from benchmarks.scenario import Bound, Metric, Scenario, Target
from benchmarks.traffic import FORKED, Traffic

CASES = {
    # case: MiB, upload, connections, title
    "download-1": (1, False, 8, "answers of 1 MiB, 8 connections"),
    "download-64": (64, False, 2, "answers of 64 MiB, 2 connections"),
    "upload-1": (1, True, 8, "uploads of 1 MiB, 8 connections"),
    "upload-64": (64, True, 2, "uploads of 64 MiB, 2 connections"),
}


METRICS = (
    Metric("cpu_us_per_mib", "CPU per MiB", "us", 0),
    Metric("rate", "rate", "MiB/s", 0),
    Metric("growth_mib", "memory added", "MiB"),
    Metric("busy", "core used", "%", 0),
)


def run(run: Run) -> None:
    """Keyed, to the shadow: the body takes the way that a decision opened."""
    origins = run.start_origins()
    fleet = run.single_hop_fleet(origins)
    run.steps(run.rounds * len(CASES) * len(fleet))
    for running in fleet:
        measure.warm_up(running, Traffic(FORKED))
    for number in range(run.rounds):
        for case, (mib, upload, connections, title) in CASES.items():
            for running in run.turns(fleet, number):
                run.step(f"round {number + 1} of {run.rounds}: {title}", running.name)
                traffic = file_traffic(mib, FORKED, upload)
                role = running.expected("shadow")
                move = partial(bulk.move, running.port, traffic, mib * MIB, role, connections, run.duration)
                requests = UPLOAD_REQUESTS if upload else 1
                run.record(case, running.name, number, turn(origins, running, role, mib, requests, move))
    run.check(fleet)


def turn(
    origins: Origins, running: Running, role: str, mib: int, requests: int, move: Callable[[], Moved]
) -> dict[str, float]:
    """CPU microseconds per MiB, MiB/s, and how far the resident set rose above where it was.

    requests: that one body of `mib` MiB adds to what has reached `role`.
    """
    before = measure.counts(origins)
    resident = 0
    for process in running.processes:
        accounting.reset_peak(process.pid)
        resident += accounting.resident_bytes(process.pid)
    cpu, clock = running.cpu_seconds(), time.perf_counter()
    moved = move()
    used, wall = running.cpu_seconds() - cpu, time.perf_counter() - clock
    if moved.problems:
        raise WrongAnswer(f"{running.name}, {mib} MiB: {moved.problems[0]}")
    after = measure.settled(origins, running)
    arrived = {role: after[role] - before[role] for role in after}
    measure.check_arrivals(running.name, arrived, role, moved.bodies * requests, 0)
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
    cases={case: title for case, (_, _, _, title) in CASES.items()},
    metrics=METRICS,
    targets=tuple(
        Target("cpu_us_per_mib", Bound.AT_MOST, limit, against="envoy", cases=(case,))
        for case, limit in (("download-1", 0.40), ("download-64", 0.50), ("upload-1", 0.75), ("upload-64", 0.65))
    ),
    run=run,
    rounds=2,
    duration=1.0,
)
