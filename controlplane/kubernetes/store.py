"""Sandboxes and route groups as custom resources (`resources.py`), and beside them, as ConfigMaps, what nobody would
write with kubectl (`kept.py`): keys that are remembered, links and reviews. There is no other state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object
from controlplane.kubernetes.kept import Kept
from controlplane.kubernetes.resources import Resources, Shape
from controlplane.model.desired import resolved
from controlplane.model.group import GroupRecord, GroupSpec, parse_group
from controlplane.model.handoff import Handoff
from controlplane.model.problem import DocumentError
from controlplane.model.record import Record
from controlplane.model.sandbox import Metadata, parse_sandbox
from controlplane.rest import API_VERSION, GROUP, SANDBOX
from controlplane.store.port import Contents, Entry, StoreError

PLURAL, GROUPS = "sandboxes", "routegroups"
OWNER, DESCRIPTION = "skycap.dev/owner", "skycap.dev/description"
"""Annotations of a resource: what REST has as `metadata.owner` and `metadata.description`."""


class KubernetesStore:
    """
    namespace:      of the control plane, where it keeps what is no resource of its own.
    first_revision: where the ids of route changes begin, larger than all before.

    sandboxes, groups: the resources, for the operator.
    """

    def __init__(self, kubernetes: Kubernetes, namespace: str, first_revision: int) -> None:
        self._kept = Kept(kubernetes, namespace)
        self._revision = first_revision
        self.sandboxes = Resources(kubernetes, self._kept, _SANDBOX)
        self.groups = Resources(kubernetes, self._kept, _GROUP)

    def __repr__(self) -> str:
        return f"<KubernetesStore {self.sandboxes!r} {self.groups!r}>"

    async def load(self) -> Contents:
        try:
            sandboxes, groups = await self.sandboxes.load(), await self.groups.load()
            handoffs = await self._kept.load("handoff", Handoff)
        except KubernetesError as error:
            raise StoreError(_told(error)) from None
        return Contents(self._revision, self._revision, sandboxes, [], [], handoffs, groups)

    async def write(self, entries: Sequence[Entry]) -> Sequence[StoreError | None]:
        newest = {(entry.kind, entry.name): entry for entry in entries}
        written = dict(zip(newest, await asyncio.gather(*map(self._write, newest.values())), strict=True))
        return [written[entry.kind, entry.name] for entry in entries]

    async def close(self) -> None:
        return None

    async def _write(self, entry: Entry) -> StoreError | None:
        if entry.events:
            self._revision = max(self._revision, entry.events[-1].id)
        document = entry.document
        try:
            if entry.kind == "sandbox":
                await self.sandboxes.put(entry.name, document if isinstance(document, Record) else None)
            elif entry.kind == "group":
                await self.groups.put(entry.name, document if isinstance(document, GroupRecord) else None)
            elif entry.kind != "workload":  # baselines are what the cluster runs
                await self._kept.put(entry.kind, entry.name, document)
        except KubernetesError as error:
            return StoreError(_told(error))
        return None


def resource(kind: str, metadata: Metadata, spec: Object) -> Object:
    """A custom resource, without its status."""
    said = {OWNER: metadata.owner, DESCRIPTION: metadata.description}
    annotations = {name: value for name, value in said.items() if value}
    whole: Object = {"name": metadata.name}
    if annotations:
        whole["annotations"] = annotations
    if metadata.labels:
        whole["labels"] = dict(metadata.labels)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": whole, "spec": spec}


def document_of(item: Object) -> Object:
    """The custom resource as the document that REST takes: what Kubernetes keeps in metadata is not ours."""
    annotations = item["metadata"].get("annotations") or {}
    metadata: Object = {"name": item["metadata"]["name"]}
    for field, name in (("owner", OWNER), ("description", DESCRIPTION)):
        if name in annotations:
            metadata[field] = annotations[name]
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata, "spec": item.get("spec")}


def says(item: Object, record: Record) -> bool:
    """Whether the resource's spec is what the record wants."""
    try:
        sandbox = parse_sandbox(document_of(item), record.name)
    except DocumentError:
        return False
    return resolved(sandbox.spec, record.name) == record.desired.spec


def group_says(item: Object, record: GroupRecord) -> bool:
    """The same for a route group."""
    try:
        group = parse_group(document_of(item), record.name)
    except DocumentError:
        return False
    return _group_spec(group.spec, record.name) == _group_spec(record.group.spec, record.name)


def _group_spec(spec: GroupSpec, name: str) -> GroupSpec:
    return spec.model_copy(update={"routing_key": spec.routing_key or name})


def _sandbox_resource(record: Record) -> Object:
    sandbox = record.sandbox()
    return resource(SANDBOX, sandbox.metadata, sandbox.document()["spec"])


def _sandbox_status(record: Record) -> Object:
    sandbox = record.sandbox()
    assert sandbox.status is not None
    told: Object = sandbox.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    workloads = [fork.fork.workload for fork in record.forks]
    return {**told, "routingKey": record.routing_key, "workloads": ", ".join(workloads)}


def _group_resource(record: GroupRecord) -> Object:
    return resource(GROUP, record.group.metadata, record.group.document()["spec"])


def _group_status(record: GroupRecord) -> Object:
    """What does not follow from its members, which its operator tells."""
    members = ", ".join(record.group.spec.members)
    return {"routingKey": record.routing_key, "memberNames": members}


_SANDBOX = Shape(
    SANDBOX, PLURAL, Record, lambda record: record.name, kept="ended",
    ended=lambda record: record.deleting, forgotten=lambda record: not record.tombstones,
    wanted=lambda record: record.desired.spec, resource=_sandbox_resource, says=says, status=_sandbox_status,
)  # fmt: skip
_GROUP = Shape(
    GROUP, GROUPS, GroupRecord, lambda record: record.name, kept="group",
    ended=lambda record: record.ended is not None, forgotten=lambda record: False,
    wanted=lambda record: record.group.spec, resource=_group_resource, says=group_says, status=_group_status,
)  # fmt: skip


def _told(error: KubernetesError) -> str:
    return f"the API server does not take it: {error}"
