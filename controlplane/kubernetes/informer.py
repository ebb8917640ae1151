"""What there is of one kind, kept up to date: list, then watch for ever.

    list in pages -> watch -> the stream ends: watch from where it ended
                           -> 410 Gone: list again
                           -> refused or unreachable: wait with back-off, watch again; list again when that is too old

A list tells of everything that has gone meanwhile, so that nothing is missed, whatever happened between two streams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object
from proxy.base.backoff import Backoff

log = logging.getLogger(__name__)

PAGE = "500"
"""Objects of one answer: what kubectl asks for."""

STREAM_SECONDS = 300
"""Of one watch: a stream that is silently dead is not believed for longer."""

Key = tuple[str, str]
Changed = Callable[[Key, Object | None], None]
"""Told of each object that is new, has changed, or is gone (None)."""


def key_of(found: Object) -> Key:
    metadata = found["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Informer:
    """
    place:   the path of the collection.
    changed: called for every change, also for those that a list shows.
    labels:  a label selector.
    """

    def __init__(
        self, kubernetes: Kubernetes, place: str, changed: Changed, *, labels: str = "", backoff: Backoff | None = None
    ) -> None:
        self._kubernetes = kubernetes
        self._place = place
        self._changed = changed
        self._query = {"labelSelector": labels} if labels else {}
        self._backoff = backoff or Backoff()
        self._version = ""
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        """The first list is complete."""
        self.problem = ""
        """Why it is not up to date, "" while it is."""

    def __repr__(self) -> str:
        return f"<Informer {self._place} {len(self.objects)}{' ' + self.problem if self.problem else ''}>"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                self._backoff.reset()
            except KubernetesError as error:
                await self._failed(error)

    async def _list(self) -> None:
        found: dict[Key, Object] = {}
        query = {**self._query, "limit": PAGE}
        while True:
            page = await self._kubernetes.get(self._place, **query)
            found |= {key_of(item): item for item in page["items"]}
            if not page["metadata"].get("continue"):
                break
            query["continue"] = page["metadata"]["continue"]
        for gone in [key for key in self.objects if key not in found]:
            self._put(gone, None)
        for key, item in found.items():
            known = self.objects.get(key)
            if known is None or known["metadata"].get("resourceVersion") != item["metadata"].get("resourceVersion"):
                self._put(key, item)
        self._version = page["metadata"]["resourceVersion"]
        self._well()
        self.synced.set()

    async def _watch(self) -> None:
        query = {**self._query, "resourceVersion": self._version, "timeoutSeconds": str(STREAM_SECONDS)}
        async for kind, item in self._kubernetes.watch(self._place, **query):
            self._version = item["metadata"]["resourceVersion"]
            self._well()
            if kind != "BOOKMARK":
                self._put(key_of(item), None if kind == "DELETED" else item)

    def _put(self, key: Key, item: Object | None) -> None:
        if item is None:
            if self.objects.pop(key, None) is None:
                return
        else:
            self.objects[key] = item
        self._changed(key, item)

    def _well(self) -> None:
        if self.problem:
            log.info("%s: the watch is back", self._place)
        self.problem = ""
        self._backoff.reset()

    async def _failed(self, error: KubernetesError) -> None:
        if error.status in (400, 410):  # what we know is older than what the API server remembers
            self._version = ""
            if error.status == 410:
                return
        if not self.problem:
            log.warning("%s: the watch is interrupted: %s", self._place, error)
        self.problem = str(error)
        await asyncio.sleep(self._backoff.next())
