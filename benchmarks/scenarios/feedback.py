"""From a failing answer to the feedback that names its origin, while a hundred sandboxes have requests.

A failure is three hops in two batches, the second 0.1 s behind the first, as two sidecars tell them. The clock starts
when the answer has come, before the first batch is sent. Feedback is asked for at once, and until it names the origin.
"""

from __future__ import annotations

import asyncio
import time

import aiohttp

from benchmarks.errors import BenchmarkError
from benchmarks.figures import quantile
from benchmarks.registry import start_registry
from benchmarks.run import Run
from benchmarks.scenario import SKYCAP, Bound, Metric, Scenario, Target
from benchmarks.scenarios.hops import BATCH_SECONDS, SANDBOXES, create, hop, key, load, tell
from controlplane.client import Client

RATE = 1_000
"""Hops a second that others send meanwhile."""

FAILURES = 40
"""Per round. The 99th percentile of so few is the worst of them."""

_ORIGIN = "shop/payments"
_PATIENCE_SECONDS = 10.0


def run(run: Run) -> None:
    _, url = start_registry(run, run.cores.proxy)
    run.steps(run.rounds)

    async def rounds() -> None:
        async with Client(url) as client, aiohttp.ClientSession() as http:
            await create(client)
            for number in range(run.rounds):
                run.step(f"round {number + 1} of {run.rounds}", f"{FAILURES} failures beside {RATE:,} hops/s")
                stop = asyncio.Event()
                others = asyncio.gather(_others(http, url, stop))
                took = [await _failure(client, http, url, at) for at in range(FAILURES)]
                stop.set()
                await others
                values = {"p50_ms": quantile(took, 0.5) * 1000, "p99_ms": quantile(took, 0.99) * 1000}
                run.record("100", SKYCAP, number, values)

    asyncio.run(rounds())


async def _others(http: aiohttp.ClientSession, url: str, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await load(http, url, RATE, time.monotonic() + 1.0)


async def _failure(client: Client, http: aiohttp.ClientSession, url: str, number: int) -> float:
    """Seconds until feedback names the origin of one failure. Raises BenchmarkError when it never does."""
    began = time.monotonic()
    name = number % SANDBOXES
    entry, first = hop(name, workload="shop/frontend", status=500)
    call, second = hop(name, workload="shop/frontend", side="outbound", status=400, parent=entry, trace=int(entry, 16))
    _, third = hop(name, workload=_ORIGIN, status=400, parent=call, trace=int(entry, 16))

    async def told() -> None:
        await tell(http, url, [first, second])
        await asyncio.sleep(BATCH_SECONDS)
        await tell(http, url, [third])

    telling = asyncio.gather(told())
    while True:
        found = await client.feedback(key(name))
        if any(failure.workload == _ORIGIN for failure in found.failures):
            took = time.monotonic() - began
            await telling
            return took
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise BenchmarkError(f"feedback of {key(name)} does not name {_ORIGIN}: {found.summary}")


SCENARIO = Scenario(
    name="feedback",
    summary="from a failing answer to the feedback that names its origin, beside 100 sandboxes",
    cases={"100": f"{SANDBOXES} sandboxes, {RATE:,} hops/s"},
    metrics=(Metric("p50_ms", "median", "ms", 0), Metric("p99_ms", "99th percentile", "ms", 0)),
    targets=(Target("p99_ms", Bound.AT_MOST, 1_000),),
    run=run,
    rounds=3,
    duration=5.0,
)
