"""What has to be run for one copy of a workload: the application and the sidecar beside it. Pure: no I/O.

A copy is two processes that find each other through ports chosen beforehand:

    callers -> inbound  [sidecar] -> app       [application]
                                                    |  NAME_URL, one per upstream
    upstream's sidecar <- [sidecar] <- outbound ----+

The baseline's copy and a shadow's copy differ in one thing only: the baseline's sidecar decides by the routing
key and therefore asks the registry (or a routes file) for routes, while a shadow's sidecar knows its sandbox and
always delivers to its own application. It tells the registry of requests all the same, since nobody else sees what a
shadow calls, and a registry that is down does it no harm. It has no admin listener: nobody would find its pages.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from controlplane.model.variables import PORT, ROUTING_KEY, SANDBOX, substituted, upstream_variables
from controlplane.model.workload import Upstream
from controlplane.process.command import Command
from proxy.base.programs import program

LOOPBACK = "127.0.0.1"
EITHER_LOOPBACK = "localhost"
"""Where an application listens that is told a port and no address: 127.0.0.1 or ::1, as its library sees fit."""

PEERS_ARE_KNOWN = sys.platform == "linux"
"""A sidecar can tell which process calls it, so that a shadow is known that calls where its baseline does."""

_OF_THE_PARENT = frozenset(
    f"SKYCAP_{flag}"
    for flag in (
        "WORKLOAD", "INBOUND", "OUTBOUND", "PEER_KEYS", "ROUTES", "RULES", "REGISTRY", "TOKEN_FILE", "SANDBOX",
        "ROUTING_KEY", "REVISION", "ADMIN", "TRANSPARENT", "LISTEN", "STORE", "MEMORY", "KEEP_SHADOWS", "STATE_DIR",
        "OUTPUT",
    )
)  # fmt: skip
"""Variables of our own flags that say who or where a process is. They must not reach the processes it starts, while
settings such as SKYCAP_KEY_NAMES are meant for every sidecar of the machine."""


@dataclass(frozen=True, slots=True)
class CopyPorts:
    """Ports of one copy on the loopback interface.

    inbound:  where callers reach the sidecar
    app:      where the application listens
    outbound: where the application reaches its upstreams, in their order
    """

    inbound: int
    app: int
    outbound: tuple[int, ...] = ()

    def all(self) -> tuple[int, ...]:
        return (self.inbound, self.app, *self.outbound)


@dataclass(frozen=True, slots=True)
class Shadow:
    """Whose copy it is, when it is not the baseline's."""

    sandbox: str
    routing_key: str
    revision: int


class RegistryAccess(NamedTuple):
    """How a sidecar reaches the registry.

    url:        "" for none.
    token_file: of a sidecar's token; None: it finds the one that the registry of its user has written.
    """

    url: str = ""
    token_file: Path | None = None


NO_REGISTRY = RegistryAccess()


def app_command(
    command: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    upstreams: Sequence[Upstream],
    ports: CopyPorts,
    inherited: Mapping[str, str],
    shadow: Shadow | None = None,
) -> Command:
    """The application's process.

    command: argument vector; like the values in `env` it may name what `controlplane.model.variables` lists.
    env:     what the environment file and the fork set, on top of `inherited` (our own environment).
    """
    told = {PORT: str(ports.app)}
    if shadow is not None:
        told |= {SANDBOX: shadow.sandbox, ROUTING_KEY: shadow.routing_key}
    reached: dict[str, str] = {}
    for upstream, port in zip(upstreams, ports.outbound, strict=True):
        reached |= upstream_variables(upstream.name, upstream.scheme, LOOPBACK, port)
    said = {name: substituted(value, {**reached, **told}) for name, value in env.items()}
    # A Python application that writes to a file or a pipe would keep its last lines to itself until it ends.
    complete = {"PYTHONUNBUFFERED": "1", **without_identity(inherited), **reached, **said, **told}
    values = {name: complete[name] for name in (*reached, *told)}
    return Command(tuple(substituted(argument, values) for argument in command), complete, cwd)


def sidecar_command(
    workload: str,
    upstreams: Sequence[Upstream],
    ports: CopyPorts,
    cwd: str,
    inherited: Mapping[str, str],
    *,
    shadow: Shadow | None = None,
    registry: RegistryAccess = NO_REGISTRY,
    admin: int | None = None,
    rules: Path | None = None,
) -> Command:
    """The sidecar's process.

    admin: the port of its admin listener, None for none.
    rules: a file of what becomes of calls to hosts, None for none.
    """
    argv = [*program("proxy"), "--workload", workload]
    if shadow is not None:
        argv += ["--sandbox", shadow.sandbox, "--routing-key", shadow.routing_key]
        argv += ["--revision", str(shadow.revision)]
    if rules is not None:
        argv += ["--rules", str(rules)]
    if registry.url:
        argv += ["--registry", registry.url]
    if registry.token_file is not None:
        argv += ["--token-file", str(registry.token_file)]
    argv += ["--inbound", f"{LOOPBACK}:{ports.inbound}={EITHER_LOOPBACK}:{ports.app}"]
    for upstream, port in zip(upstreams, ports.outbound, strict=True):
        argv += ["--outbound", f"{LOOPBACK}:{port}={upstream.address}"]
    if shadow is None and upstreams and PEERS_ARE_KNOWN:
        argv.append("--peer-keys")
    if admin is not None:
        argv += ["--admin", f"{LOOPBACK}:{admin}"]
    return Command(tuple(argv), without_identity(inherited), cwd)


def without_identity(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process that we start may inherit."""
    return {name: value for name, value in environ.items() if name not in _OF_THE_PARENT}
