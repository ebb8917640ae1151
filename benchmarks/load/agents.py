"""Agents at work: each has one sandbox, sends requests with its key, and checks every answer.

Every answer says which agent's shadow gave it, and in which revision. Any other agent's, another revision's or the
baseline's is misrouted; no answer, or one that the sidecar made itself, is lost.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from benchmarks.registry import sandbox
from controlplane.client import Client, RegistryError
from controlplane.model.sandbox import Phase, Status

REQUESTS = 20
"""Per revision."""

READY_SECONDS = 120.0
GONE_SECONDS = 60.0
_REQUEST_SECONDS = 15.0

Fork = Callable[[int, int], dict[str, object]]
"""From the agent's number and the revision to the fork that its sandbox has then."""


def identity(agent: int, revision: int) -> str:
    """What an agent's shadow answers in a revision."""
    return f"{name_of(agent)}/{revision}"


def name_of(agent: int) -> str:
    """Its sandbox and its key."""
    return f"agent-{agent}"


@dataclass(slots=True)
class Tally:
    """What the agents saw. created, updated: seconds from the `PUT` until the registry said ready.

    problems: one line per agent that could not go on.
    """

    requests: int = 0
    misrouted: int = 0
    lost: int = 0
    created: list[float] = field(default_factory=list)
    updated: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def verdict(self) -> str:
        """What went wrong, empty when nothing did."""
        if not (self.misrouted or self.lost or self.problems):
            return ""
        first = f"; first problem: {self.problems[0]}" if self.problems else ""
        return f"{self.misrouted} of {self.requests} requests misrouted, {self.lost} lost{first}"


class Crowd:
    """Agents that share a registry at `url` and a service whose sidecar listens on `port` of 127.0.0.1."""

    def __init__(self, client: Client, http: aiohttp.ClientSession, port: int, workload: str) -> None:
        self.client = client
        self._http = http
        self._service = f"http://127.0.0.1:{port}/"
        self._workload = workload

    async def at_once(self, agents: int, fork: Fork) -> Tally:
        """All of them live their whole life, at the same time."""
        tally = Tally()
        await asyncio.gather(*(self._live(agent, fork, tally) for agent in range(agents)))
        return tally

    async def _live(self, agent: int, fork: Fork, tally: Tally) -> None:
        """Create, use, update, use, delete."""
        name = name_of(agent)
        try:
            for revision, times in ((1, tally.created), (2, tally.updated)):
                began = time.perf_counter()
                await self.client.apply(sandbox(name, self._workload, fork(agent, revision)))
                found = (await self.client.wait(name, READY_SECONDS)).status
                if found is None or found.phase is not Phase.READY or found.revision != revision:
                    tally.problems.append(f"{name}: revision {revision} is {_state(found)}")
                    return
                times.append(time.perf_counter() - began)
                for _ in range(REQUESTS):
                    await self._request(agent, revision, tally)
            if await self.client.delete(name, GONE_SECONDS) is not None:
                tally.problems.append(f"{name}: not gone after {GONE_SECONDS:.0f} s")
        except RegistryError as error:
            tally.problems.append(f"{name}: {error}")

    async def _request(self, agent: int, revision: int, tally: Tally) -> None:
        tally.requests += 1
        try:
            status, body, served_by = await self.ask(name_of(agent))
        except (aiohttp.ClientError, TimeoutError):
            tally.lost += 1
            return
        if status != 200:
            tally.lost += 1
        elif body != identity(agent, revision) or f"sandbox={name_of(agent)};" not in served_by:
            tally.misrouted += 1

    async def ask(self, key: str) -> tuple[int, str, str]:
        """One request with a routing key: status, body, and who the sidecars say has served it."""
        headers = {
            "baggage": f"tenant=acme,routing-key={key}",
            "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
        }
        async with self._http.get(self._service, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers.get("skycap-served-by", "")

    async def first_answer(self, agent: int, fork: Fork) -> float:
        """Seconds from sending a new sandbox to the first answer of its shadow. The sandbox is deleted again.

        Until the route is in force at the sidecar, the baseline answers and is asked again; from then on the
        sidecar holds the request until the shadow is ready. Raises RegistryError, and TimeoutError when none comes.
        """
        name = name_of(agent)
        began = time.perf_counter()
        async with asyncio.timeout(READY_SECONDS):
            await self.client.apply(sandbox(name, self._workload, fork(agent, 1)))
            while (await self.ask(name))[1] != identity(agent, 1):
                pass
        took = time.perf_counter() - began
        await self.client.delete(name, GONE_SECONDS)
        return took


def _state(status: Status | None) -> str:
    """A sandbox's phase, and why."""
    if status is None:
        return "unknown"
    reasons = [fork.message for fork in status.forks if fork.message]
    return f"{status.phase.value} ({'; '.join(reasons) or 'no reason given'})"


@asynccontextmanager
async def crowd(url: str, port: int, workload: str) -> AsyncIterator[Crowd]:
    """Their connections, closed at the end."""
    timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
    async with (
        Client(url, timeout=60.0) as client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http,
    ):
        yield Crowd(client, http, port, workload)
