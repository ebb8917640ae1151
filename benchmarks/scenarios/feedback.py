"""From a failing answer to the feedback that names its origin, while a hundred sandboxes have requests.

A failure is three hops in two batches, the second 0.1 s behind the first, as two sidecars tell them. The clock starts
when the answer has come, before the first batch is sent. Feedback is asked for at once, and until it names the origin:
once of one sandbox after the other, and once of all hundred that fail in the same moment.
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
"""Per round, one after the other. The 99th percentile of so few is the worst of them."""

LOOK_SECONDS = 0.25
"""Between two questions of each of a hundred: they would wait for each other's. One alone asks without a pause."""

_ORIGIN = "shop/payments"
_PATIENCE_SECONDS = 10.0


def run(run: Run) -> None:
    _, url = start_registry(run, run.cores.proxy)
    run.steps(2 * run.rounds)

    async def rounds() -> None:
        async with Client(url) as client, aiohttp.ClientSession() as http:
            await create(client)
            for number in range(run.rounds):
                run.step(f"round {number + 1} of {run.rounds}", f"{FAILURES} failures beside {RATE:,} hops/s")
                stop = asyncio.Event()
                others = asyncio.gather(_others(http, url, stop))
                took = [await _failure(client, http, url, at) for at in range(FAILURES)]
                run.record("100", SKYCAP, number, _figures(took))
                run.step(f"round {number + 1} of {run.rounds}", f"{SANDBOXES} failures at once")
                failures = (_failure(client, http, url, at, LOOK_SECONDS) for at in range(SANDBOXES))
                run.record("at-once", SKYCAP, number, _figures(list(await asyncio.gather(*failures))))
                stop.set()
                await others

    asyncio.run(rounds())


def _figures(took: list[float]) -> dict[str, float]:
    took.sort()
    return {"p50_ms": quantile(took, 0.5) * 1000, "p99_ms": quantile(took, 0.99) * 1000}


async def _others(http: aiohttp.ClientSession, url: str, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await load(http, url, RATE, time.monotonic() + 1.0)


async def _failure(client: Client, http: aiohttp.ClientSession, url: str, number: int, pause: float = 0.0) -> float:
    """Seconds until feedback names the origin of this failure, asked for again after `pause` seconds.

    Raises BenchmarkError when it never does.
    """
    began = time.monotonic()
    entry, first = hop(number, workload="shop/frontend", status=500)
    call, second = hop(
        number, workload="shop/frontend", side="outbound", status=400, parent=entry, trace=int(entry, 16)
    )
    trace = f"{int(entry, 16):032x}"
    _, third = hop(number, workload=_ORIGIN, status=400, parent=call, trace=int(entry, 16))

    async def told() -> None:
        await tell(http, url, [first, second])
        await asyncio.sleep(BATCH_SECONDS)
        await tell(http, url, [third])

    telling = asyncio.gather(told())
    while True:
        found = await client.feedback(key(number))
        if any((failure.workload, failure.example) == (_ORIGIN, trace) for failure in found.failures):
            took = time.monotonic() - began
            await telling
            return took
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise BenchmarkError(f"feedback of {key(number)} does not name {_ORIGIN}: {found.summary}")
        await asyncio.sleep(pause)


SCENARIO = Scenario(
    name="feedback",
    summary="from a failing answer to the feedback that names its origin, beside 100 sandboxes",
    cases={
        "100": f"{SANDBOXES} sandboxes, {RATE:,} hops/s, one failure after the other",
        "at-once": f"{SANDBOXES} sandboxes fail at once",
    },
    metrics=(Metric("p50_ms", "median", "ms", 0), Metric("p99_ms", "99th percentile", "ms", 0)),
    targets=(Target("p99_ms", Bound.AT_MOST, 1_000),),
    run=run,
    rounds=3,
    duration=5.0,
)
