"""The registry may die at any time, and a sandbox may be updated at any time: requests never notice.

The load is bounded: LOAD_SECONDS long, WORKERS requests at a time, each followed by a short pause.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from controlplane.client import Client
from controlplane.model.sandbox import Phase
from controlplane.model.workload import Workload
from tests.acceptance.running import ROOT, accepts, free_port, naming, serving, sidecar, start, stop

LOAD_SECONDS = float(os.environ.get("SKYCAP_LOAD_SECONDS", "60"))
"""As long as the promise is; a shorter run is for looking at one failure."""

WORKERS = 8
PAUSE_SECONDS = 0.01
MOST_WRONG = 100
"""Enough to see what is wrong."""

KEYED = {"baggage": "routing-key=agent-42"}


@dataclass
class Wrong:
    """A request that noticed. began, ended: on the monotonic clock."""

    began: float
    ended: float
    what: str


@dataclass
class Load:
    """Keyed and unkeyed requests by turns, and everything that was wrong with their answers.

    keyed: is this answer right, for a request that began at this revision?
    """

    url: str
    keyed: Callable[[str, int], bool]
    revision: Callable[[], int] = lambda: 0
    answered: Counter[str] = field(default_factory=Counter)
    wrong: list[Wrong] = field(default_factory=list)

    enough: bool = False

    async def run(self) -> None:
        """Until it is `enough`."""
        async with ClientSession() as session, asyncio.TaskGroup() as tasks:
            for worker in range(WORKERS):
                tasks.create_task(self._work(session, worker))

    async def _work(self, session: ClientSession, worker: int) -> None:
        turn = worker
        while not self.enough and len(self.wrong) < MOST_WRONG:
            turn += 1
            headers = KEYED if turn % 2 else {}
            began, revision = time.monotonic(), self.revision()
            try:
                async with session.get(self.url, headers=headers) as answer:
                    text = await answer.text()
            except ClientError as error:
                self.wrong.append(Wrong(began, time.monotonic(), f"{headers}: {error!r}"))
                continue
            self.answered[text] += 1
            right = self.keyed(text, revision) if headers else "baseline" in text
            if answer.status != 200 or not right:
                what = f"{headers}: {answer.status} {text} {answer.headers.get('skycap-served-by')}"
                self.wrong.append(Wrong(began, time.monotonic(), what))
            await asyncio.sleep(PAUSE_SECONDS)


async def during(load: Load, trouble: Callable[[], Awaitable[None]], least: int) -> None:
    """Run the load, and `trouble` again and again beside it: for LOAD_SECONDS, and `least` times however long a busy
    machine takes for that."""
    async with ClientSession() as session, session.get(load.url, headers=KEYED) as first:
        assert load.keyed(await first.text(), load.revision())  # held up until the first table has come
    until = time.monotonic() + LOAD_SECONDS
    times = 0
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(load.run())
        while not running.done() and (times < least or time.monotonic() < until):
            await trouble()
            times += 1
        load.enough = True


@pytest.mark.timeout(LOAD_SECONDS * 5 + 60)  # however busy the machine is
async def test_the_registry_is_killed_and_restarted_all_the_time(tmp_path: Path) -> None:
    registry_port, port = free_port(), free_port()
    registry_url = f"http://127.0.0.1:{registry_port}"

    async def registry() -> asyncio.subprocess.Process:
        process = await start(
            "-m", "controlplane", "--listen", f"127.0.0.1:{registry_port}", "--store", str(tmp_path / "store.db"),
            "--state-dir", str(tmp_path / "state"), "--log-level", "error",
        )  # fmt: skip
        await accepts(registry_port, process)
        return process

    async with serving(naming("baseline")) as app, serving(naming("shadow")) as shadow:
        process = await registry()
        async with Client(registry_url) as client:
            await client.apply(sandbox({"workload": "shop/users", "endpoints": [f"127.0.0.1:{shadow}"]}))
        arguments = ("--workload", "shop/users", "--inbound", f"127.0.0.1:{port}=127.0.0.1:{app}")
        async with sidecar(*arguments, "--registry", registry_url, port=port):
            load = Load(f"http://127.0.0.1:{port}/", lambda text, _: "shadow" in text)

            async def trouble() -> None:
                nonlocal process
                process.kill()
                await process.wait()
                process = await registry()

            try:
                await during(load, trouble, int(LOAD_SECONDS / 10))
            finally:
                await stop(process)
    assert not load.wrong, "\n".join(one.what for one in load.wrong)
    assert sum(load.answered.values()) > LOAD_SECONDS * 20


@pytest.mark.timeout(LOAD_SECONDS * 5 + 60)  # however busy the machine is
async def test_a_sandbox_is_updated_every_second(tmp_path: Path) -> None:
    """A sidecar that does not acknowledge within five seconds is not waited for (`RoutesInForce` names it). Where the
    machine lets one stand still for so long, what it did then says nothing, as long as that was the exception."""
    registry_port, port = free_port(), free_port()
    registry_url = f"http://127.0.0.1:{registry_port}"
    process = await start(
        "-m", "controlplane", "--listen", f"127.0.0.1:{registry_port}", "--memory",
        "--state-dir", str(tmp_path / "state"), "--log-level", "error",
    )  # fmt: skip
    await accepts(registry_port, process)
    revision = 0
    updated: list[tuple[float, bool]] = []
    """When an update began, and whether the sidecar was waited for to the end."""

    async with serving(naming("baseline")) as app, Client(registry_url, timeout=30) as client:
        arguments = ("--workload", "shop/users", "--inbound", f"127.0.0.1:{port}=127.0.0.1:{app}")
        async with sidecar(*arguments, "--registry", registry_url, port=port):

            async def update() -> None:
                nonlocal revision
                revision += 1
                began = time.monotonic()
                command = [sys.executable, str(ROOT / "tests/acceptance/app.py")]
                fork: dict[str, object] = {
                    "workload": "shop/users",
                    "command": command,
                    "env": {"ANSWER": f"revision-{revision}"},
                }
                await client.apply(sandbox(fork))
                settled = await client.wait("agent-42", 30)
                assert settled.status is not None
                assert settled.status.phase is Phase.READY, settled
                (in_force,) = [one for one in settled.status.conditions if one.type == "RoutesInForce"]
                updated.append((began, in_force.status == "True"))

            async def trouble() -> None:
                started = time.monotonic()
                await update()
                await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - started)))

            try:
                await client.put_workload(definition(tmp_path, port))
                await update()
                load = Load(
                    f"http://127.0.0.1:{port}/",
                    lambda text, since: text in {f"revision-{one}" for one in range(since - 1, revision + 1)},
                    lambda: revision,
                )
                await during(load, trouble, int(LOAD_SECONDS / 4))
            finally:
                ended = await stop(process)
    assert ended == 0
    stood_still = stretches(updated)
    noticed = [
        one for one in load.wrong
        if not any(began < one.ended and one.began < ended for began, ended in stood_still)
    ]  # fmt: skip
    assert not noticed, "\n".join(one.what for one in noticed)
    assert 2 * sum(waited for _, waited in updated) > len(updated)
    assert sum(load.answered.values()) > LOAD_SECONDS * 20


def stretches(updated: Sequence[tuple[float, bool]]) -> list[tuple[float, float]]:
    """From the beginning of each update that was not waited for to the beginning of the second one behind it, when one
    that was waited for is over."""
    beginnings = [began for began, _ in updated] + [math.inf, math.inf]
    return [(began, beginnings[number + 2]) for number, (began, waited) in enumerate(updated) if not waited]


def sandbox(fork: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "skycap.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": "agent-42"},
        "spec": {"forks": [fork]},
    }


def definition(folder: Path, port: int) -> Workload:
    """The baseline's definition, as `skycap up` would register it."""
    return Workload(
        workload="shop/users", address=f"127.0.0.1:{port}", command=(sys.executable, "app.py"), cwd=str(folder)
    )
