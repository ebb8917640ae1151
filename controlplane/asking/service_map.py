"""The map of an environment, from what is registered, what was learned from hops, and who forks what."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from controlplane.hops.learned import Asked, Called, Learned
from controlplane.model.sandbox import Sandbox
from controlplane.model.service_map import Calls, Example, ForkedBy, Service, ServiceMap
from controlplane.model.workload import Workload
from proxy.contract.previews import GATEWAY
from proxy.contract.routes import State


@dataclass(slots=True)
class _Way:
    """The calls from one service to another, over all addresses."""

    address: str | None = None
    declared: bool = False
    called: Called = field(default_factory=Called)

    def add(self, address: str, called: Called) -> None:
        newer = called.last >= self.called.last
        self.called = replace(
            called if newer else self.called,
            requests=self.called.requests + called.requests,
            failed=self.called.failed + called.failed,
        )
        self.address = address if newer or self.address is None else self.address


def chart(
    workloads: Iterable[str],
    definitions: Iterable[Workload],
    sandboxes: Iterable[Sandbox],
    sidecars: Mapping[str, int],
    learned: Learned,
    forkable: Collection[str] = (),
) -> ServiceMap:
    """The map.

    workloads: all names that anybody has named.
    sidecars:  workload -> how many of its sidecars are connected.
    forkable:  those that a fork can start from although nobody has registered them.
    """
    baselines = {definition.workload: definition for definition in definitions}
    ways = _ways(baselines, learned)
    forks = _forks(sandboxes)
    names = {*workloads, *forkable, *baselines, *forks, *learned.asked, *(caller for caller, _ in ways)}
    answering = {*forkable, *baselines, *learned.answers.values()}
    names |= {callee for _, callee in ways if callee in answering}
    names.discard(GATEWAY)  # a way in, and no service
    calls: dict[str, list[Calls]] = {}
    called_by: dict[str, list[Calls]] = {}
    for (caller, callee), way in ways.items():
        calls.setdefault(caller, []).append(_told(callee if callee in names else None, way))
        called_by.setdefault(callee, []).append(_told(caller, way))
    addresses = {name: address for address, name in learned.answers.items()}
    services = []
    for name in sorted(names):
        definition = baselines.get(name)
        address = definition.address if definition else addresses.get(name)
        services.append(
            Service(
                workload=name,
                address=address,
                baseline=definition is not None or name in forkable,
                program=definition.command if definition else (),
                cwd=(definition.cwd or None) if definition else None,
                sidecars=sidecars.get(name, 0),
                calls=_sorted(calls.get(name, ())),
                called_by=_sorted(called_by.get(name, ())),
                example=_example(address, definition, learned.asked.get(name)),
                forks=tuple(forks.get(name, ())),
            )
        )
    return ServiceMap(services=tuple(services))


def _ways(baselines: Mapping[str, Workload], learned: Learned) -> dict[tuple[str, str], _Way]:
    """(caller, callee) -> the calls between them. Where nobody with a sidecar answers, the address is the callee."""
    at = {definition.address: name for name, definition in baselines.items()} | dict(learned.answers)
    ways: dict[tuple[str, str], _Way] = {}
    for caller, definition in baselines.items():
        for upstream in definition.upstreams:
            ways[caller, upstream.workload] = _Way(upstream.address, declared=True)
            at.setdefault(upstream.address, upstream.workload)
    for caller, peer, called in learned.calls():
        if caller == GATEWAY:
            continue
        ways.setdefault((caller, at.get(peer, peer)), _Way()).add(peer, called)
    return ways


def _told(workload: str | None, way: _Way) -> Calls:
    called = way.called
    return Calls(
        workload=workload,
        address=way.address,
        requests=called.requests,
        failed=called.failed,
        last=datetime.fromtimestamp(called.last, UTC) if called.requests else None,
        example=called.example,
        declared=way.declared,
    )


def _sorted(calls: Iterable[Calls]) -> tuple[Calls, ...]:
    return tuple(sorted(calls, key=lambda call: (-call.requests, call.workload or "", call.address or "")))


def _example(address: str | None, definition: Workload | None, asked: Asked | None) -> Example | None:
    if asked is not None:
        method, path, status = asked.method, asked.path, asked.status
    elif definition is not None and definition.readiness.path is not None:
        method, path, status = "GET", definition.readiness.path, None
    else:
        return None
    url = f"http://{address}{path}" if address and path.startswith("/") else None
    command = f"skycap request {'' if method == 'GET' else f'-X {method} '}KEY {shlex.quote(url)}" if url else None
    return Example(method=method, path=path, url=url, status=status, seen=asked is not None, command=command)


def _forks(sandboxes: Iterable[Sandbox]) -> dict[str, list[ForkedBy]]:
    """Workload -> who forks it, by the sandbox's name."""
    found: dict[str, list[ForkedBy]] = {}
    for sandbox in sandboxes:
        states = {fork.workload: fork for fork in sandbox.status.forks} if sandbox.status else {}
        for fork in sandbox.spec.forks:
            now = states.get(fork.workload)
            found.setdefault(fork.workload, []).append(
                ForkedBy(
                    sandbox=sandbox.name,
                    routing_key=sandbox.routing_key,
                    state=now.state if now else State.PENDING,
                    revision=now.revision if now else 0,
                    owner=sandbox.metadata.owner,
                    description=sandbox.metadata.description,
                )
            )
    return found
