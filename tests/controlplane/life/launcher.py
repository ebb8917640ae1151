"""A launcher in memory: it keeps every promise of the port, and tests decide what becomes of each start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from controlplane.launch import process, static
from controlplane.launch.port import LaunchError, LaunchRequest, Running
from controlplane.model.copy_log import ALWAYS, Window
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Fork
from controlplane.model.workload import Workload


@dataclass
class Machine:
    """What runs, and survives the registry: the part of a launcher that is outside of it.

    live:   by handle number, what runs there.
    called: those to which somebody has a connection open.
    """

    live: dict[int, LaunchRequest] = field(default_factory=dict)
    deaths: dict[int, asyncio.Future[LaunchError]] = field(default_factory=dict)
    count: int = 0
    called: set[int] = field(default_factory=set)

    def running(self) -> list[str]:
        """`sandbox workload rREVISION` of everything that runs."""
        return sorted(f"{one.sandbox} {one.workload} r{one.revision}" for one in self.live.values())

    def kill(self, sandbox: str, workload: str, message: str = "killed by signal 9", log: str = "") -> None:
        """It dies by itself."""
        (number,) = [n for n, one in self.live.items() if (one.sandbox, one.workload) == (sandbox, workload)]
        del self.live[number]
        death = self.deaths.pop(number, None)
        if death is not None and not death.done():
            death.set_result(LaunchError(message, log))


class MemoryLauncher:
    """Starts at once unless told otherwise.

    hold:    revisions whose start waits until `let`.
    failing: revisions whose start fails, with why.
    calls:   what was asked, in order.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.hold: set[int] = set()
        self.failing: dict[int, LaunchError] = {}
        self.calls: list[str] = []
        self.stop_gate: asyncio.Event | None = None
        self._released = asyncio.Event()
        self._known: set[int] = set()

    def sweep(self) -> None:
        """End what a registry that was killed had started and had not stored."""
        for number in set(self.machine.live) - self._known:
            del self.machine.live[number]

    def let(self) -> None:
        """Every start that is held goes on."""
        self.hold.clear()
        self._released.set()
        self._released = asyncio.Event()

    def check(self, fork: Fork, definition: Workload | None) -> list[FieldProblem]:
        """As the real ones judge."""
        return process.check(fork, definition) if fork.launcher == "process" else static.check(fork, static.Rules())

    async def start(self, request: LaunchRequest) -> Running:
        called = f"{request.sandbox} {request.workload} r{request.revision}"
        self.calls.append(f"start {called}")
        try:
            while request.revision in self.hold:
                await self._released.wait()
        except asyncio.CancelledError:
            self.calls.append(f"cancelled {called}")
            raise
        failure = self.failing.get(request.revision)
        if failure is not None:
            raise LaunchError(str(failure), failure.log)
        self.machine.count += 1
        number = self.machine.count
        self.machine.live[number] = request
        self._known.add(number)
        endpoints = request.fork.endpoints or (f"127.0.0.1:{10_000 + number}",)
        return Running(endpoints, {"number": number})

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        self.calls.append(f"adopt {request.sandbox} {request.workload} r{request.revision}")
        number = handle["number"]
        if number not in self.machine.live:
            return None
        self._known.add(number)
        return Running(request.fork.endpoints or (f"127.0.0.1:{10_000 + number}",), handle)

    async def wait(self, running: Running) -> LaunchError:
        number = running.handle["number"]
        if number not in self.machine.live:
            return LaunchError("it is gone")
        death = self.machine.deaths.setdefault(number, asyncio.get_running_loop().create_future())
        return await asyncio.shield(death)

    async def stop(self, running: Running) -> None:
        number = running.handle["number"]
        if self.stop_gate is not None:
            await self.stop_gate.wait()
        request = self.machine.live.pop(number, None)
        self.machine.deaths.pop(number, None)
        if request is not None:
            self.calls.append(f"stop {request.sandbox} {request.workload} r{request.revision}")

    async def connected(self, running: Running) -> bool:
        return running.handle["number"] in self.machine.called

    async def log(self, running: Running, lines: int, window: Window = ALWAYS) -> str:
        text = [f"line {number} of {running.handle['number']}" for number in range(1, 201)]
        return "\n".join(text[-lines:])
