"""One soak from beginning to end: start, load, sample, stop, judge."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
from aiohttp import ClientError

from controlplane.client import Client
from tests.soak import calls, exchanges, http2, judge, rude, stage, streams
from tests.soak.expected import ENDED, KEYS, MOVING, SERVERS, Failed, Key, Outages, Tally, Wrong
from tests.soak.judge import Verdict
from tests.soak.losses import Losses
from tests.soak.samples import Sample, Sampler
from tests.soak.stage import Stage
from tests.soak.trouble import Trouble, pause

Work = Callable[[exchanges.Client, Key], Awaitable[None]]

SEVERAL_KEYS = "HTTP/2 streams"

KINDS: dict[str, tuple[Work, int, float]] = {
    "kept connection": (exchanges.ask, 3, 0.05),
    "new connection": (exchanges.ask_anew, 1, 0.1),
    "download": (exchanges.download, 2, 0.15),
    "upload": (exchanges.upload, 2, 0.15),
    "pipeline": (exchanges.pipeline, 1, 0.3),
    "CONNECT": (exchanges.tunnel, 1, 0.3),
    "WebSocket": (streams.websocket, 2, 0.3),
    "events": (streams.events, 2, 0.1),
    "gRPC calls": (calls.unary, 2, 0.2),
    "gRPC download": (calls.download, 1, 0.2),
    "gRPC upload": (calls.upload, 1, 0.2),
    "gRPC echo": (calls.echo, 1, 0.2),
    "gRPC cancelled": (calls.cancelled, 2, 0.2),
    SEVERAL_KEYS: (http2.several_keys, 1, 0.2),
    "HTTP/2 resets": (http2.resets, 1, 0.2),
    "HTTP/2 vanishing": (http2.vanish, 1, 0.2),
    "slow reader": (rude.read_slowly, 1, 0.2),
    "vanishing client": (rude.vanish, 2, 0.1),
    "malformed request": (rude.misbehave, 1, 0.2),
}
"""Kind of traffic -> the work, how many do it at once, and the seconds between two pieces of it."""

WORK_SECONDS = 30.0
"""For one piece of work: the slowest takes three."""

REGISTRY_KILL_SECONDS = 30.0
SERVER_KILL_SECONDS = 20.0
"""Between two kills; shorter in a short run, so that each kind comes."""

SAMPLES = 600
SAMPLE_SECONDS = 0.5
"""At most so many of a run, and at least so far apart."""

REST_SECONDS = 45.0
"""For time limits to come due after the traffic."""


class Soak:
    """A run of `seconds` on a stage."""

    def __init__(self, on: Stage, seconds: float) -> None:
        self.seconds = seconds
        self.tally = Tally()
        self.outages = Outages()
        self.over = asyncio.Event()
        self.trouble = Trouble(on, self.outages, self.tally, self.over)
        self.sampler = Sampler(on.sidecars)
        self.losses = Losses(on.sidecars)
        self._stage = on
        self._started = time.monotonic()

    def progress(self) -> str:
        """One line for people."""
        held = " | ".join(
            f"{name} {series[-1].resident / judge.MIB:.1f} MiB {series[-1].files} files {series[-1].clients} clients"
            for name, series in self.sampler.series.items()
            if series
        )
        tally = self.tally
        done = ", ".join(f"{count} {what}" for what, count in sorted(self.trouble.done.items()))
        return (
            f"{time.monotonic() - self._started:5.0f} s of {self.seconds:.0f}: {sum(tally.good.values())} done, "
            f"{sum(tally.excused.values())} excused, {tally.wrong} wrong, {tally.lost} lost | {held} | {done}"
        )

    async def load(self, say: Callable[[str], None]) -> None:
        """Everything at once until the time is over; all of it has ended when this returns."""
        on = self._stage
        async with contextlib.AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            pulse = tasks.create_task(self.losses.pulse())
            seed = 0
            for kind, (work, workers, gap) in KINDS.items():
                for _ in range(workers):
                    seed += 1
                    tasks.create_task(self._work(kind, work, gap, seed))
            tasks.create_task(self.trouble.kill_registry(min(REGISTRY_KILL_SECONDS, self.seconds / 3)))
            tasks.create_task(self.trouble.kill_servers(min(SERVER_KILL_SECONDS, self.seconds / 6)))
            for name in MOVING:
                tasks.create_task(self.trouble.change_sandbox(name))
            end = self._started + self.seconds
            while (left := end - time.monotonic()) > 0 and not on.ended():
                with contextlib.suppress(OSError, psutil.Error, AssertionError):  # one that has ended since
                    await self.sampler.keep()
                    await self.losses.look()
                say(self.progress())
                await pause(self.over, min(left, max(SAMPLE_SECONDS, self.seconds / SAMPLES)))
            self.over.set()
            pulse.cancel()

    async def _work(self, kind: str, work: Work, gap: float, seed: int) -> None:
        """Pieces of one kind of work, one after the other."""
        on, chance = self._stage, random.Random(seed)
        async with exchanges.sessions(on.caller.outbound, on.forward, on.callee.inbound, seed) as client:
            while not self.over.is_set():
                key = chance.choice(KEYS)
                before, began = self.outages.now(), time.monotonic()
                try:
                    async with asyncio.timeout(WORK_SECONDS):
                        await work(client, key)
                except (Wrong, TimeoutError) as error:
                    await self._note(kind, key, error, began)
                except (Failed, ClientError, OSError, asyncio.IncompleteReadError) as error:
                    await self._failed(kind, key, error, before, began)
                else:
                    self.tally.good[kind] += 1
                await pause(self.over, gap)

    async def _failed(self, kind: str, key: Key, error: Exception, before: dict[str, int], began: float) -> None:
        if key.name in MOVING and isinstance(error, Failed) and str(error) == ENDED:
            self.tally.refused[kind] += 1
        elif self.outages.since(before, SERVERS if kind == SEVERAL_KEYS else key.servers):
            self.tally.excused[kind] += 1
        elif kind == "upload" and isinstance(error, Failed) and str(error) == "upstream-reset":
            self.tally.unrepeated += 1
        else:
            await self._note(kind, key, error, began)

    async def _note(self, kind: str, key: Key, error: Exception, began: float) -> None:
        at = time.monotonic() - self._started
        down = ", ".join(name for name, kills in self.outages.now().items() if kills < 0) or "nobody"
        known = await self.losses.known(began) if self.tally.listing else ""
        self.tally.note(kind, key, error, f"{at:.1f} s after the start; {down} is down; {known}")

    async def settle(self, start: dict[str, Sample]) -> dict[str, Sample]:
        """What is held when the traffic's time limits have come due, or when time is over."""
        async with Client(self._stage.registry_url) as client:
            for name in MOVING:
                with contextlib.suppress(Exception):
                    await client.delete(name, 5)
        deadline = time.monotonic() + REST_SECONDS
        while True:
            end = {name: await self.sampler.look(name) for name in start}
            quiet = all(verdict.good for name in start for verdict in judge.rest(name, start[name], end[name]))
            if quiet or time.monotonic() > deadline:
                return end
            await asyncio.sleep(0.5)

    async def verdicts(self, start: dict[str, Sample], end: dict[str, Sample]) -> list[Verdict]:
        found = judge.traffic(self.tally, list(KINDS))
        for name, series in self.sampler.series.items():
            found += judge.memory(name, series)
            found += judge.rest(name, start[name], end[name])
            internal = await self.sampler.sidecars[name].metric("skycap_failures_total", code="internal")
            found.append(Verdict(not internal, f"{name}: {internal:.0f} internal errors"))
        routes = await self._stage.callee.metric("skycap_routes")
        found.append(
            Verdict(
                routes == 1 + len(MOVING),
                f"{routes:.0f} routes are left: the sandbox that stays, and {len(MOVING)} that ended",
            )
        )
        wanted = ("registry killed", "servers killed", "sandboxes changed")
        done = ", ".join(f"{self.trouble.done[what]} {what}" for what in wanted)
        found.append(Verdict(all(self.trouble.done[what] for what in wanted), done))
        noise = self._stage.noise()
        found.append(
            Verdict(not noise, f"{len(noise)} complaints in the logs" + "".join(f"\n      {n}" for n in noise[:5]))
        )
        return found


async def soak(seconds: float, say: Callable[[str], None]) -> tuple[list[Verdict], list[str]]:
    """Run one. Returns the verdicts, and the problems that were met."""
    verdicts: list[Verdict] = []
    problems: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="skycap-soak-") as folder:
            async with stage.running(Path(folder)) as on:
                run = Soak(on, seconds)
                problems = run.tally.problems
                start = {name: await run.sampler.look(name) for name in on.sidecars}
                await run.load(say)
                say(run.progress())
                verdicts = [Verdict(False, f"{name}: ended with {code} amid it") for name, code in on.ended().items()]
                if not verdicts:
                    verdicts = await run.verdicts(start, await run.settle(start))
    except AssertionError as error:  # what starting and stopping claim
        verdicts.append(Verdict(False, f"a process did not start or end as it should {error}".strip()))
    return verdicts, problems
