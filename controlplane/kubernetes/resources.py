"""One kind of custom resource as the place where records are kept: what is wanted is its spec, what is so its status.

Beside the status that people look at stands the record, from which the next control plane begins. A resource that came
by REST is made here; one that somebody has deleted is not made again. What is remembered of one that has ended is kept
beside (`kept.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.kept import Kept
from controlplane.rest import API_VERSION

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Requests of one write: the API server takes some hundreds from everybody."""

_Record = TypeVar("_Record", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Shape(Generic[_Record]):
    """
    model:    of the record; name: of one.
    kept:     as what one that has ended is kept.
    ended:    it is a record of what is gone; forgotten: and nothing of it is remembered.
    wanted:   what the record's spec says.
    resource: the record as the custom resource, without its status.
    says:     whether a resource's spec is what a record wants.
    status:   the whole public status of a record, for a resource; a field that is null is removed.
    """

    kind: str
    plural: str
    model: type[_Record]
    name: Callable[[_Record], str]
    kept: str
    ended: Callable[[_Record], bool]
    forgotten: Callable[[_Record], bool]
    wanted: Callable[[_Record], object]
    resource: Callable[[_Record], Object]
    says: Callable[[Object, _Record], bool]
    status: Callable[[_Record], Object]


class Resources(Generic[_Record]):
    def __init__(self, kubernetes: Kubernetes, kept: Kept, shape: Shape[_Record]) -> None:
        self._kubernetes = kubernetes
        self._kept = kept
        self._shape = shape
        self._known: dict[str, Object] = {}
        """As we last saw them."""
        self._specs: dict[str, object] = {}
        """What the records wanted when they were last written: who writes a status must not write over a spec that
        somebody has just changed."""
        self._room = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<Resources {self._shape.plural} {len(self._known)}>"

    async def load(self) -> list[_Record]:
        """All that live, and what is remembered of others. Raises StoreError, KubernetesError."""
        listed = await self._kubernetes.get(path(API_VERSION, self._shape.plural))
        ended = await self._kept.load(self._shape.kept, self._shape.model)
        found = {}
        for item in listed["items"]:
            name = item["metadata"]["name"]
            self._known[name] = item
            if (record := self._record(item)) is not None:
                found[name] = record
                self._specs[name] = self._shape.wanted(record)
        return [*found.values(), *(record for record in ended if self._shape.name(record) not in found)]

    def seen(self, name: str, item: Object | None) -> None:
        """The operator has seen the resource, or that it is gone."""
        if item is None:
            self._known.pop(name, None)
        else:
            self._known[name] = item

    def uid(self, name: str) -> str:
        """Of the resource, "" when there is none."""
        return str(self._known[name]["metadata"]["uid"]) if name in self._known else ""

    async def put(self, name: str, record: _Record | None) -> None:
        """Write what has become of it. Raises KubernetesError."""
        async with self._room:
            if record is None or self._shape.ended(record):
                self._specs.pop(name, None)
                nothing = record is None or self._shape.forgotten(record)
                await self._kept.put(self._shape.kept, name, None if nothing else record)
                if name in self._known:
                    await self._kubernetes.delete(path(API_VERSION, self._shape.plural, name), uid=self.uid(name))
                return
            await self._write(name, record)

    async def _write(self, name: str, record: _Record) -> None:
        known, wanted = self._known.get(name), self._shape.wanted(record)
        await self._kept.put(self._shape.kept, name, None)  # its own record has the keys that it once had
        if self._specs.get(name) != wanted:
            if known is None or not self._shape.says(known, record):
                place = path(API_VERSION, self._shape.plural, name)
                self._known[name] = await self._kubernetes.apply(place, self._shape.resource(record))
            self._specs[name] = wanted
        if name in self._known:  # else deleted meanwhile: the operator is about to hear of it
            generation = self._known[name]["metadata"].get("generation")
            told = self._shape.status(record)
            await self._status(name, {**told, "observedGeneration": generation, "record": record.model_dump_json()})

    async def tell(self, name: str, status: Object) -> None:
        """Merge this into the status, if it says anything else than that. Raises KubernetesError."""
        known = (self._known[name].get("status") or {}) if name in self._known else None
        if known is not None and any(known.get(field) != value for field, value in status.items()):
            await self._status(name, status)

    async def complain(self, name: str, reason: str, message: str, now: str) -> None:
        """Say in the status why it cannot be what its spec says. Raises KubernetesError."""
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

    async def _status(self, name: str, document: Object) -> None:
        place = path(API_VERSION, self._shape.plural, name, sub="status")
        try:
            self._known[name] = await self._kubernetes.merge(place, {"status": document})
        except KubernetesError as error:
            if error.status != 404:  # deleted meanwhile: the operator is about to hear of it
                raise

    def _record(self, item: Object) -> _Record | None:
        found = (item.get("status") or {}).get("record")
        if found is None:
            return None
        try:
            return self._shape.model.model_validate_json(found)
        except ValidationError as error:
            name = f"{self._shape.kind} {item['metadata']['name']}"
            log.error("%s: its record cannot be read, it begins anew: %s", name, error)
            return None
