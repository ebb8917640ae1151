"""One machine as an environment: the registry, and per service an application and the sidecar beside it.

    enter:  lock, end what an earlier run left behind, check everything, start everything at once
    ready:  the registry knows every service, every application answers, every sidecar has its routes
    exit:   sidecars drain and applications end, callers before those they call; then the registry,
            which stops its shadows; then whatever is still there

All processes are supervised alike, and none needs another to start: whoever finds a neighbour missing tries again.
Sidecars are given the registry a moment before, only so that a start that goes well begins without warnings.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from controlplane.client import Client, RegistryError
from controlplane.launch.pair import DRAIN_SECONDS, GRACE_SECONDS
from controlplane.launch.plan import PEERS_ARE_KNOWN
from controlplane.launch.process import ProcessLauncher
from controlplane.local.events import Event, Leftover, Observer, Stopped, Stopping, Warned
from controlplane.local.layout import (
    Layout,
    ServiceLayout,
    callers_first,
    explicit_ports,
    gateway_command,
    lay_out,
    registry_command,
)
from controlplane.local.preflight import preflight
from controlplane.local.running import asked_restarts
from controlplane.local.servicelog import ServiceLogs, service_log
from controlplane.local.state import STATE, StateFolder
from controlplane.local.unit import Surroundings, Unit
from controlplane.model.environment import GATEWAY, REGISTRY, EnvironmentFile
from controlplane.model.variables import bypasses, upstream_variables
from controlplane.process.child import Child
from controlplane.process.kin import kin
from controlplane.process.listeners import instead, named
from controlplane.process.ports import PortPool
from controlplane.process.readiness import Readiness, answers
from proxy.base.problems import ConfigurationError
from proxy.base.tasks import Tasks

OURS_SECONDS = 30.0
"""Until a registry or a sidecar that does not answer is worth a word. They take half a second on an idle machine."""
REGISTRY_GRACE = DRAIN_SECONDS + 2 * GRACE_SECONDS
"""For the registry to end: it lets its shadows drain first, all at once."""
HEAD_START = 3.0
"""For the registry before the sidecars, at most: without it they would serve the baseline all the same."""
CANNOT_WORK = 2
"""The exit code of a registry whose state or settings cannot be used: to start it again changes nothing."""
LEFTOVER_GRACE = 10.0
"""For processes of a run that was killed: nobody waits for their answers any more."""


class NotReadyError(Exception):
    """Something is not ready in time. `problems` has one line for each, which begins with its name."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Environment:
    """The processes of one environment file, from `async with` to its end.

    folder:    of the file; working directories are relative to it.
    state_dir: the environment's own folder, `.skycap/NAME` below `folder` by default.
    observe:   is told what happens.
    environ:   what the processes inherit; our own environment by default.

    Entering raises ConfigurationError, with every problem, when nothing could be started.
    """

    def __init__(
        self,
        file: EnvironmentFile,
        folder: Path,
        state_dir: Path | None = None,
        observe: Observer = lambda event: None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.file = file
        self._folder = folder.absolute()
        self._state = StateFolder((state_dir or folder / STATE / file.name).absolute())
        self._logs = ServiceLogs(self._state.path)
        self._told = observe
        self._environ = os.environ if environ is None else environ
        self._tasks = Tasks(f"environment {file.name}")
        self._layout: Layout | None = None
        self._units: dict[str, Unit] = {}

    def __repr__(self) -> str:
        return f"<Environment {self.file.name} {list(self._units.values())}>"

    @property
    def layout(self) -> Layout:
        """Who listens where. Only between entering and leaving."""
        assert self._layout is not None
        return self._layout

    @property
    def registry_url(self) -> str:
        return self.layout.registry_url

    def address(self, service: str) -> str:
        """HOST:PORT where callers reach a service. Raises KeyError for a name that the file has not."""
        return {each.name: each.address for each in self.layout.services}[service]

    def is_ready(self, service: str) -> bool:
        """Its application and its sidecar both do their work now. Raises KeyError for a name that the file has not."""
        return all(self._units[name].ready.is_set() for name in (service, f"{service}/sidecar"))

    def pid(self, process: str) -> int | None:
        """Of `users`, `users/sidecar` or `registry`; None while it does not run. Raises KeyError."""
        child = self._units[process].process.child
        return None if child is None else child.pid

    async def ready(self) -> None:
        """Wait until all of it does its work. Raises NotReadyError when something does not in its time.

        What is not ready is still kept running: it may become so later. But without its registry an environment is
        none: raises ConfigurationError, with what that says, when that cannot be started at all.
        """
        await self._units[REGISTRY].until_ready()
        if self._units[REGISTRY].over:
            how, *said = self._units[REGISTRY].trouble.splitlines()
            reasons = [line.removeprefix("skycap controlplane: ") for line in said] or [how]
            raise ConfigurationError([f"the registry cannot be started: {reason}" for reason in reasons])
        found = await asyncio.gather(*(unit.until_ready() for unit in self._units.values()))
        problems = [problem for problem in found if problem]
        if problems:
            raise NotReadyError(problems)

    async def __aenter__(self) -> Environment:
        self._state.lock(self.file.name)
        try:
            await self._end_leftovers()
            self._layout = self._lay_out()
        except BaseException:
            self._state.unlock()
            raise
        self._start(self._layout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except BaseException:
            self.kill()
            self._logs.close()
            self._state.unlock()
            raise

    async def stop(self) -> None:
        """Stop everything in order. Stopping twice is no error."""
        if not self._units:
            return
        self._observe(Stopping())
        stopped = {service.name: asyncio.Event() for service in self.layout.services}
        callers = callers_first(self.layout.services)

        async def stop_service(name: str) -> None:
            for caller in callers[name]:
                await stopped[caller].wait()
            await self._units[f"{name}/sidecar"].process.stop(DRAIN_SECONDS)
            await self._units[name].process.stop(GRACE_SECONDS)
            stopped[name].set()

        await asyncio.gather(*map(stop_service, stopped))
        await self._units[GATEWAY].process.stop(DRAIN_SECONDS)
        await self._units[REGISTRY].process.stop(REGISTRY_GRACE)
        await self._tasks.close()
        # A registry that was killed could not stop its shadows, and this environment has no other.
        await ProcessLauncher(self._state.shadows).sweep()
        self._units.clear()
        self._state.write_processes({})
        self._logs.close()
        self._state.unlock()
        self._observe(Stopped())

    async def restart_asked(self) -> None:
        """Start the services anew that somebody has asked for (`controlplane.local.running`)."""
        units = [self._units[name] for name in asked_restarts(self._state.path) if name in self._units]
        await asyncio.gather(*(unit.process.restart(GRACE_SECONDS) for unit in units))

    def _observe(self, event: Event) -> None:
        self._logs(event)
        self._told(event)

    def kill(self) -> None:
        """Insist: end every process at once. What `stop` waits for is over then."""
        for unit in self._units.values():
            unit.process.kill()

    def _mark(self, process: str) -> str:
        """By which the kin of a process is known, in this run and the next."""
        return f"{self._state.path}:{process}"

    async def _end_leftovers(self) -> None:
        known = self._state.processes()
        found = {name: Child(identity, ours=False, mark=self._mark(name)) for name, identity in known.items()}
        alive = {name: child for name, child in found.items() if not child.exited.done()}
        await asyncio.gather(*(child.end(LEFTOVER_GRACE) for child in alive.values()))
        for stray in kin(self._mark(""), below=True):  # of one that had put itself into the background
            alive[named(stray.pid)] = child = Child(stray, ours=False)
            await child.end(LEFTOVER_GRACE)
        for name, child in alive.items():
            self._observe(Leftover(name, child.pid))

    def _lay_out(self) -> Layout:
        problems = preflight(self.file, self._folder, self._environ)
        if problems:
            raise ConfigurationError(problems)
        pool = PortPool()
        for _, port in explicit_ports(self.file).values():
            pool.keep(port)
        remembered = self._state.remembered_ports()
        try:
            layout = lay_out(self.file, self._folder, self._environ, pool.take, remembered)
            self._state.remember_ports(layout.ports)
        except OSError as error:
            raise ConfigurationError([f"{self._state.path}: {error.strerror}"]) from None
        return layout

    def _warn(self) -> None:
        for service in self.file.spec.services:
            for variable, called in bypasses(service.env, [each.name for each in service.upstreams]):
                reach = variable.rpartition("_")[0]
                what = f"env.{variable} leads past its sidecar, so calls to {called} lose their routing key"
                self._observe(Warned(service.name, f"{what}: name ${{{reach}_HOST}} and ${{{reach}_PORT}} in it"))

            for upstream in service.upstreams:
                if upstream.port is not None and not PEERS_ARE_KNOWN:
                    reach = next(iter(upstream_variables(upstream.name, "http", "", 0)))
                    what = f"calls {upstream.name} at a fixed port, which is the baseline's sidecar"
                    self._observe(
                        Warned(service.name, f"{what}: a shadow that does not heed {reach} calls it as the baseline")
                    )

    def _start(self, layout: Layout) -> None:
        self._warn()
        around = Surroundings(Readiness(), self._tasks, self._observe, self._write_processes)
        host, _, port = layout.registry_listen.rpartition(":")
        registry = Unit(
            REGISTRY,
            registry_command(layout, self._state, self._environ),
            answers(int(port), "/ready", "nothing listens there", (host.strip("[]"),)),
            OURS_SECONDS,
            around,
            self._register,
            mark=self._mark(REGISTRY),
            hopeless=lambda status, was_ready: status == CANNOT_WORK and not was_ready,
        )
        apps = [_app_of(service, around, self._mark(service.name)) for service in layout.services]
        sidecars = [_sidecar_of(service, around, self._mark(f"{service.name}/sidecar")) for service in layout.services]
        gateway = Unit(
            GATEWAY,
            gateway_command(layout, self._state, self._environ),
            answers(int(layout.gateway_listen.rpartition(":")[2]), None, "nothing listens there", (host.strip("[]"),)),
            OURS_SECONDS,
            around,
            mark=self._mark(GATEWAY),
        )
        sidecars.append(gateway)  # it waits for the registry as they do
        self._units = {unit.name: unit for unit in (registry, *apps, *sidecars)}
        for unit in (registry, *apps):
            self._tasks.keep(unit.process.run, unit.name)
        self._tasks.spawn(self._start_sidecars(registry, sidecars), "start of the sidecars")

    async def _start_sidecars(self, registry: Unit, sidecars: list[Unit]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEAD_START):
                await registry.ready.wait()
        for unit in sidecars:
            self._tasks.keep(unit.process.run, unit.name)

    async def _register(self) -> str:
        """Tell the registry what the baselines are; a registry that comes back is told again."""
        async with Client(self.registry_url, environ=self._environ) as registry:
            try:
                for service in self.layout.services:
                    log = str(service_log(self._state.path, service.name))
                    await registry.put_workload(service.definition.model_copy(update={"log": log}))
            except RegistryError as error:
                return str(error)
        return ""

    def _write_processes(self) -> None:
        children = {name: unit.process.child for name, unit in self._units.items()}
        with suppress(OSError):  # a full disk must not stop what runs; the next `skycap up` may find less to end
            self._state.write_processes({name: child.identity for name, child in children.items() if child})


def _app_of(service: ServiceLayout, around: Surroundings, mark: str) -> Unit:
    port = service.ports.app
    probe = answers(port, service.readiness.path, f"nothing listens on port {port}, which $PORT says")
    return Unit(
        service.name, service.app, probe, service.readiness.timeout, around, hint=partial(instead, port=port), mark=mark
    )


def _sidecar_of(service: ServiceLayout, around: Surroundings, mark: str) -> Unit:
    probe = answers(service.admin, "/ready", "its admin listener does not answer")
    return Unit(f"{service.name}/sidecar", service.sidecar, probe, OURS_SECONDS, around, mark=mark)
