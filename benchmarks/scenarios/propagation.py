"""From a change at the registry to the last sidecar that uses it.

The sidecars are real feed clients, all in one process. A change is an update of a sandbox to another static
endpoint, sent with `PUT` to the registry, which stores it and publishes the route; the clock starts when the `PUT`
leaves, so that accepting it is in the figure. The next change is sent when every sidecar has the last one and has
reported so: a change in the middle of 500 reports would measure the reports.

Registry and sidecars have a core each. With 500 sidecars on one core, the last of them waits for the 499 others to
do their work, which on 500 machines it would not: the figure is an upper bound.
"""

from __future__ import annotations

import asyncio
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle, islice

from benchmarks import accounting
from benchmarks.errors import BenchmarkError
from benchmarks.figures import quantile
from benchmarks.origin import MIB
from benchmarks.process import Process, confined, environment
from benchmarks.registry import sandbox, start_registry
from benchmarks.run import Run
from benchmarks.scenario import SKYCAP, Bound, Metric, Scenario, Target
from controlplane.client import Client

SIZES = (1, 50, 500)
WORKLOAD = "shop/users"
KEY = "agent-1"

_CHANGES = 15
"""Per turn. The 99th percentile of so few is the worst of them."""

PORTS = (20_000, 20_001)
"""Of the endpoints that the route leads to in turn. Nobody dials them."""

_CALM_SECONDS = 0.03
_CALM_SHARE = 0.1
_CALM_LIMIT_SECONDS = 3.0
"""It is calm when registry and sidecars have used less than this share of a core; they get so long to become calm."""

_SYNC_SECONDS = 30.0
_CHANGE_SECONDS = 10.0


def run(run: Run) -> None:
    """Every size in every round, with watchers of its own; one registry for all."""
    registry, url = start_registry(run, run.cores.proxy)
    ports = cycle(PORTS)
    run.steps(run.rounds * len(SIZES))
    for number in range(run.rounds):
        for size in SIZES:
            run.step(f"round {number + 1} of {run.rounds}", f"{size} sidecars")
            with ExitStack() as stack:
                watchers = start_watchers(run, url, size, stack)
                values = asyncio.run(_changes(watchers, registry, url, size, ports))
            run.record(str(size), SKYCAP, number, values)


def start_watchers(run: Run, url: str, size: int, stack: ExitStack) -> subprocess.Popen[str]:
    """So many sidecars' feeds in a process on the load's core, in sync. Raises BenchmarkError."""
    command = [sys.executable, "-m", "benchmarks.load.watchers", url, WORKLOAD, KEY, str(size)]
    watchers = subprocess.Popen(
        confined(command, run.cores.load),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=environment(),
    )
    stack.enter_context(watchers)
    stack.callback(watchers.kill)
    said = _line(watchers, _SYNC_SECONDS)
    if said != "ready":
        raise BenchmarkError(f"{size} sidecars: not all tables are in sync: {said or 'no news'}")
    return watchers


async def _changes(
    watchers: subprocess.Popen[str], registry: Process, url: str, size: int, ports: Iterator[int]
) -> dict[str, float]:
    """Times in milliseconds: of the last sidecar over the changes, and of all sidecars over all changes."""
    last: list[float] = []
    each: list[float] = []
    cpu = 0.0
    async with Client(url) as client:
        for port in islice(ports, _CHANGES):
            used = registry.cpu_seconds()
            waited = await change(client, watchers, port)
            last.append(waited[-1])
            each += waited
            await _calm(registry.pid, watchers.pid)
            cpu += registry.cpu_seconds() - used
            await _reported(client, size)
            await _calm(registry.pid, watchers.pid)
    last.sort()
    each.sort()
    return {
        "last_p50_ms": quantile(last, 0.5),
        "last_p99_ms": quantile(last, 0.99),
        "each_p50_ms": quantile(each, 0.5),
        "each_p99_ms": quantile(each, 0.99),
        "cpu_ms": cpu / _CHANGES * 1000,
        "registry_mib": accounting.resident_bytes(registry.pid) / MIB,
    }


async def change(client: Client, watchers: subprocess.Popen[str], port: int) -> list[float]:
    """Move the sandbox to `port`; milliseconds until each sidecar has it, ascending. Raises BenchmarkError."""
    document = sandbox(KEY, WORKLOAD, {"endpoints": [f"127.0.0.1:{port}"], "reachable": False})
    began = time.monotonic_ns()
    await client.apply(document)
    line = await asyncio.to_thread(_line, watchers, _CHANGE_SECONDS)
    if not line.startswith(f'{{"port": {port},'):
        raise BenchmarkError(f"a change is not in force everywhere: {line or 'no news'}")
    return sorted((moment - began) / 1e6 for moment in json.loads(line)["times"])


async def _reported(client: Client, size: int) -> None:
    """Wait until the registry knows that every sidecar has the change."""
    deadline = time.monotonic() + _CHANGE_SECONDS
    while sum(sidecar.in_sync for sidecar in await client.sidecars()) < size:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{size} sidecars: some have a change in force and do not report it")
        await asyncio.sleep(_CALM_SECONDS)


async def _calm(*pids: int) -> None:
    """Wait until nothing is left to do. Who never rests is measured as he is."""
    deadline = time.monotonic() + _CALM_LIMIT_SECONDS
    used = sum(map(accounting.own_cpu_seconds, pids))
    while time.monotonic() < deadline:
        await asyncio.sleep(_CALM_SECONDS)
        before, used = used, sum(map(accounting.own_cpu_seconds, pids))
        if used - before < _CALM_SECONDS * _CALM_SHARE:
            return


def _line(process: subprocess.Popen[str], seconds: float) -> str:
    """The next line of its output, empty when none comes in time."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline().strip() if readable else ""


SCENARIO = Scenario(
    name="propagation",
    summary="1, 50 and 500 sidecars: from a change at the registry to the last one that uses it",
    cases={str(size): f"{size} sidecar{'s' if size > 1 else ''}" for size in SIZES},
    metrics=(
        Metric("last_p50_ms", "last, p50", "ms"),
        Metric("last_p99_ms", "last, worst", "ms"),
        Metric("each_p50_ms", "every, p50", "ms"),
        Metric("each_p99_ms", "every, p99", "ms"),
        Metric("cpu_ms", "registry CPU", "ms"),
        Metric("registry_mib", "registry memory", "MiB"),
    ),
    targets=(Target("last_p99_ms", Bound.AT_MOST, 100, cases=("500",)),),
    run=run,
    rounds=2,
)
