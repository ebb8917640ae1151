"""A hundred agents at once, on the same service, none of whom may see another.

Each creates a sandbox, waits until it is ready, sends 20 requests with its key, updates the sandbox, waits, sends 20
more, and deletes it (`benchmarks.load.agents`). One misrouted or lost request fails the run.

Agents in their whole loop beside that (`benchmarks.load.loop`): push a change that is broken, fail, be told so by
feedback, push the fix, succeed, prove it, delete; then no process of any of them may be left.

The registry, the baseline's sidecar and everything that is started share all cores, as on a developer's machine.
Beside the crowd, one agent alone: from sending its sandbox to the first answer of its shadow, in relation to what
the shadow's process takes to answer when it is started by hand. And the same for a changed file that it pushes, and for
the request that wakes its sandbox (`benchmarks.load.alone`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from benchmarks import accounting, probe
from benchmarks.errors import BenchmarkError, WrongAnswer
from benchmarks.figures import quantile
from benchmarks.load import mended, shadow
from benchmarks.load.agents import Fork, crowd, identity
from benchmarks.load.alone import pushed, woken
from benchmarks.load.loop import loops
from benchmarks.machine import free_ports
from benchmarks.process import Process
from benchmarks.registry import start_registry
from benchmarks.run import Run
from benchmarks.scenario import SKYCAP, Bound, Metric, Scenario, Target
from benchmarks.template import render
from controlplane.client import RegistryError
from controlplane.model.workload import Workload

AGENTS = 100
WORKLOAD = "shop/users"
MENDED = "shop/mended"

_MIB_PER_AGENT = 150
"""Two revisions at the moment of an update, each a sidecar of 45 MiB and an application of 10 MiB, and some air."""

_ALONE = 5
"""Sandboxes one after the other; the median is reported."""

_SHADOW = Path(shadow.__file__)
_TEMPLATE = Path(__file__).parent.parent / "shadows.conf"


def run(run: Run) -> None:
    """The static launcher, the process launcher, and one agent alone."""
    site = _Site(run)
    agents = _affordable(run)
    run.steps(run.rounds * 5)
    for number in range(run.rounds):
        turn = f"round {number + 1} of {run.rounds}"
        run.step(f"{turn}: static launcher", f"{AGENTS} agents")
        run.record("static", SKYCAP, number, asyncio.run(_at_once(site, AGENTS, site.static_fork)))
        run.step(f"{turn}: process launcher", f"{agents} agents")
        run.record("process", SKYCAP, number, asyncio.run(_at_once(site, agents, site.process_fork)))
        run.step(f"{turn}: the whole loop", f"{agents} agents")
        run.record("loop", SKYCAP, number, asyncio.run(_loop(site, agents)))
        run.step(f"{turn}: process launcher", "one agent")
        run.record("alone", SKYCAP, number, asyncio.run(_alone(site)))
        run.step(f"{turn}: push, and sleep and wake", "one agent")
        run.record("change", SKYCAP, number, asyncio.run(_change(site)))


def _affordable(run: Run) -> int:
    """How many agents with processes of their own this machine has memory for."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") >> 20
    agents = max(1, min(AGENTS, available // _MIB_PER_AGENT))
    if agents < AGENTS:
        run.note(f"{available} MiB of memory are free: {agents} agents with processes, not {AGENTS}")
    return agents


class _Site:
    """A registry, a baseline with its sidecar, and shadows that somebody else runs."""

    def __init__(self, run: Run) -> None:
        self.folder = run.folder
        self.cores = sorted({*run.cores.proxy, *run.cores.load, *run.cores.origin})
        self.registry, self.url = start_registry(run, self.cores)
        app, self.port, *self._shadows = free_ports(2 + 2 * AGENTS)
        _start_shadows(run, app, self._shadows)
        self._sidecar(run, WORKLOAD, self.port, app)
        self.workload = Workload(
            workload=WORKLOAD,
            address=f"127.0.0.1:{self.port}",
            command=(sys.executable, "-I", "-S", str(_SHADOW)),
            cwd=str(run.folder),
        )

        self.mended = self._start_mended(run)

    def _sidecar(self, run: Run, workload: str, port: int, app: int) -> None:
        """The baseline's, ready."""
        (admin,) = free_ports(1)
        command = [
            sys.executable, "-m", "proxy", "--workload", workload, "--registry", self.url,
            "--inbound", f"127.0.0.1:{port}=127.0.0.1:{app}", "--admin", f"127.0.0.1:{admin}",
        ]  # fmt: skip
        name = f"sidecar of {workload.rpartition('/')[2]}"
        sidecar = run.stack.enter_context(Process(name, command, self.cores, run.folder))
        sidecar.await_ready(lambda: probe.ready(admin, "/ready"))
        sidecar.await_ready(lambda: probe.answers(port))

    def _start_mended(self, run: Run) -> Workload:
        """A baseline that is broken and mended by a file, with its sidecar."""
        folder = run.folder / "mended"
        folder.mkdir()
        shutil.copy(mended.__file__, folder)
        (folder / "answer.txt").write_text("200 baseline\n")
        app, port = free_ports(2)
        command = (sys.executable, "-I", "-S", "mended.py")
        started = [*_within(str(folder), app), *command]
        process = run.stack.enter_context(Process("mended", started, self.cores, run.folder))
        process.await_ready(lambda: probe.answers(app))
        self._sidecar(run, MENDED, port, app)
        return Workload(workload=MENDED, address=f"127.0.0.1:{port}", command=command, cwd=str(folder))

    def left(self) -> list[str]:
        """Processes of sandboxes that still run, by their command lines."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                told = (path / "environ").read_bytes().split(b"\0")
                agents = any(name.startswith(b"SKYCAP_SANDBOX=agent-") for name in told)
                if agents and (path / "cwd").readlink().is_relative_to(self.folder):
                    found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return found

    def static_fork(self, agent: int, revision: int) -> dict[str, object]:
        """A shadow that somebody else runs, another one for every revision."""
        return {"endpoints": [f"127.0.0.1:{self._shadows[2 * agent + revision - 1]}"]}

    def process_fork(self, agent: int, revision: int) -> dict[str, object]:
        """The baseline's program with another answer."""
        return {"command": list(self.workload.command), "env": {"SHADOW": identity(agent, revision)}}


def _within(folder: str, port: int) -> list[str]:
    """What stands before a command, for it to run there and listen on this port."""
    return ["env", f"PORT={port}", "sh", "-c", 'cd "$0" && exec "$@"', folder]


def _start_shadows(run: Run, app: int, ports: list[int]) -> None:
    """One nginx that is the baseline and every static shadow."""
    config = run.folder / "shadows.conf"
    answers: list[dict[str, object]] = [{"PORT": app, "BODY": "baseline"}]
    answers += [{"PORT": port, "BODY": identity(number // 2, number % 2 + 1)} for number, port in enumerate(ports)]
    config.write_text(render(_TEMPLATE.read_text(), {"FOLDER": run.folder}, {"shadow": answers}))
    command = [str(run.tools["nginx"]), "-p", str(run.folder), "-c", str(config), "-e", "stderr"]
    process = run.stack.enter_context(Process("shadows", command, run.cores.origin, run.folder))
    process.await_ready(lambda: probe.answers(app))


async def _at_once(site: _Site, agents: int, fork: Fork) -> dict[str, float]:
    """A crowd's figures. Raises WrongAnswer unless every answer came, and from the right place."""
    cpu = accounting.own_cpu_seconds(site.registry.pid)
    async with crowd(site.url, site.port, WORKLOAD) as people:
        await people.client.put_workload(site.workload)
        began = time.perf_counter()
        tally = await people.at_once(agents, fork)
        wall = time.perf_counter() - began
    wrong = tally.verdict()
    if wrong:
        raise WrongAnswer(f"{agents} agents: {wrong}")
    created, updated = sorted(tally.created), sorted(tally.updated)
    return {
        "wall_s": wall,
        "requests": tally.requests,
        "misrouted": tally.misrouted,
        "lost": tally.lost,
        "create_p50_ms": quantile(created, 0.5) * 1000,
        "create_p99_ms": quantile(created, 0.99) * 1000,
        "update_p50_ms": quantile(updated, 0.5) * 1000,
        "update_p99_ms": quantile(updated, 0.99) * 1000,
        "registry_cpu_s": accounting.own_cpu_seconds(site.registry.pid) - cpu,
    }


async def _loop(site: _Site, agents: int) -> dict[str, float]:
    """A crowd's figures over the whole loop. Raises WrongAnswer unless every turn came out as it must."""
    cpu = accounting.own_cpu_seconds(site.registry.pid)
    port = int(site.mended.address.rpartition(":")[2])
    async with crowd(site.url, port, MENDED) as people:
        await people.client.put_workload(site.mended)
        began = time.perf_counter()
        tally = await loops(people, MENDED, agents)
        wall = time.perf_counter() - began
    left = site.left()
    wrong = tally.verdict() or (f"{len(left)} processes are left, the first: {left[0]}" if left else "")
    if wrong:
        raise WrongAnswer(f"{agents} agents in their loop: {wrong}")
    pushed, told = sorted(tally.pushed), sorted(tally.told)
    return {
        "wall_s": wall,
        "requests": tally.requests,
        "misrouted": tally.misrouted,
        "lost": tally.lost,
        "left": len(left),
        "push_p50_ms": quantile(pushed, 0.5) * 1000,
        "push_p99_ms": quantile(pushed, 0.99) * 1000,
        "told_p50_ms": quantile(told, 0.5) * 1000,
        "told_p99_ms": quantile(told, 0.99) * 1000,
        "registry_cpu_s": accounting.own_cpu_seconds(site.registry.pid) - cpu,
    }


async def _alone(site: _Site) -> dict[str, float]:
    """Milliseconds to the first answer of a fresh sandbox, of its process by itself, and the difference."""
    by_hand = await _by_hand(site, site.workload)
    try:
        async with crowd(site.url, site.port, WORKLOAD) as people:
            first = median([await people.first_answer(agent, site.process_fork) for agent in range(_ALONE)])
    except (RegistryError, TimeoutError) as error:
        raise BenchmarkError(f"one agent alone: {str(error) or 'no answer in time'}") from error
    return {"first_ms": first * 1000, "start_ms": by_hand * 1000, "over_ms": (first - by_hand) * 1000}


async def _change(site: _Site, times: int = _ALONE) -> dict[str, float]:
    """Milliseconds to the first answer of a pushed file, and of a sandbox that slept, beyond those of its process."""
    by_hand = await _by_hand(site, site.mended)
    port = int(site.mended.address.rpartition(":")[2])
    try:
        async with crowd(site.url, port, MENDED) as people:
            await people.client.put_workload(site.mended)
            push = median([await pushed(people, MENDED, agent) for agent in range(times)])
            wakes = [await woken(people, MENDED, agent, site.mended.command, site.left) for agent in range(times)]
    except (RegistryError, TimeoutError) as error:
        raise BenchmarkError(f"one agent's change: {str(error) or 'no answer in time'}") from error
    return {
        "start_ms": by_hand * 1000,
        "pushed_ms": push * 1000,
        "push_over_ms": (push - by_hand) * 1000,
        "woken_ms": median(wakes) * 1000,
        "wake_over_ms": (median(wakes) - by_hand) * 1000,
    }


async def _by_hand(site: _Site, workload: Workload) -> float:
    return median([await asyncio.to_thread(_start_by_hand, site, workload, number) for number in range(_ALONE)])


def _start_by_hand(site: _Site, workload: Workload, number: int) -> float:
    """Seconds from starting the application to its first answer."""
    (port,) = free_ports(1)
    command = [*_within(workload.cwd, port), *workload.command]
    began = time.perf_counter()
    with Process(f"by-hand-{number}", command, site.cores, site.folder) as process:
        process.await_ready(lambda: probe.answers(port), poll=0.001)
        return time.perf_counter() - began


SCENARIO = Scenario(
    name="agents",
    summary="100 agents at once, through their whole loop: nothing misrouted, nothing lost, no process left",
    cases={
        "static": "static launcher, all at once",
        "process": "process launcher, all at once",
        "loop": "push, fail, feedback, fix, prove, delete: all at once",
        "alone": "process launcher, one agent alone",
        "change": "one agent alone: a pushed file, and a sandbox that slept",
    },
    metrics=(
        Metric("wall_s", "all done", "s"),
        Metric("requests", "requests", "", 0),
        Metric("misrouted", "misrouted", "", 0),
        Metric("lost", "lost", "", 0),
        Metric("create_p50_ms", "create, p50", "ms", 0),
        Metric("create_p99_ms", "p99", "ms", 0),
        Metric("update_p50_ms", "update, p50", "ms", 0),
        Metric("update_p99_ms", "p99", "ms", 0),
        Metric("left", "processes left", "", 0),
        Metric("push_p50_ms", "push -> serving, p50", "ms", 0),
        Metric("push_p99_ms", "p99", "ms", 0),
        Metric("told_p50_ms", "failing answer -> feedback, p50", "ms", 0),
        Metric("told_p99_ms", "p99", "ms", 0),
        Metric("registry_cpu_s", "registry CPU", "s"),
        Metric("first_ms", "create -> first answer", "ms", 0),
        Metric("start_ms", "the process by itself", "ms", 0),
        Metric("over_ms", "added", "ms", 0),
        Metric("pushed_ms", "push -> first answer", "ms", 0),
        Metric("push_over_ms", "added", "ms", 0),
        Metric("woken_ms", "wake -> answer", "ms", 0),
        Metric("wake_over_ms", "added", "ms", 0),
    ),
    targets=(
        Target("misrouted", Bound.AT_MOST, 0),
        Target("lost", Bound.AT_MOST, 0),
        Target("left", Bound.AT_MOST, 0),
        Target("over_ms", Bound.AT_MOST, 100),
        Target("push_over_ms", Bound.AT_MOST, 300),
        Target("wake_over_ms", Bound.AT_MOST, 150),
    ),
    run=run,
    rounds=1,
)
