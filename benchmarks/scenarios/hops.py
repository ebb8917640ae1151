"""What hops cost the registry: 5,000 of them a second, of a hundred sandboxes, from twenty sidecars.

First the rings are filled, half a million hops as fast as they are taken. Then each sidecar sends a batch every 0.1 s,
as real ones do. CPU is what the registry's process used while they came, as a share of one core; memory is its resident
set at the end. Last the same beside 500 sidecars that follow the routes, and a change of them every second. Its clock
is that of `propagation`; hops and sidecars share the load's core, so that it is an upper bound.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, cycle

import aiohttp

from benchmarks import accounting
from benchmarks.errors import BenchmarkError
from benchmarks.figures import quantile
from benchmarks.origin import MIB
from benchmarks.registry import sandbox, start_registry
from benchmarks.run import Run
from benchmarks.scenario import SKYCAP, Bound, Metric, Scenario, Target
from benchmarks.scenarios.propagation import PORTS, change, start_watchers
from controlplane.client import Client
from controlplane.hops.port import KEPT_HOPS
from proxy.base.access import USER, local_token
from proxy.contract.hops import HOPS_PATH, HOPS_TYPE

SANDBOXES = 100
SIDECARS = 20
RATE = 5_000
BATCH_SECONDS = 0.1
WATCHERS = 500
CHANGE_SECONDS = 1.0
"""From one change of a route to the next: 500 reports of the one before have come by then."""

_FILLED_AT_ONCE = 500
_WORKLOAD = "shop/users"

_LINE = (
    '{"workload":"%s","instance":"users-1","side":"%s","key":"%s","decision":"baseline","id":"%016x","parent":"%s",'
    '"time":%.3f,"trace":"%032x","method":"GET","path":"/users/ada","status":%d,"error":"","durationMs":3.10,'
    '"firstByteMs":3.00,"requestBytes":0,"responseBytes":44}\n'
)

_numbers = count(1)


def key(number: int) -> str:
    return f"agent-{number}"


async def create(registry: Client) -> None:
    """All sandboxes, each with a static fork that nobody dials."""
    fork: dict[str, object] = {"endpoints": ["127.0.0.1:9"], "reachable": False}
    for number in range(SANDBOXES):
        await registry.apply(sandbox(key(number), _WORKLOAD, fork))


def hop(
    number: int,
    *,
    workload: str = _WORKLOAD,
    side: str = "inbound",
    status: int = 200,
    parent: str = "",
    trace: int = 0,
) -> tuple[str, str]:
    """A hop of a sandbox's key, now: its id and its line."""
    ident = next(_numbers)
    line = _LINE % (workload, side, key(number), ident, parent, time.time(), trace or ident, status)
    return f"{ident:016x}", line


async def tell(http: aiohttp.ClientSession, url: str, lines: list[str]) -> None:
    """One batch. Raises BenchmarkError when it is refused."""
    headers = {"content-type": HOPS_TYPE, "authorization": f"Bearer {local_token(url, USER, os.environ)}"}
    async with http.post(f"{url}{HOPS_PATH}", data="".join(lines).encode(), headers=headers) as answer:
        if answer.status != 204:
            raise BenchmarkError(f"the registry answers a batch of hops with {answer.status}")


async def load(http: aiohttp.ClientSession, url: str, rate: int, until: float) -> int:
    """Batches of all sidecars until a moment of the monotonic clock. Returns how many hops were sent."""

    async def sidecar(number: int) -> int:
        sent = 0
        due = time.monotonic() + BATCH_SECONDS * number / SIDECARS
        while due < until:
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            lines = [hop((sent + at) % SANDBOXES)[1] for at in range(int(rate * BATCH_SECONDS / SIDECARS))]
            await tell(http, url, lines)
            sent += len(lines)
            due += BATCH_SECONDS
        return sent

    return sum(await asyncio.gather(*map(sidecar, range(SIDECARS))))


async def fill(http: aiohttp.ClientSession, url: str) -> None:
    """Every ring, to its brim. Lines are the smaller ones that sidecars send: of requests that went well."""

    async def sidecar(number: int) -> None:
        for _ in range(KEPT_HOPS * SANDBOXES // SIDECARS // _FILLED_AT_ONCE):
            await tell(http, url, [hop(at % SANDBOXES)[1] for at in range(_FILLED_AT_ONCE)])

    await asyncio.gather(*map(sidecar, range(SIDECARS)))


def run(run: Run) -> None:
    registry, url = start_registry(run, run.cores.proxy)
    run.steps(1 + 2 * run.rounds)

    async def measured(http: aiohttp.ClientSession) -> dict[str, float]:
        began, before = time.monotonic(), accounting.cpu_seconds(registry.pid)
        sent = await load(http, url, RATE, began + run.duration)
        took = time.monotonic() - began
        return {
            "core_percent": 100 * (accounting.cpu_seconds(registry.pid) - before) / took,
            "hops_per_second": sent / took,
            "memory_mib": accounting.resident_bytes(registry.pid) / MIB,
        }

    async def rounds(stack: ExitStack) -> None:
        async with Client(url) as client, aiohttp.ClientSession() as http:
            await create(client)
            run.step("the rings are filled", f"{KEPT_HOPS * SANDBOXES:,} hops")
            await fill(http, url)
            for number in range(run.rounds):
                run.step(f"round {number + 1} of {run.rounds}", f"{RATE:,} hops/s of {SANDBOXES} sandboxes")
                run.record("5000", SKYCAP, number, await measured(http))
            watchers = start_watchers(run, url, WATCHERS, stack)
            ports = cycle(PORTS)  # of all rounds: what is applied again as it is would be no change
            for number in range(run.rounds):
                run.step(f"round {number + 1} of {run.rounds}", f"the same beside changes at {WATCHERS} sidecars")
                changing = asyncio.gather(_changes(client, watchers, ports, run.duration))
                values = await measured(http)
                (waited,) = await changing
                values |= {"last_p50_ms": quantile(waited, 0.5), "last_p99_ms": quantile(waited, 0.99)}
                run.record("changes", SKYCAP, number, values)

    with ExitStack() as stack:
        asyncio.run(rounds(stack))


async def _changes(
    client: Client, watchers: subprocess.Popen[str], ports: Iterator[int], seconds: float
) -> list[float]:
    """Milliseconds until the last sidecar has a change, of one in every second, ascending."""
    waited = []
    end = time.monotonic() + seconds
    for port in ports:
        due = time.monotonic() + CHANGE_SECONDS
        waited.append((await change(client, watchers, port))[-1])
        if due > end:
            return sorted(waited)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    raise AssertionError("unreachable")


SCENARIO = Scenario(
    name="hops",
    summary="5,000 hops a second of 100 sandboxes, full rings: what they cost, and changes of routes beside them",
    cases={
        "5000": f"{RATE:,} hops/s, full rings",
        "changes": f"the same, and a change every second at {WATCHERS} sidecars",
    },
    metrics=(
        Metric("core_percent", "CPU of the registry", "% of a core"),
        Metric("hops_per_second", "hops", "/s", 0),
        Metric("memory_mib", "memory", "MiB", 0),
        Metric("last_p50_ms", "change at the last sidecar, p50", "ms"),
        Metric("last_p99_ms", "worst", "ms"),
    ),
    targets=(
        Target("core_percent", Bound.AT_MOST, 60, cases=("5000",)),
        Target("hops_per_second", Bound.AT_LEAST, 0.95 * RATE),
        Target("memory_mib", Bound.AT_MOST, 400),
        Target("last_p99_ms", Bound.AT_MOST, 100),
    ),
    run=run,
    rounds=3,
    duration=5.0,
)
