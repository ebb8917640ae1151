"""Sandboxes and route groups as people write them with kubectl, brought to the registry, which makes them happen.

it is new or has changed -> its document is judged as REST would judge it -> apply
                            what is refused becomes a condition (`reconciler.py`)
it is gone               -> its routes go, its shadows end
"""

from __future__ import annotations

from contextlib import suppress

from controlplane.kubernetes.baselines import Baselines, Following
from controlplane.kubernetes.client import Kubernetes, Object
from controlplane.kubernetes.reconciler import Reconciler, now
from controlplane.kubernetes.store import GROUPS, PLURAL, KubernetesStore, document_of, group_says, says
from controlplane.life.refusals import NotFound
from controlplane.life.registry import Registry
from controlplane.model.group import GroupPhase, RouteGroup, parse_group
from controlplane.model.record import Record
from controlplane.model.sandbox import parse_sandbox
from proxy.base.tasks import Tasks


class Operator:
    """registry: whose sandboxes and groups they are; store: knows the resources."""

    def __init__(
        self, kubernetes: Kubernetes, registry: Registry, store: KubernetesStore, baselines: Baselines, tasks: Tasks
    ) -> None:
        self._registry = registry
        self._store = store
        self._tasks = tasks
        self._following = Following(registry.sandboxes, baselines, tasks)
        self._sandboxes = Reconciler(kubernetes, PLURAL, store.sandboxes, self._bring, tasks)
        self._groups = Reconciler(kubernetes, GROUPS, store.groups, self._bring_group, tasks)

    def __repr__(self) -> str:
        return f"<Operator {self._sandboxes!r} {self._groups!r}>"

    @property
    def problem(self) -> str:
        return self._sandboxes.informer.problem or self._groups.informer.problem

    async def run(self) -> None:
        """Until cancelled."""
        self._tasks.keep(self._groups.informer.run, "route groups")
        await self._sandboxes.informer.run()

    async def synced(self) -> None:
        """All that there was has been seen, and what is gone is given up."""
        registry = self._registry
        for reconciler, names in ((self._sandboxes, registry.sandboxes.names), (self._groups, registry.groups.names)):
            await reconciler.informer.synced.wait()
            for name in names():
                if ("", name) not in reconciler.informer.objects:
                    reconciler.look_at(name)

    async def _bring(self, name: str, item: Object | None) -> None:
        sandboxes = self._registry.sandboxes
        for group in self._registry.groups.of_member(name):
            self._groups.look_at(group)
        if item is None:
            with suppress(NotFound):
                await sandboxes.delete(name)
            return
        record = self._record(name)
        if record is not None and not record.deleting and says(item, record):
            await self._following.look(name)
            return
        await sandboxes.apply(parse_sandbox(document_of(item), name))

    def _record(self, name: str) -> Record | None:
        try:
            return self._registry.sandboxes.record(name)
        except NotFound:
            return None

    async def _bring_group(self, name: str, item: Object | None) -> None:
        groups = self._registry.groups
        if item is None:
            with suppress(NotFound):
                await groups.delete(name)
            return
        record = groups.record(name)
        if record is None or not group_says(item, record):
            await groups.apply(parse_group(document_of(item), name))
        found = groups.get(name)
        if found is not None:
            await self._store.groups.tell(name, group_status(found, item))


def group_status(group: RouteGroup, item: Object) -> Object:
    """What is so of a group, which follows from its members."""
    assert group.status is not None
    told: Object = group.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    ready = group.status.phase is GroupPhase.READY
    before = (item.get("status") or {}).get("conditions") or ()
    old: Object = next((one for one in before if one["type"] == "Ready"), {})
    status = "True" if ready else "False"
    condition = {
        "type": "Ready",
        "status": status,
        "reason": "MembersServe" if ready else group.status.phase.value,
        "message": group.status.message,
        "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else now(),
    }
    return {**told, "conditions": [condition], "observedGeneration": item["metadata"].get("generation")}
