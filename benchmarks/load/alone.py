"""One agent alone, when nobody else is at work: how long it waits for a change of its own.

Both are told beside what the process takes to answer when it is started by hand, from the same folder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from benchmarks.errors import BenchmarkError
from benchmarks.load.agents import GONE_SECONDS, READY_SECONDS, Crowd, identity, name_of
from benchmarks.registry import sandbox
from controlplane.model.push import Push, SentFile
from controlplane.model.sandbox import Phase

LOOK_SECONDS = 0.1
"""Between two looks whether a sandbox sleeps."""


async def pushed(people: Crowd, workload: str, agent: int) -> float:
    """Seconds from sending a changed file to the first answer of the revision that has it, which is not the first one.
    Raises RegistryError and BenchmarkError."""
    name = name_of(agent)
    for revision in (1, 2):
        began = time.perf_counter()
        file = SentFile(path="answer.txt", text=f"200 {identity(agent, revision)}\n")
        told = await people.client.push(name, Push(workload=workload, files=(file,)), READY_SECONDS)
        _, answered, _ = await people.ask(name)
        took = time.perf_counter() - began
        if answered != identity(agent, revision):
            raise BenchmarkError(f"{name}: revision {revision} ({told.phase.value}) answers {answered!r}")
    await people.client.delete(name, GONE_SECONDS)
    return took


async def woken(
    people: Crowd, workload: str, agent: int, command: tuple[str, ...], left: Callable[[], Collection[str]]
) -> float:
    """Seconds that the request waits which wakes a sandbox. left: what still runs of it when it sleeps. Raises
    RegistryError, TimeoutError and BenchmarkError."""
    name = name_of(agent)
    document = sandbox(name, workload, {"command": list(command)}, idle="1s")
    await people.client.apply(document)
    await people.client.wait(name, READY_SECONDS)
    async with asyncio.timeout(READY_SECONDS):
        while True:
            status = (await people.client.sandbox(name)).status
            if status is not None and status.phase is Phase.SLEEPING and not left():
                break
            await asyncio.sleep(LOOK_SECONDS)
    began = time.perf_counter()
    code, answered, served_by = await people.ask(name)
    took = time.perf_counter() - began
    if code != 200 or f"sandbox={name};" not in served_by:
        raise BenchmarkError(f"{name}: the request that woke it got {code} {answered!r} from {served_by}")
    await people.client.delete(name, GONE_SECONDS)
    return took
