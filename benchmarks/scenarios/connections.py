"""What a connection costs: memory of an idle one, CPU of a new one."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack

from benchmarks import accounting, measure, probe
from benchmarks.errors import WrongAnswer
from benchmarks.origin import MIB
from benchmarks.run import Run, Running
from benchmarks.scenario import SKYCAP_INTERPRETED, Bound, Metric, Scenario, Target
from benchmarks.traffic import FORKED, Traffic

STAGES = (1, 1_000, 10_000)
"""Idle connections, counted from the first."""

_SPARE_FILES = 200
"""For everything else that a process has open."""

_CONNECTIONS = 64


def run(run: Run) -> None:
    """Memory once, for processes that have served nothing yet; then new connections in rounds."""
    origins = run.start_origins()
    fleet = run.single_hop_fleet(origins)
    peers = [running for running in fleet if not running.direct]
    stages = _possible_stages(run)
    run.steps(len(peers) * len(stages) + run.rounds * len(fleet))
    for running in peers:
        run.record("idle", running.name, 0, _idle(run, running, stages))
    for number in range(run.rounds):
        for running in run.turns(fleet, number):
            run.step(f"round {number + 1} of {run.rounds}: a new connection for every request", running.name)
            traffic = Traffic(FORKED, close=True)
            values = measure.closed_loop(run, origins, running, traffic, "shadow", _CONNECTIONS)
            run.record("new", running.name, number, values)
    run.check(fleet)


def _possible_stages(run: Run) -> list[int]:
    """The stages that the limit of open files allows, in this process and in the peers that inherit it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = [stage for stage in STAGES if stage + _SPARE_FILES <= soft]
    if len(possible) < len(STAGES):
        run.note(f"the limit of open files is {soft}: no more than {possible[-1]:,} idle connections")
    return possible


def _idle(run: Run, running: Running, stages: list[int]) -> dict[str, float]:
    """Resident memory without load, and per connection that has served one keyed request and now waits."""
    (process,) = running.processes
    start = accounting.resident_bytes(process.pid)
    values = {"idle_mib": start / MIB}
    traffic = Traffic(FORKED)
    template = traffic.template()
    with ExitStack() as stack:
        held: list[socket.socket] = []
        for stage in stages:
            run.step("idle keep-alive connections", f"{running.name}, {stage:,}")
            while len(held) < stage:
                connection = stack.enter_context(probe.connect(running.port))
                answer = probe.exchange(connection, traffic.head(len(held), template))
                if answer.status != 200 or not answer.body.startswith(b"shadow"):
                    raise WrongAnswer(f"{running.name}: connection {len(held) + 1} got {answer.status}")
                held.append(connection)
            if stage > 1:
                grown = accounting.resident_bytes(process.pid) - start
                values[f"per_{stage}_kib"] = grown / stage / 1024
        _check_open(running.name, held[0], traffic.head(0, template))
        _check_open(running.name, held[-1], traffic.head(1, template))
    return values


def _check_open(name: str, connection: socket.socket, request: bytes) -> None:
    """A connection that counts as idle must still serve. Raises WrongAnswer."""
    try:
        status = probe.exchange(connection, request).status
    except (OSError, ValueError, KeyError) as error:
        raise WrongAnswer(f"{name}: an idle connection was closed under us: {error}") from error
    if status != 200:
        raise WrongAnswer(f"{name}: an idle connection answered {status}")


SCENARIO = Scenario(
    name="connections",
    summary="1, 1,000 and 10,000 idle keep-alive connections: memory; a new connection for every request: CPU",
    cases={
        "idle": "idle keep-alive connections, each has served one request",
        "new": "a new connection for every request",
    },
    metrics=(
        Metric("idle_mib", "resident, idle", "MiB"),
        Metric("per_1000_kib", "per connection, 1,000", "KiB"),
        Metric("per_10000_kib", "per connection, 10,000", "KiB"),
        Metric("cpu_us", "CPU per request", "us"),
        Metric("rps", "requests/s", "", 0),
        Metric("busy", "core used", "%", 0),
    ),
    targets=(
        Target("idle_mib", Bound.AT_MOST, 40),
        Target("per_1000_kib", Bound.AT_MOST, 12),
        Target("per_10000_kib", Bound.AT_MOST, 12),
        Target("cpu_us", Bound.AT_MOST, 0.9, against="envoy", cases=("new",)),
        Target("cpu_us", Bound.AT_MOST, 1.1, against="envoy", cases=("new",), peer=SKYCAP_INTERPRETED),
    ),
    run=run,
    rounds=2,
    duration=2.0,
)
