"""Shadows as processes on this machine: the application and a sidecar of its own, side by side.

    start:  lay pushed files over the work folder, choose ports, start both at once, wait until the application is
            ready and the sidecar listens
    adopt:  find both again by pid and start time, after the registry was killed
    stop:   the sidecar first, which finishes what is in flight, then the application, then the folder

Each shadow has a folder below the launcher's state directory, with the output of both processes and, written as
soon as a process exists, the same record that `start` returns as the handle. A registry that is killed in the
middle of a start has stored no handle: `sweep` finds such shadows by their records and ends them.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from controlplane.files.store import FileStore
from controlplane.launch.build import build
from controlplane.launch.changed import Changed, build_mark
from controlplane.launch.pair import Pair, read_records
from controlplane.launch.plan import (
    LOOPBACK,
    NO_REGISTRY,
    CopyPorts,
    RegistryAccess,
    Shadow,
    app_command,
    sidecar_command,
)
from controlplane.launch.port import LaunchError, LaunchRequest, Running, refuse
from controlplane.model.copy_log import ALWAYS, Window
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Fork
from controlplane.model.variables import RESERVED
from controlplane.model.workload import Workload
from controlplane.process.child import SpawnError
from controlplane.process.connections import connected
from controlplane.process.kin import kill_kin
from controlplane.process.limits import NO_LIMITS, ControlGroups
from controlplane.process.listeners import instead
from controlplane.process.ports import PortPool
from controlplane.process.private import private_folder, write_private
from controlplane.process.readiness import Probe, Readiness, answers
from proxy.contract.rules import encode_rule

SIDECAR_SECONDS = 30.0
"""Until a sidecar that does not listen counts as broken. It takes a fifth of a second on an idle machine."""
PORT_ATTEMPTS = 3
"""Somebody may take a chosen port before our process does; three times in a row it is no accident."""
RULES = "rules.json"
"""In the folder of a shadow: what becomes of its calls to hosts."""
LAST_LINES = 20
"""Of the output, told with a failure."""
STARTS_PER_CORE = 2
"""Starts at once. A hundred interpreters that start together are all late; in turn, half of them are early."""
SLOT_SECONDS = 2.0
"""Longest that a start counts among those: after that it waits for something, not for the processor."""


class ProcessLauncher:
    """Starts each shadow as two processes on free ports of 127.0.0.1.

    state_dir: holds one folder per shadow; made when it is missing.
    environ:   what applications and sidecars inherit. Default: our own environment.
    files:     where pushed files are found; None: there are none.
    registry:  that sidecars of shadows tell of requests.
    """

    def __init__(
        self,
        state_dir: Path,
        environ: Mapping[str, str] | None = None,
        files: FileStore | None = None,
        registry: RegistryAccess = NO_REGISTRY,
        groups: ControlGroups = NO_LIMITS,
    ) -> None:
        self._groups = groups
        self._state_dir = state_dir.absolute()
        self._environ = os.environ if environ is None else environ
        self._registry = registry
        self._ports = PortPool()
        self._readiness = Readiness()
        self._slots = asyncio.Semaphore(max(4, STARTS_PER_CORE * (os.cpu_count() or 1)))
        self._pairs: dict[str, Pair] = {}
        self._changed = Changed(files) if files is not None else None

    def __repr__(self) -> str:
        return f"<ProcessLauncher {self._state_dir} {len(self._pairs)} shadows>"

    def check(self, fork: Fork, definition: Workload | None) -> list[FieldProblem]:
        problems = check(fork, definition)
        if fork.files is not None and (self._changed is None or not self._changed.known(fork.files)):
            message = "there are no pushed files of this digest: push them with `skycap sandbox push`"
            problems.append(FieldProblem(path="files", message=message))
        return problems

    async def start(self, request: LaunchRequest) -> Running:
        refuse(self.check(request.fork, request.definition))
        definition = request.definition
        assert definition is not None
        async with self._slot():
            for attempt in count(1):
                pair = await self._spawn(request, definition)
                try:
                    await self._until_ready(pair, definition)
                except BaseException as error:
                    unlucky = isinstance(error, LaunchError) and pair.lost_a_port()
                    await self._destroy(pair)
                    if not unlucky or attempt == PORT_ATTEMPTS:
                        raise
                else:
                    return _running(pair)
        raise AssertionError("unreachable")

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        pair = self._find(handle)
        if pair is None:
            return None
        if pair.gone.done():
            await self._destroy(pair)
            return None
        return _running(pair)

    async def wait(self, running: Running) -> LaunchError:
        """As the port says; the half that is left is ended too.

        A shadow that is stopped has not died by itself: then this waits until it is cancelled.
        """
        pair = self._find(running.handle)
        if pair is None:
            return LaunchError("it is gone, and so is every trace of it")
        await asyncio.wait([pair.gone])
        if pair.stopping:
            await asyncio.get_running_loop().create_future()
        error = LaunchError(pair.how_it_ended(), pair.log(LAST_LINES))
        await pair.finish()
        return error

    async def stop(self, running: Running) -> None:
        pair = self._find(running.handle)
        if pair is not None:
            await pair.stop()
            await self._destroy(pair)

    async def connected(self, running: Running) -> bool:
        pair = self._pairs.get(str(running.handle.get("id")))
        return pair is not None and await asyncio.to_thread(connected, pair.ports.inbound)

    async def log(self, running: Running, lines: int, window: Window = ALWAYS) -> str:
        pair = self._pairs.get(str(running.handle.get("id")))
        return await asyncio.to_thread(pair.log, lines, window) if pair is not None else ""

    async def sweep(self) -> int:
        """End every shadow of this state directory that was neither started nor adopted here; how many there were.

        For a registry that has just started and has adopted all that it knows of.
        """
        strays = [record for record in read_records(self._state_dir) if record["id"] not in self._pairs]
        pairs = []
        for record in strays:
            kill_kin(build_mark(self._state_dir / record["id"]))
            pair = self._find(record)
            if pair is None:  # a folder without a readable record: whatever was in it, nobody can find it
                shutil.rmtree(self._state_dir / record["id"], ignore_errors=True)
            else:
                pairs.append(pair)
        await asyncio.gather(*map(self._destroy, pairs))
        return len(pairs)

    def _find(self, handle: Mapping[str, Any]) -> Pair | None:
        pair = self._pairs.get(str(handle.get("id"))) or Pair.find(self._state_dir, handle)
        if pair is not None:
            self._pairs[pair.id] = pair
            for port in pair.ports.all():
                self._ports.keep(port)
        return pair

    async def _spawn(self, request: LaunchRequest, definition: Workload) -> Pair:
        upstreams = definition.upstreams
        ports = self._choose_ports(len(upstreams))
        name = f"{request.sandbox}.{request.workload.replace('/', '.')}.r{request.revision}.{secrets.token_hex(3)}"
        folder = self._state_dir / name
        shadow = Shadow(request.sandbox, request.routing_key, request.revision)
        fork = request.fork
        cwd = fork.cwd or definition.cwd
        app = app_command(
            fork.command or definition.command,
            cwd,
            {**definition.env, **(fork.env or {})},
            upstreams,
            ports,
            self._environ,
            shadow,
        )
        rules = folder / RULES if request.rules else None
        sidecar = sidecar_command(
            request.workload,
            upstreams,
            ports,
            str(folder),
            self._environ,
            shadow=shadow,
            registry=self._registry,
            rules=rules,
        )
        try:
            if rules is not None:
                private_folder(folder)
                told = {"key": request.routing_key, "rules": [encode_rule(rule) for rule in request.rules]}
                write_private(rules, json.dumps(told))
            made = build(app.argv, cwd, app.env.get("PATH"), datetime.now(UTC), fork.files or "")
            if fork.files is not None and self._changed is not None:
                app = await self._changed.lay(fork.files, fork.build or (), cwd, folder, app)
            pair = Pair.spawn(folder, app, sidecar, ports, made.encode(), self._limited(name))
        except BaseException as error:
            self._ports.give_back(ports.all())
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, SpawnError):
                raise LaunchError(str(error)) from None
            if isinstance(error, OSError):
                raise LaunchError(f"its folder {folder} cannot be made: {error.strerror}") from None
            raise
        self._pairs[pair.id] = pair
        return pair

    def _choose_ports(self, outbound: int) -> CopyPorts:
        ports: list[int] = []
        try:
            ports += (self._ports.take() for _ in range(2 + outbound))
        except OSError as error:
            self._ports.give_back(ports)
            raise LaunchError(f"{error.strerror}") from None
        return CopyPorts(ports[0], ports[1], tuple(ports[2:]))

    async def _until_ready(self, pair: Pair, definition: Workload) -> None:
        readiness = definition.readiness
        missing = await asyncio.gather(
            self._readiness.until(_app(pair, readiness.path), readiness.timeout, pair.gone),
            self._readiness.until(_sidecar(pair), SIDECAR_SECONDS, pair.gone),
        )
        log = pair.log(LAST_LINES)
        if pair.gone.done():
            raise LaunchError(f"{pair.how_it_ended()} before it was ready", log)
        if missing[0]:
            why = f"{missing[0]}{instead(pair.app.pid, pair.ports.app)}"
            raise LaunchError(f"`{pair.command}` is not ready after {readiness.timeout:g} s: {why}", log)
        if missing[1]:
            raise LaunchError(f"its sidecar is not ready after {SIDECAR_SECONDS:g} s: {missing[1]}", log)

    async def _destroy(self, pair: Pair) -> None:
        self._pairs.pop(pair.id, None)
        self._ports.give_back(pair.ports.all())
        await pair.destroy()
        if self._groups.limits:
            await asyncio.to_thread(self._groups.remove, pair.id)

    def _limited(self, name: str) -> tuple[str, ...]:
        try:
            return self._groups.make(name)
        except OSError as error:
            raise LaunchError(f"its limits cannot be set: {error.filename}: {error.strerror}") from None

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """One of a few starts at a time, for at most SLOT_SECONDS: nobody's slow start holds up the others."""
        await self._slots.acquire()
        timer = asyncio.get_running_loop().call_later(SLOT_SECONDS, self._slots.release)
        try:
            yield
        finally:
            if asyncio.get_running_loop().time() < timer.when():
                timer.cancel()
                self._slots.release()


def check(fork: Fork, definition: Workload | None) -> list[FieldProblem]:
    """Whether a process can be started for a fork: not without a baseline that says how."""
    unsaid = "so nothing says how a copy of it is run"
    if definition is None:
        message = f"no baseline of {fork.workload} is registered, {unsaid}"
        advice = "start it with `skycap up`, or give the fork endpoints"
        return [FieldProblem(path="workload", message=f"{message}: {advice}")]
    if not definition.command:
        message = f"the baseline of {fork.workload} was not started by skycap, {unsaid}"
        return [FieldProblem(path="command", message=f"{message}: give the fork endpoints instead")]
    if fork.files is not None and not (fork.cwd or definition.cwd):
        message = f"the baseline of {fork.workload} has no work folder that files could be laid over: give cwd"
        return [FieldProblem(path="files", message=message)]
    return [
        FieldProblem(path=f"env.{name}", message=f"every copy gets its own: it is {meaning}")
        for name, meaning in RESERVED.items()
        if name in (fork.env or {})
    ]


def _running(pair: Pair) -> Running:
    return Running((f"{LOOPBACK}:{pair.ports.inbound}",), pair.handle())


def _app(pair: Pair, path: str | None) -> Probe:
    return answers(pair.ports.app, path, f"nothing listens on port {pair.ports.app}, which $PORT says")


def _sidecar(pair: Pair) -> Probe:
    return answers(pair.ports.inbound, None, f"nothing listens on port {pair.ports.inbound}")
