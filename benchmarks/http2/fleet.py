"""Applications and peers that speak HTTP/2 on both sides, and a turn of one of them in a closed loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks import measure
from benchmarks.errors import WrongAnswer
from benchmarks.http2 import lanes, probe
from benchmarks.machine import free_ports
from benchmarks.measure import Counting
from benchmarks.peers import Hop
from benchmarks.probe import connect, exchange
from benchmarks.process import Process
from benchmarks.run import Run, Running
from benchmarks.scenario import DIRECT

_COUNT = b"GET /count HTTP/1.1\r\nhost: echo\r\n\r\n"


class Echo:
    """The gRPC application in a process of its own. Ends with the scenario."""

    def __init__(self, role: str, run: Run) -> None:
        self.role = role
        (self.http2,) = free_ports(1)
        command = [sys.executable, "-m", "benchmarks.http2.echo", str(self.http2), role]
        process = run.stack.enter_context(Process(f"echo-{role}", command, run.cores.origin, run.folder))
        process.await_ready(lambda: probe.answers(self.http2, probe.CALL))

    def requests(self) -> int:
        """How many calls came so far."""
        with connect(self.http2) as connection:
            return int(exchange(connection, _COUNT).body)


@dataclass(frozen=True, slots=True)
class Echoes:
    """The two gRPC applications."""

    baseline: Echo
    shadow: Echo

    def __iter__(self) -> Iterator[Echo]:
        yield self.baseline
        yield self.shadow


def start(run: Run, baseline: int, shadow: int, *, grpc: bool) -> list[Running]:
    """Every candidate that speaks HTTP/2, and `direct` beside them, routing checked.

    baseline, shadow: ports of the applications.
    """
    kind = probe.CALL if grpc else probe.FETCH
    fleet = []
    for candidate in run.candidates:
        if not candidate.peer.http2:
            continue
        (listen,) = free_ports(1)
        process = run.start(
            candidate, [Hop(listen, baseline, shadow)], answers=partial(probe.answers, kind=kind), http2=True
        )
        fleet.append(Running(candidate.peer.name, listen, (process,)))
    fleet.append(Running(DIRECT, baseline))
    check(fleet, grpc=grpc)
    return fleet


def check(fleet: Sequence[Running], *, grpc: bool) -> None:
    """Every peer decides rightly about every kind of key. Raises WrongAnswer."""
    for running in fleet:
        probe.check_routing(running.name, running.port, grpc, running.expected("shadow"))


def closed_loop(run: Run, origins: Sequence[Counting], running: Running, order: lanes.Order) -> dict[str, float]:
    """A turn. Returns `cpu_us` per request, `cpu_us_per_message` where calls have many, `rps`, and `busy`.

    Raises WrongAnswer for any answer that is not the right one, and any call that went astray.
    """
    order = replace(order, role=running.expected(order.role))
    before = measure.counts(origins)
    cpu, clock = running.cpu_seconds(), time.perf_counter()
    outcome = lanes.drive(order, running.port, run.duration)
    used, wall = running.cpu_seconds() - cpu, time.perf_counter() - clock
    if outcome.problems:
        raise WrongAnswer(f"{running.name}, {order.kind.path}: {outcome.problems[0]}")
    after = measure.settled(origins, running)
    arrived = {origin: after[origin] - before[origin] for origin in after}
    measure.check_arrivals(running.name, arrived, order.role, outcome.requests, 0)
    many = order.messages > 1
    values = {"mps" if many else "rps": (outcome.messages if many else outcome.requests) / outcome.seconds}
    if not running.direct:
        if many:
            values["cpu_us_per_message"] = used / outcome.messages * 1e6
        else:
            values["cpu_us"] = used / outcome.requests * 1e6
        values["busy"] = used / wall * 100
    return values
