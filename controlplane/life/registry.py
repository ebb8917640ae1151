"""The registry as one object: opened from a store, closed in order.

    open:  read the store -> publish its routes as they are -> adopt what runs, start what does not
    close: no more starts -> stop the shadows or leave them -> write what is waiting -> close the store

It serves its stored table before it knows whether the shadows still run, so that a registry that was killed and
restarted is for the sidecars the same registry: they resume, and nothing flaps.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from controlplane.files.store import FileStore
from controlplane.hops.intake import Intake
from controlplane.hops.memory import MemoryHops
from controlplane.hops.port import HopStore
from controlplane.life.changes import Changes
from controlplane.life.clock import Clock
from controlplane.life.definitions import Definitions
from controlplane.life.groups import Groups
from controlplane.life.handoffs import Handoffs
from controlplane.life.history import History
from controlplane.life.installation import Installation
from controlplane.life.journal import Journal
from controlplane.life.key_rules import KeyRules
from controlplane.life.published import PublishedRoutes
from controlplane.life.pushing import Pushing
from controlplane.life.sandboxes import Sandboxes
from controlplane.life.sidecars import Sidecars
from controlplane.life.surroundings import LifeCounters, Surroundings
from controlplane.life.watchers import Watchers
from controlplane.model.explanation import Explanation, decide, unknown
from controlplane.model.record import Record
from controlplane.model.routes import routes_left
from controlplane.store.port import Store, StoreError
from proxy.base.tasks import Tasks
from proxy.contract.previews import GATEWAY
from proxy.contract.routes import OnUnavailable, Route, State
from proxy.contract.watch import HEARTBEAT_SECONDS

log = logging.getLogger(__name__)


class Registry:
    """Everything that the API serves. Made by `open_registry`."""

    def __init__(
        self,
        store: Store,
        around: Surroundings,
        watchers: Watchers,
        sandboxes: Sandboxes,
        files: FileStore,
        groups: Groups,
    ) -> None:
        self._store = store
        self._around = around
        self.watchers = watchers
        self.sandboxes = sandboxes
        self.history = History(sandboxes)
        self.published: PublishedRoutes = around.published
        self.sidecars: Sidecars = around.sidecars
        self.definitions: Definitions = around.definitions
        self.journal: Journal = around.journal
        self.counters: LifeCounters = around.counters
        self.installation: Installation = around.installation
        self.hops: HopStore = around.hops
        self.pushing = Pushing(sandboxes, around, files)
        self.handoffs: Handoffs = around.handoffs
        self.rules: KeyRules = around.rules
        self.groups = groups
        self.changes: Changes = around.changes
        self.intake = Intake(around.hops, lambda key: self.owner(key) is not None, self._unserved)

    def __repr__(self) -> str:
        return f"<Registry {self.published!r} {self.sandboxes!r} {self.watchers!r}>"

    @property
    def closing(self) -> bool:
        return self._around.closing.is_set()

    @property
    def trouble(self) -> str:
        """Why this registry does not serve as it should, in one sentence; "" while it does."""
        return self.journal.trouble or self._around.tasks.trouble

    def owner(self, key: str) -> str | None:
        """Whose routing key it is: of a sandbox or a route group."""
        return self.sandboxes.owner(key) or self.groups.owner(key)

    async def wake(self, keys: Iterable[str]) -> None:
        """Requests with these keys wait for shadows that sleep. Raises StoreError."""
        await self.sandboxes.wake([each for key in keys for each in (key, *self.groups.members(key))])

    async def _unserved(self, keys: set[str]) -> None:
        """Sidecars from before shadows could sleep do not ask for them: their requests have failed."""
        try:
            await self.wake(keys)
        except StoreError as error:
            log.warning("shadows that sleep are not woken: %s", error)

    def explain(self, key: str, workload: str) -> Explanation:
        """What a sidecar of `workload` does with a request that carries `key`, and who has that in force."""
        route = self.published.lookup(workload, key)
        owner = self.sandboxes.owner(key)
        group = self.groups.owner(key)
        decision, reason = decide(key, workload, route, owner, group)
        reason = self.groups.dispute(key, workload) or reason
        workloads = self.workloads()
        known_workloads: tuple[str, ...] = ()
        if workload not in workloads:
            unheard, known_workloads = unknown(workload, workloads)
            reason = f"{unheard}; {reason}"
        members = [owner] if owner is not None else self.groups.living(key)
        stubs = [stub for name in members for stub in self.sandboxes.get(name).spec.stubs or ()]
        sidecars = tuple(self.sidecars.of(workload))
        connected = [sidecar for sidecar in sidecars if sidecar.connected]
        return Explanation(
            key=key,
            workload=workload,
            decision=decision,
            reason=reason,
            sandbox=route.sandbox if route is not None else owner,
            revision=route.revision if route is not None else None,
            endpoints=tuple(map(str, route.endpoints)) if route is not None else (),
            sidecars=sidecars,
            in_force=bool(connected) and all(sidecar.in_sync for sidecar in connected),
            stubs=tuple(stub.told() for stub in stubs if stub.workload == workload),
            known=workload in workloads,
            known_workloads=known_workloads,
        )

    def workloads(self) -> set[str]:
        """All that anybody has named: baselines, those that have a sidecar, those that a sandbox forks."""
        return self._around.known() - {GATEWAY}

    async def close(self, stop_shadows: bool = True) -> None:
        """`stop_shadows`: else they run on, and the next registry on this store adopts them."""
        await self.sandboxes.close(stop_shadows)
        await self.journal.close()
        self.watchers.close()
        self.changes.close()
        await self.hops.close()
        await self._around.tasks.close()
        await self._store.close()

    async def beat(self) -> None:
        """Keep quiet streams alive and forget who has long gone."""
        while True:
            await self._around.clock.sleep(HEARTBEAT_SECONDS)
            self.watchers.beat()
            self.sidecars.forget_gone()


def _routes(records: Sequence[Record], ended: OnUnavailable) -> list[Route]:
    """What was published. A tombstone gives way to a sandbox that has taken its key."""
    found = [route for record in records for route in routes_left(record, ended)]
    had = {route.key for route in found if route.state is not State.ENDED}
    return [route for route in found if route.state is not State.ENDED or route.key not in had]


async def open_registry(
    store: Store,
    installation: Installation,
    clock: Clock,
    default_ttl: int,
    files: FileStore,
    hops: HopStore | None = None,
) -> Registry:
    """A registry with what `store` holds, at work. Raises StoreError.

    files: where pushed files are kept, which its launchers find there too.
    hops: where hop records are kept, by default in memory.
    """
    contents = await store.load()
    published = PublishedRoutes(contents.revision, contents.floor)
    told = [route for group in contents.groups for route in group.told()]
    published.restore([*_routes(contents.sandboxes, installation.ended), *told], contents.events)
    tasks = Tasks("registry")
    watchers = Watchers()
    sidecars = Sidecars(clock, tasks, restarted=bool(contents.sandboxes))
    journal = Journal(store, published, watchers, tasks)
    definitions = Definitions(journal, contents.workloads)
    changes = Changes()
    definitions.watchers.append(lambda _: changes.tell(""))
    around = Surroundings(
        clock=clock,
        tasks=tasks,
        journal=journal,
        published=published,
        sidecars=sidecars,
        definitions=definitions,
        installation=installation,
        hops=hops or MemoryHops(),
        rules=KeyRules(watchers),
        changes=changes,
        handoffs=Handoffs(
            installation.gateway, journal, watchers, definitions, clock, tasks, changes, contents.handoffs
        ),
    )
    sandboxes = Sandboxes(around, default_ttl, contents.sandboxes)
    groups = Groups(around, sandboxes, contents.groups)
    sandboxes.restore()
    registry = Registry(store, around, watchers, sandboxes, files, groups)
    tasks.keep(registry.beat, "heartbeat")
    tasks.keep(groups.run, "route groups")
    log.info("%d sandboxes and %d workloads at revision %d", len(sandboxes), len(contents.workloads), contents.revision)
    return registry
