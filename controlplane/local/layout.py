"""Which process of an environment listens where, and what it is run with. Pure but for the choice of ports.

Ports that the file leaves open are chosen once and remembered between runs (`remembered`), so that a `curl` line
from the terminal's history still works, and a shadow that outlived a crash still finds its upstreams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.launch.plan import LOOPBACK, CopyPorts, RegistryAccess, app_command, sidecar_command, without_identity
from controlplane.local.state import StateFolder
from controlplane.model.environment import EnvironmentFile, ServiceSpec, split_listen
from controlplane.model.workload import Readiness, Upstream, Workload
from controlplane.process.command import Command
from controlplane.process.readiness import LOOPBACKS
from proxy.base.programs import program
from proxy.contract.previews import GATEWAY

TakePort = Callable[[int | None], int]
"""A free port: the preferred one when it is still free. Raises OSError."""


@dataclass(frozen=True, slots=True)
class ServiceLayout:
    """One service: its ports, its two processes, and what the registry is told about it.

    admin:   the port of the sidecar's admin listener.
    callers: the services of the file that call it.
    """

    name: str
    ports: CopyPorts
    admin: int
    app: Command
    sidecar: Command
    definition: Workload
    callers: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.definition.address

    @property
    def readiness(self) -> Readiness:
        return self.definition.readiness


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole environment. `gateway_listen` is where preview links are served, `ports` what to remember: a name for
    each port that was chosen."""

    name: str
    namespace: str
    registry_listen: str
    gateway_listen: str
    services: tuple[ServiceLayout, ...]
    ports: dict[str, int]

    @property
    def registry_url(self) -> str:
        return f"http://{self.registry_listen}"

    @property
    def gateway_url(self) -> str:
        """As browsers say it: they take what is below localhost for this machine."""
        return f"http://localhost:{self.gateway_listen.rpartition(':')[2]}"

    @property
    def entry(self) -> ServiceLayout:
        """The service that requests enter by: the first that no other calls, or the first of all."""
        return next((service for service in self.services if not service.callers), self.services[0])


def lay_out(
    file: EnvironmentFile,
    folder: Path,
    environ: Mapping[str, str],
    take: TakePort,
    remembered: Mapping[str, int],
) -> Layout:
    """Choose what the file leaves open.

    folder:  of the file; working directories are relative to it.
    environ: what the processes inherit.
    """
    ports: dict[str, int] = {}

    def port(name: str, wanted: int | None) -> int:
        ports[name] = wanted or take(remembered.get(name))
        return ports[name]

    host, wanted = split_listen(file.spec.registry.listen)
    listen = f"[{host}]" if ":" in host else host
    registry_listen = f"{listen}:{port('registry', wanted or None)}"
    copies = {service.name: _copy_ports(service, port) for service in file.spec.services}
    services = tuple(
        _service(file, service, copies, port(f"{service.name} admin", None), folder, environ, registry_listen)
        for service in file.spec.services
    )
    gateway_listen = f"{listen}:{port('gateway', file.spec.gateway.port)}"
    return Layout(file.name, file.namespace, registry_listen, gateway_listen, services, ports)


def explicit_ports(file: EnvironmentFile) -> dict[str, tuple[tuple[str, ...], int]]:
    """Every listener whose port the file names: its path -> (hosts, port). An application chooses among its hosts."""
    host, port = split_listen(file.spec.registry.listen)
    named: list[tuple[str, tuple[str, ...], int | None]] = [
        ("spec.registry.listen", (host,), port or None),
        ("spec.gateway.port", (host,), file.spec.gateway.port),
    ]
    ours = (LOOPBACK,)
    for index, service in enumerate(file.spec.services):
        path = f"spec.services[{index}]"
        named += [(f"{path}.port", ours, service.port), (f"{path}.appPort", LOOPBACKS, service.app_port)]
        named += [
            (f"{path}.upstreams[{number}].port", ours, upstream.port)
            for number, upstream in enumerate(service.upstreams)
        ]
    return {path: (hosts, port) for path, hosts, port in named if port is not None}


def _copy_ports(service: ServiceSpec, port: Callable[[str, int | None], int]) -> CopyPorts:
    name = service.name
    return CopyPorts(
        inbound=port(name, service.port),
        app=port(f"{name} app", service.app_port),
        outbound=tuple(port(f"{name} to {upstream.name}", upstream.port) for upstream in service.upstreams),
    )


def _service(
    file: EnvironmentFile,
    service: ServiceSpec,
    copies: Mapping[str, CopyPorts],
    admin: int,
    folder: Path,
    environ: Mapping[str, str],
    registry_listen: str,
) -> ServiceLayout:
    ports = copies[service.name]
    cwd = str((folder / service.cwd).absolute())
    workload = file.workload(service.name)
    upstreams = tuple(
        Upstream(
            name=upstream.name,
            workload=upstream.workload or file.workload(upstream.name),
            address=upstream.address or f"{LOOPBACK}:{copies[upstream.name].inbound}",
            scheme=upstream.scheme,
        )
        for upstream in service.upstreams
    )
    definition = Workload(
        workload=workload,
        address=f"{LOOPBACK}:{ports.inbound}",
        command=service.command,
        cwd=cwd,
        env=service.env,
        upstreams=upstreams,
        readiness=service.readiness,
    )
    return ServiceLayout(
        name=service.name,
        ports=ports,
        admin=admin,
        app=app_command(service.command, cwd, service.env, upstreams, ports, environ),
        sidecar=sidecar_command(
            workload,
            upstreams,
            ports,
            str(folder),
            environ,
            registry=RegistryAccess(f"http://{registry_listen}"),
            admin=admin,
        ),
        definition=definition,
        callers=tuple(
            caller.name
            for caller in file.spec.services
            if caller.name != service.name and service.name in {upstream.name for upstream in caller.upstreams}
        ),
    )


def callers_first(services: Sequence[ServiceLayout]) -> dict[str, tuple[str, ...]]:
    """In which order to stop: for each service the callers that are to be stopped before it.

    While a caller still has requests in flight it needs those it calls. In a circle of calls somebody has to be
    the first: whoever stands first in the file.
    """
    before: dict[str, tuple[str, ...]] = {}
    left = list(services)
    while left:
        following = next((each for each in left if before.keys() >= set(each.callers)), left[0])
        before[following.name] = tuple(caller for caller in following.callers if caller in before)
        left.remove(following)
    return before


def registry_command(layout: Layout, state: StateFolder, environ: Mapping[str, str]) -> Command:
    """The registry's process."""
    argv = (
        *(*program("controlplane"), "--listen", layout.registry_listen),
        *("--store", str(state.database), "--state-dir", str(state.shadows), "--gateway", layout.gateway_url),
    )
    return Command(argv, without_identity(environ), str(state.path))


def gateway_command(layout: Layout, state: StateFolder, environ: Mapping[str, str]) -> Command:
    """The gateway's process."""
    argv = (
        *(*program("proxy"), "--workload", GATEWAY, "--gateway", layout.gateway_listen),
        *("--registry", layout.registry_url, "--log-level", "warning"),
    )
    return Command(argv, without_identity(environ), str(state.path))
