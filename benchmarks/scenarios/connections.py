"""What a connection costs, memory of an idle one and CPU of a new one, and a start: the time until one is served."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack
from statistics import median

from benchmarks import accounting, measure, probe
from benchmarks.errors import WrongAnswer
from benchmarks.machine import free_ports
from benchmarks.origin import MIB
from benchmarks.peers import Hop
from benchmarks.run import Candidate, Origins, Run, Running
from benchmarks.scenario import SKYCAP_INTERPRETED, Bound, Metric, Scenario, Target
from benchmarks.traffic import FORKED, Traffic

STAGES = (1, 1_000, 10_000)
"""Idle connections, counted from the first."""

_SPARE_FILES = 200
"""For everything else that a process has open."""

_CONNECTIONS = 64

_STARTS = 5

_POLL_SECONDS = 0.002
"""The precision of a start."""


def run(run: Run) -> None:
    """Memory once, for processes that have served nothing yet; then new connections in rounds."""
    origins = run.start_origins()
    stages = _possible_stages(run)
    peers = len(run.candidates)
    run.steps(peers * (1 + len(stages)) + run.rounds * (peers + 1))
    for candidate in run.candidates:
        run.step("starts, one after the other", candidate.peer.name)
        run.record("start", candidate.peer.name, 0, {"start_ms": _start(run, origins, candidate)})
    fleet = run.single_hop_fleet(origins)
    for running in (each for each in fleet if not each.direct):
        run.record("idle", running.name, 0, _idle(run, running, stages))
    for number in range(run.rounds):
        for running in run.turns(fleet, number):
            run.step(f"round {number + 1} of {run.rounds}: a new connection for every request", running.name)
            traffic = Traffic(FORKED, close=True)
            values = measure.closed_loop(run, origins, running, traffic, "shadow", _CONNECTIONS)
            run.record("new", running.name, number, values)
    run.check(fleet)


def _start(run: Run, origins: Origins, candidate: Candidate) -> float:
    """Milliseconds from the birth of the process until it is ready and has answered a request; the median."""
    taken = []
    for number in range(_STARTS):
        (listen,) = free_ports(1)
        hop = Hop(listen, origins.baseline.port, origins.shadow.port)
        began = time.perf_counter()
        process = run.start(candidate, [hop], suffix=f"-start-{number}", poll=_POLL_SECONDS)
        taken.append(time.perf_counter() - began)
        process.stop()
    return median(taken) * 1000


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
        "start": "from the start of the process to its first answer",
        "idle": "idle keep-alive connections, each has served one request",
        "new": "a new connection for every request",
    },
    metrics=(
        Metric("start_ms", "first answer", "ms", 0),
        Metric("idle_mib", "resident, idle", "MiB"),
        Metric("per_1000_kib", "per connection, 1,000", "KiB"),
        Metric("per_10000_kib", "per connection, 10,000", "KiB"),
        Metric("cpu_us", "CPU per request", "us"),
        Metric("rps", "requests/s", "", 0),
        Metric("busy", "core used", "%", 0),
    ),
    targets=(
        Target("start_ms", Bound.AT_MOST, 250),
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
