"""What hops cost the registry: 5,000 of them a second, of a hundred sandboxes, from twenty sidecars.

Each sidecar sends a batch every 0.1 s, as real ones do. CPU is what the registry's process used while they came, as a
share of one core; memory is its resident set at the end, when the rings have what came.
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import count

import aiohttp

from benchmarks import accounting
from benchmarks.errors import BenchmarkError
from benchmarks.origin import MIB
from benchmarks.registry import sandbox, start_registry
from benchmarks.run import Run
from benchmarks.scenario import SKYCAP, Bound, Metric, Scenario, Target
from controlplane.client import Client
from proxy.base.access import USER, local_token
from proxy.contract.hops import HOPS_PATH, HOPS_TYPE

SANDBOXES = 100
SIDECARS = 20
RATE = 5_000
BATCH_SECONDS = 0.1
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


def run(run: Run) -> None:
    registry, url = start_registry(run, run.cores.proxy)
    run.steps(run.rounds)

    async def rounds() -> None:
        async with Client(url) as client, aiohttp.ClientSession() as http:
            await create(client)
            for number in range(run.rounds):
                run.step(f"round {number + 1} of {run.rounds}", f"{RATE:,} hops/s of {SANDBOXES} sandboxes")
                began, before = time.monotonic(), accounting.cpu_seconds(registry.pid)
                sent = await load(http, url, RATE, began + run.duration)
                took = time.monotonic() - began
                values = {
                    "core_percent": 100 * (accounting.cpu_seconds(registry.pid) - before) / took,
                    "hops_per_second": sent / took,
                    "memory_mib": accounting.resident_bytes(registry.pid) / MIB,
                }
                run.record("5000", SKYCAP, number, values)

    asyncio.run(rounds())


SCENARIO = Scenario(
    name="hops",
    summary="5,000 hops a second of 100 sandboxes: what they cost the registry",
    cases={"5000": f"{RATE:,} hops/s"},
    metrics=(
        Metric("core_percent", "CPU of the registry", "% of a core"),
        Metric("hops_per_second", "hops", "/s", 0),
        Metric("memory_mib", "memory", "MiB", 0),
    ),
    targets=(
        Target("core_percent", Bound.AT_MOST, 60),
        Target("hops_per_second", Bound.AT_LEAST, 0.95 * RATE),
        Target("memory_mib", Bound.AT_MOST, 400),
    ),
    run=run,
    rounds=3,
    duration=5.0,
)
