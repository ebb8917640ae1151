"""Agents in their whole loop: each pushes a change that is broken, is told so, pushes the fix, proves it, and goes.

Every answer says which agent's file it came from, in which revision. Feedback has to name the agent's own copy as the
origin, with its own words; the assertion has to hold for the revision of the fix.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp

from benchmarks.load.agents import GONE_SECONDS, READY_SECONDS, Crowd, identity, name_of
from controlplane.client import RegistryError
from controlplane.model.assertion import Claim
from controlplane.model.feedback import Verdict
from controlplane.model.push import Push, SentFile
from controlplane.model.sandbox import Phase

REQUESTS = 5
"""With the broken revision, and again with the mended one."""

TOLD_SECONDS = 30.0
LOOK_SECONDS = 0.05
"""For feedback to name the origin, and between two looks."""


class WrongTurnError(Exception):
    """An agent cannot go on. `str()` says why."""


@dataclass(slots=True)
class LoopTally:
    """What the agents saw. pushed: seconds from a push to its revision serving. told: from the first failing answer to
    the feedback that names its origin. problems: one line per agent that could not go on.
    """

    requests: int = 0
    misrouted: int = 0
    lost: int = 0
    pushed: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def verdict(self) -> str:
        """What went wrong, empty when nothing did."""
        if not (self.misrouted or self.lost or self.problems):
            return ""
        first = f"; {len(self.problems)} could not go on, the first: {self.problems[0]}" if self.problems else ""
        return f"{self.misrouted} of {self.requests} requests misrouted, {self.lost} lost{first}"


async def loops(people: Crowd, workload: str, agents: int) -> LoopTally:
    """All of them at the same time."""
    tally = LoopTally()
    await asyncio.gather(*(_live(people, workload, agent, tally) for agent in range(agents)))
    return tally


async def _live(people: Crowd, workload: str, agent: int, tally: LoopTally) -> None:
    name = name_of(agent)
    try:
        await _push(people, workload, agent, 1, 500, tally)
        failed = time.perf_counter()
        await _ask(people, agent, 1, 500, tally)
        await _feedback(people, workload, agent)
        tally.told.append(time.perf_counter() - failed)
        await _push(people, workload, agent, 2, 200, tally)
        await _ask(people, agent, 2, 200, tally)
        await _prove(people, workload, name)
        if await people.client.delete(name, GONE_SECONDS) is not None:
            raise WrongTurnError(f"not gone after {GONE_SECONDS:.0f} s")
    except (RegistryError, WrongTurnError) as error:
        tally.problems.append(f"{name}: {error}")


async def _push(people: Crowd, workload: str, agent: int, revision: int, status: int, tally: LoopTally) -> None:
    """A file, and its revision serving."""
    name = name_of(agent)
    began = time.perf_counter()
    file = SentFile(path="answer.txt", text=f"{status} {identity(agent, revision)}\n")
    pushed = await people.client.push(name, Push(workload=workload, files=(file,)), 1.0)
    found = (await people.client.wait(name, READY_SECONDS)).status
    if found is None or found.phase is not Phase.READY or found.revision != revision:
        raise WrongTurnError(f"revision {pushed.revision} is {found.phase.value if found else 'unknown'}")
    tally.pushed.append(time.perf_counter() - began)


async def _ask(people: Crowd, agent: int, revision: int, status: int, tally: LoopTally) -> None:
    for _ in range(REQUESTS):
        tally.requests += 1
        try:
            answered, body, served_by = await people.ask(name_of(agent))
        except (aiohttp.ClientError, TimeoutError):
            tally.lost += 1
            continue
        if body != identity(agent, revision) or f"sandbox={name_of(agent)};" not in served_by:
            tally.misrouted += 1
        elif answered != status:
            tally.lost += 1


async def _feedback(people: Crowd, workload: str, agent: int) -> None:
    """Until it names the agent's own copy and quotes it."""
    end = time.perf_counter() + TOLD_SECONDS
    while True:
        found = await people.client.feedback(name_of(agent))
        if found.verdict is Verdict.FAILING and found.failures[0].workload == workload:
            answer = found.failures[0].response
            if answer is None or answer.body != identity(agent, 1):
                raise WrongTurnError(f"feedback quotes {answer.body if answer else 'nothing'}")
            return
        if time.perf_counter() > end:
            raise WrongTurnError(f"feedback is still {found.verdict.value}: {found.summary}")
        await asyncio.sleep(LOOK_SECONDS)


async def _prove(people: Crowd, workload: str, name: str) -> None:
    end = time.perf_counter() + TOLD_SECONDS
    while not (judged := await people.client.assert_routed(name, Claim(workload=workload, requests=REQUESTS))).holds:
        if time.perf_counter() > end:
            raise WrongTurnError(judged.sentence)
        await asyncio.sleep(LOOK_SECONDS)
