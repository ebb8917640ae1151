"""One turn of one peer: load it, read its cost, and compare what was sent with what arrived where."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from benchmarks import probe
from benchmarks.errors import WrongAnswer
from benchmarks.load import wrk
from benchmarks.run import Origins, Run, Running
from benchmarks.traffic import Traffic

_SETTLE_SECONDS = 5.0
_READ_SECONDS = 0.02
_QUIET_READINGS = 5
"""Equal readings in a row until a turn counts as over: what the load left in flight has arrived by then."""

_IDLE_SHARE = 0.2
"""Of a core between two readings: a proxy that is busier than this still works on something."""


class Counting(Protocol):
    """A service that counts what comes."""

    @property
    def role(self) -> str: ...

    def requests(self) -> int: ...


def counts(origins: Iterable[Counting]) -> dict[str, int]:
    """Requests that have reached each origin so far."""
    return {origin.role: origin.requests() for origin in origins}


def settled(origins: Iterable[Counting], running: Running) -> dict[str, int]:
    """The counts once no request is on its way any more. Raises WrongAnswer when they never stop, although nobody
    sends any."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    now, cpu = counts(origins), running.cpu_seconds()
    quiet = 0
    while quiet < _QUIET_READINGS:
        if time.monotonic() > deadline:
            raise WrongAnswer(f"{running.name}: still at work {_SETTLE_SECONDS:.0f} s after the load has ended")
        time.sleep(_READ_SECONDS)
        before, cpu_before = now, cpu
        now, cpu = counts(origins), running.cpu_seconds()
        calm = now == before and cpu - cpu_before < _READ_SECONDS * _IDLE_SHARE
        quiet = quiet + 1 if calm else 0
    return now


def check_arrivals(name: str, arrived: dict[str, int], role: str, answered: int, connections: int) -> None:
    """All of `answered` requests, and those that were in flight at the end, reached `role` and nobody else.

    Raises WrongAnswer with the number of misrouted ones.
    """
    strays = sum(count for origin, count in arrived.items() if origin != role)
    if strays:
        raise WrongAnswer(f"{name}: {strays} of {answered} requests for {role} went elsewhere")
    if not answered <= arrived[role] <= answered + connections:
        raise WrongAnswer(
            f"{name}: {answered} answers over {connections} connections, but {arrived[role]} requests reached {role}"
        )


def closed_loop(
    run: Run, origins: Origins, running: Running, traffic: Traffic, role: str, connections: int
) -> dict[str, float]:
    """A turn under wrk. Returns `cpu_us` per request, `rps`, and `busy`, the share of its core that it used.

    Raises WrongAnswer for any error, any answer other than 2xx or 3xx, and any request that went astray.
    """
    name = f"{running.name}, {run.scenario.name}"
    before = counts(origins)
    cpu, clock = running.cpu_seconds(), time.perf_counter()
    driven = wrk.drive(run.tools["wrk"], running.port, traffic, connections, run.duration, run.cores.load, run.folder)
    used, wall = running.cpu_seconds() - cpu, time.perf_counter() - clock
    if driven.errors:
        listed = ", ".join(f"{count} {kind}" for kind, count in driven.errors.items())
        raise WrongAnswer(f"{name}: errors under load: {listed}")
    if not driven.requests:
        raise WrongAnswer(f"{name}: no request was answered within {driven.seconds:.1f} s")
    after = settled(origins, running)
    arrived = {role: after[role] - before[role] for role in after}
    check_arrivals(name, arrived, running.expected(role), driven.requests, connections)
    values = {"rps": driven.requests / driven.seconds}
    if not running.direct:
        values["cpu_us"] = used / driven.requests * 1e6
        values["busy"] = used / wall * 100
    return values


def warm_up(running: Running, traffic: Traffic, requests: int = 200) -> None:
    """A few requests on one connection, so that lazily built parts are there before the first turn."""
    template = traffic.template()
    with probe.connect(running.port) as connection:
        for number in range(requests):
            probe.exchange(connection, traffic.head(number, template))
