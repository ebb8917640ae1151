"""What there is of one kind, kept up to date: list, then watch for ever.

    list in pages -> watch -> the stream ends: watch from where it ended
                           -> 410 Gone: list again
                           -> refused or unreachable: wait with back-off, watch again; list again when that is too old

A list tells of everything that has gone meanwhile, so that nothing is missed, whatever happened between two streams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from proxy.base.backoff import Backoff
from proxy.base.tasks import Tasks

log = logging.getLogger(__name__)

PAGE = "500"
"""Objects of one answer: what kubectl asks for."""

STREAM_SECONDS = 300
"""Of one watch: a stream that is silently dead is not believed for longer."""

LOOK_SECONDS = 0.5
"""At why a first list does not come."""

Key = tuple[str, str]
Changed = Callable[[Key, Object | None], None]
"""Told of each object that is new, has changed, or is gone (None)."""


def key_of(found: Object) -> Key:
    metadata = found["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def places(version: str, plural: str, namespaces: Collection[str] = ()) -> list[str]:
    """The paths of a collection in these namespaces, or that of the whole cluster."""
    return [path(version, plural, namespace=namespace) for namespace in sorted(namespaces)] or [path(version, plural)]


class Informer:
    """
    where:   the paths of the collection: one, or one for each namespace that we may see.
    changed: called for every change, also for those that a list shows.
    labels:  a label selector.
    backoff: made for each of the paths.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        where: str | Sequence[str],
        changed: Changed,
        *,
        labels: str = "",
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        query = {"labelSelector": labels} if labels else {}
        listed = [where] if isinstance(where, str) else where
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        """The first list is complete."""
        self._changed = changed
        self._missing = set(listed)
        self._streams = [_Stream(kubernetes, place, query, self._put, self._listed, backoff()) for place in listed]

    def __repr__(self) -> str:
        return f"<Informer {', '.join(self.places)} {len(self.objects)}{' ' + self.problem if self.problem else ''}>"

    @property
    def places(self) -> list[str]:
        """The paths that it watches."""
        return [stream.place for stream in self._streams]

    @property
    def problem(self) -> str:
        """Why it is not up to date, "" while it is."""
        return "; ".join(stream.problem for stream in self._streams if stream.problem)

    async def run(self) -> None:
        """Until cancelled."""
        if len(self._streams) == 1:  # its faults are told by the tasks of whoever keeps it
            return await self._streams[0].run()
        tasks = Tasks("informer")
        try:
            for stream in self._streams:
                tasks.keep(stream.run, stream.place)
            await tasks.finish()  # never
        finally:
            await tasks.close()

    async def listed(self, namespace: str) -> None:
        """Returns when all that there is in this namespace has been seen, whatever becomes of others.

        Raises KubernetesError when the API server forbids to look there.
        """
        stream = self._of(namespace)
        while not stream.listed.is_set():
            if stream.forbidden is not None:
                raise stream.forbidden
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stream.listed.wait()

    def has_listed(self, namespace: str) -> bool:
        return self._of(namespace).listed.is_set()

    def _of(self, namespace: str) -> _Stream:
        """That watches this namespace, among others perhaps."""
        own = (stream for stream in self._streams if f"/namespaces/{namespace}/" in stream.place)
        return next(own, self._streams[0])

    def _listed(self, place: str) -> None:
        self._missing.discard(place)
        if not self._missing:
            self.synced.set()

    def _put(self, key: Key, item: Object | None) -> None:
        if item is None:
            if self.objects.pop(key, None) is None:
                return
        else:
            self.objects[key] = item
        self._changed(key, item)


class _Stream:
    """One path. put: told of each object; told: of each complete list."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        place: str,
        query: dict[str, str],
        put: Changed,
        told: Callable[[str], None],
        backoff: Backoff,
    ) -> None:
        self._kubernetes = kubernetes
        self.place = place
        self._query = query
        self._put = put
        self._told = told
        self._backoff = backoff
        self.listed = asyncio.Event()
        """The first list is complete."""
        self.forbidden: KubernetesError | None = None
        """What the API server says while it lets us see nothing here."""
        self._version = ""
        self._known: dict[Key, str] = {}
        """What there is here, and of which version."""
        self.problem = ""

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
            page = await self._kubernetes.get(self.place, **query)
            found |= {key_of(item): item for item in page["items"]}
            if not page["metadata"].get("continue"):
                break
            query["continue"] = page["metadata"]["continue"]
        for gone in [key for key in self._known if key not in found]:
            self._tell(gone, None)
        for key, item in found.items():
            if self._known.get(key) != item["metadata"].get("resourceVersion", ""):
                self._tell(key, item)
        self._version = page["metadata"]["resourceVersion"]
        self._well()
        self.listed.set()
        self._told(self.place)

    async def _watch(self) -> None:
        query = {**self._query, "resourceVersion": self._version, "timeoutSeconds": str(STREAM_SECONDS)}
        async for kind, item in self._kubernetes.watch(self.place, **query):
            self._version = item["metadata"]["resourceVersion"]
            self._well()
            if kind != "BOOKMARK":
                self._tell(key_of(item), None if kind == "DELETED" else item)

    def _tell(self, key: Key, item: Object | None) -> None:
        if item is None:
            self._known.pop(key, None)
        else:
            self._known[key] = item["metadata"].get("resourceVersion", "")
        self._put(key, item)

    def _well(self) -> None:
        if self.problem:
            log.info("%s: the watch is back", self.place)
        self.problem, self.forbidden = "", None
        self._backoff.reset()

    async def _failed(self, error: KubernetesError) -> None:
        if error.status in (400, 410):  # what we know is older than what the API server remembers
            self._version = ""
            if error.status == 410:
                return
        if not self.problem:
            log.warning("%s: the watch is interrupted: %s", self.place, error)
        self.problem, self.forbidden = str(error), error if error.status == 403 else None
        await asyncio.sleep(self._backoff.next())
