"""Which routes follow from a sandbox, and what changes between two sets of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.model.record import Record
from controlplane.model.sandbox import Phase, Sandbox
from proxy.contract.ports import decode_ports
from proxy.contract.routes import OnUnavailable, Route, State, parse_endpoint


@dataclass(frozen=True, slots=True)
class RouteChange:
    """One (workload, key) that is new or different; gone when `route` is None, ended when that is its state."""

    workload: str
    key: str
    route: Route | None


@dataclass(frozen=True, slots=True)
class RouteEvent:
    """One change of one route, as the watch tells it.

    id:   the registry's revision that it made; ids grow, not always by one.
    name: `put` or `delete` (`proxy.contract.watch`).
    data: its JSON, one line.
    """

    id: int
    workload: str
    key: str
    name: str
    data: str


def routes_of(sandbox: Sandbox) -> list[Route]:
    """One route per fork that has a status; none of a sandbox that is being deleted."""
    status = sandbox.status
    if status is None or status.phase is Phase.DELETING:
        return []
    return [
        Route(
            fork.workload,
            sandbox.routing_key,
            tuple(map(parse_endpoint, fork.endpoints)) if fork.state is State.READY else (),
            sandbox.name,
            fork.revision,
            fork.state,
            sandbox.spec.on_unavailable,
            asleep=status.phase is Phase.SLEEPING and fork.state is State.PENDING,
            ports=decode_ports(fork.ports) if fork.state is State.READY else None,
        )
        for fork in status.forks
    ]


def routes_left(record: Record, policy: OnUnavailable) -> list[Route]:
    """All that follows from a record: its routes, and the tombstones of keys that it had.

    policy: what the installation does with the key of a sandbox that has ended.
    """
    ended = [route for tombstone in record.tombstones for route in tombstone.routes(record.name, policy)]
    return [*routes_of(record.sandbox()), *ended]


def changes(before: Iterable[Route], after: Iterable[Route]) -> list[RouteChange]:
    """What turns the first set into the second. A route that stays as it is appears nowhere."""
    old = {(route.workload, route.key): route for route in before}
    new = {(route.workload, route.key): route for route in after}
    put = [RouteChange(*at, route) for at, route in new.items() if old.get(at) != route]
    gone = [RouteChange(*at, None) for at in old if at not in new]
    return put + gone
