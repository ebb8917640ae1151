"""Sandboxes as custom resources: what is wanted is their spec, what is so their status.

The public status is what `kubectl get` and `kubectl wait` look at; beside it stands the record that it is made of,
which the next control plane starts from. A Sandbox that came by REST is made here; one that somebody has deleted is
not made again. What is no Sandbox, or no longer, is kept beside them (`kept.py`). There is no other state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from pydantic import ValidationError

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.kept import Kept
from controlplane.model.desired import resolved
from controlplane.model.group import GroupRecord
from controlplane.model.handoff import Handoff
from controlplane.model.problem import DocumentError
from controlplane.model.record import Record
from controlplane.model.sandbox import Spec, parse_sandbox
from controlplane.rest import API_VERSION, SANDBOX
from controlplane.store.port import Contents, Entry, StoreError

log = logging.getLogger(__name__)

PLURAL = "sandboxes"
OWNER, DESCRIPTION = "skycap.dev/owner", "skycap.dev/description"
"""Annotations of a Sandbox: what REST has as `metadata.owner` and `metadata.description`."""

ENDED = "ended"
"""What is kept of a Sandbox that is gone."""

AT_ONCE = 16
"""Requests of one write: the API server takes some hundreds from everybody."""


class KubernetesStore:
    """
    namespace:      of the control plane, where it keeps what is no Sandbox.
    first_revision: where the ids of route changes begin, larger than all before.
    """

    def __init__(self, kubernetes: Kubernetes, namespace: str, first_revision: int) -> None:
        self._kubernetes = kubernetes
        self._kept = Kept(kubernetes, namespace)
        self._revision = first_revision
        self._known: dict[str, Object] = {}
        """The resources, as we last saw them."""
        self._specs: dict[str, Spec] = {}
        """What the records wanted when they were last written: who writes a status must not write over a spec that
        somebody has just changed."""
        self._room = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<KubernetesStore {len(self._known)} sandboxes>"

    async def load(self) -> Contents:
        try:
            listed = await self._kubernetes.get(path(API_VERSION, PLURAL))
            ended = await self._kept.load(ENDED, Record)
            handoffs = await self._kept.load("handoff", Handoff)
            groups = await self._kept.load("group", GroupRecord)
        except KubernetesError as error:
            raise StoreError(_told(error)) from None
        records = []
        for item in listed["items"]:
            self._known[item["metadata"]["name"]] = item
            if (record := _record(item)) is not None:
                records.append(record)
                self._specs[record.name] = record.desired.spec
        living = {record.name for record in records}
        records += [record for record in ended if record.name not in living]
        return Contents(self._revision, self._revision, records, [], [], handoffs, groups)

    async def write(self, entries: Sequence[Entry]) -> Sequence[StoreError | None]:
        newest = {(entry.kind, entry.name): entry for entry in entries}
        written = dict(zip(newest, await asyncio.gather(*map(self._write, newest.values())), strict=True))
        return [written[entry.kind, entry.name] for entry in entries]

    async def close(self) -> None:
        return None

    # -- what the operator tells and asks -----------------------------------------------------------------------------

    def seen(self, name: str, item: Object | None) -> None:
        """The operator has seen the resource, or that it is gone."""
        if item is None:
            self._known.pop(name, None)
        else:
            self._known[name] = item

    def uid(self, name: str) -> str:
        """Of the resource, "" when there is none."""
        return str(self._known[name]["metadata"]["uid"]) if name in self._known else ""

    async def complain(self, name: str, reason: str, message: str, now: str) -> None:
        """Say in the status why a Sandbox cannot be what its spec says. Raises KubernetesError."""
        item = self._known.get(name)
        if item is None:
            return
        old = (item.get("status") or {}).get("conditions") or []
        known: Object = next((one for one in old if one["type"] == "Ready"), {})
        generation = item["metadata"].get("generation")
        same = (known.get("reason"), known.get("message")) == (reason, message)
        if same and (item.get("status") or {}).get("observedGeneration") == generation:
            return
        ready = {"type": "Ready", "status": "False", "reason": reason, "message": message, "lastTransitionTime": now}
        status: Object = {
            "conditions": [one for one in old if one["type"] != "Ready"] + [ready],
            "observedGeneration": generation,
        }
        if not (item.get("status") or {}).get("record"):
            status["phase"] = "Failed"
        await self._status(name, status)

    # -- one resource -------------------------------------------------------------------------------------------------

    async def _write(self, entry: Entry) -> StoreError | None:
        if entry.events:
            self._revision = max(self._revision, entry.events[-1].id)
        if entry.kind == "workload":
            return None  # baselines are what the cluster runs
        async with self._room:
            try:
                if entry.kind == "sandbox":
                    await self._put(entry.name, entry.document)
                else:
                    await self._kept.put(entry.kind, entry.name, entry.document)
            except KubernetesError as error:
                return StoreError(_told(error))
        return None

    async def _put(self, name: str, record: object) -> None:
        if not isinstance(record, Record) or record.deleting:
            self._specs.pop(name, None)
            await self._kept.put(ENDED, name, record if isinstance(record, Record) and record.tombstones else None)
            if name in self._known:
                await self._kubernetes.delete(path(API_VERSION, PLURAL, name), uid=self.uid(name))
            return
        known, wanted = self._known.get(name), record.desired.spec
        await self._kept.put(ENDED, name, None)  # its own record has the keys that it once had
        if self._specs.get(name) != wanted:
            if known is None or not says(known, record):
                self._known[name] = await self._kubernetes.apply(path(API_VERSION, PLURAL, name), resource(record))
            self._specs[name] = wanted
        if name not in self._known:
            return  # deleted meanwhile: the operator is about to hear of it
        await self._status(name, status(record, self._known[name]))

    async def _status(self, name: str, document: Object) -> None:
        place = path(API_VERSION, PLURAL, name, sub="status")
        try:
            self._known[name] = await self._kubernetes.merge(place, {"status": document})
        except KubernetesError as error:
            if error.status != 404:  # deleted meanwhile: the operator is about to hear of it
                raise


def resource(record: Record) -> Object:
    """A record's sandbox as the custom resource."""
    document: Object = record.sandbox().document()
    metadata = document["metadata"]
    annotations = {OWNER: metadata.pop("owner", None), DESCRIPTION: metadata.pop("description", None)}
    said = {name: value for name, value in annotations.items() if value}
    labels = metadata.pop("labels", None)
    whole = {"name": record.name, **({"annotations": said} if said else {}), **({"labels": labels} if labels else {})}
    return {"apiVersion": API_VERSION, "kind": SANDBOX, "metadata": whole, "spec": document["spec"]}


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


def status(record: Record, item: Object) -> Object:
    """The whole status; a field that is null is removed by the merge."""
    sandbox = record.sandbox()
    assert sandbox.status is not None
    told: Object = sandbox.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    workloads = [fork.fork.workload for fork in record.forks]
    told |= {"routingKey": record.routing_key, "workloads": ", ".join(workloads)}
    told |= {"observedGeneration": item["metadata"].get("generation")}
    return {**told, "record": record.model_dump_json()}


def _record(item: Object) -> Record | None:
    found = (item.get("status") or {}).get("record")
    if found is None:
        return None
    try:
        return Record.model_validate_json(found)
    except ValidationError as error:
        log.error("Sandbox %s: its record cannot be read, it begins anew: %s", item["metadata"]["name"], error)
        return None


def _told(error: KubernetesError) -> str:
    return f"the API server does not take it: {error}"
