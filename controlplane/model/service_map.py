"""The map of an environment: its services, who calls whom, how to send each a request, and who forks it now."""

from __future__ import annotations

from controlplane.model.sandbox import Reported, Timestamp
from proxy.contract.routes import State


class Calls(Reported):
    """Calls between one service and another.

    workload: the other one; absent where nobody with a sidecar answers.
    address:  where the calls go, HOST:PORT; absent where none was seen and none is declared.
    requests, failed: that were seen with a routing key since the registry was started.
    last:     when the newest of them began; absent where none was seen.
    example:  the newest, as `POST /charges`.
    declared: the caller's baseline names it as an upstream.
    """

    workload: str | None = None
    address: str | None = None
    requests: int = 0
    failed: int = 0
    last: Timestamp | None = None
    example: str = ""
    declared: bool = False


class Example(Reported):
    """A request that works. seen: somebody sent it and got a good answer; else it is the baseline's readiness check.

    url:     absent where nobody knows at which address the service is called.
    status:  of the answer that was seen.
    command: the same with the routing key KEY, to be replaced by a sandbox's.
    """

    method: str
    path: str
    url: str | None = None
    status: int | None = None
    seen: bool
    command: str | None = None


class ForkedBy(Reported):
    """A sandbox that replaces the service for the requests that carry its routing key."""

    sandbox: str
    routing_key: str
    state: State
    revision: int
    owner: str | None = None
    description: str | None = None


class Service(Reported):
    """One workload.

    address:   where its callers reach its baseline, HOST:PORT; absent where no baseline is registered.
    baseline:  a fork can start from it: a baseline is registered, or it is one of a cluster.
    program:   what the baseline runs, its argument vector; empty where somebody else runs it.
    cwd:       where it runs it.
    sidecars:  how many are connected.
    calls, called_by: the busiest first.
    """

    workload: str
    address: str | None = None
    baseline: bool = False
    program: tuple[str, ...] = ()
    cwd: str | None = None
    sidecars: int = 0
    calls: tuple[Calls, ...] = ()
    called_by: tuple[Calls, ...] = ()
    example: Example | None = None
    forks: tuple[ForkedBy, ...] = ()


class ServiceMap(Reported):
    """The services, by name."""

    services: tuple[Service, ...] = ()
