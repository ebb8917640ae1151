"""Sandboxes as people write them with kubectl, brought to the registry, which makes them happen.

    a Sandbox is new or has changed -> its document is judged as REST would judge it -> apply
                                       what is refused becomes a condition of the Sandbox
    a Sandbox is gone               -> its routes go, its shadows end

Level-triggered: what is handled is the Sandbox as it is now, however often it changed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.informer import Informer, Key
from controlplane.kubernetes.store import PLURAL, KubernetesStore, document_of, says
from controlplane.life.refusals import Closing, Conflict, NotFound, TooMany
from controlplane.life.registry import Registry
from controlplane.life.sandboxes import Sandboxes
from controlplane.model.problem import DocumentError
from controlplane.model.record import Record
from controlplane.model.sandbox import parse_sandbox
from controlplane.rest import API_VERSION
from controlplane.store.port import StoreError
from proxy.base.backoff import Backoff
from proxy.base.tasks import Tasks

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""Until a Sandbox that was refused is looked at again."""


class Operator:
    """registry: whose sandboxes they are; store: knows the resources."""

    def __init__(self, kubernetes: Kubernetes, registry: Registry, store: KubernetesStore, tasks: Tasks) -> None:
        self._registry = registry
        self._store = store
        self._tasks = tasks
        self._informer = Informer(kubernetes, path(API_VERSION, PLURAL), self._changed)
        self._dirty: set[str] = set()
        self._busy: set[str] = set()

    def __repr__(self) -> str:
        return f"<Operator {len(self._informer.objects)} Sandboxes, {len(self._busy)} at work>"

    @property
    def problem(self) -> str:
        return self._informer.problem

    async def run(self) -> None:
        """Until cancelled."""
        await self._informer.run()

    async def synced(self) -> None:
        """All Sandboxes that there were have been seen, and those that are gone are given up."""
        await self._informer.synced.wait()
        for name in self._sandboxes.names():
            if ("", name) not in self._informer.objects:
                self._changed(("", name), None)

    @property
    def _sandboxes(self) -> Sandboxes:
        return self._registry.sandboxes

    def _changed(self, key: Key, item: Object | None) -> None:
        name = key[1]
        self._store.seen(name, item)
        self._dirty.add(name)
        if name not in self._busy:
            self._busy.add(name)
            self._tasks.spawn(self._handle(name), f"Sandbox {name}")

    async def _handle(self, name: str) -> None:
        backoff = Backoff(first=0.2)
        try:
            while name in self._dirty:
                self._dirty.discard(name)
                try:
                    await self._bring(name, self._informer.objects.get(("", name)))
                except Closing:
                    return
                except (StoreError, KubernetesError) as error:
                    log.warning("Sandbox %s: %s", name, error)
                    self._dirty.add(name)
                    await asyncio.sleep(backoff.next())
        finally:
            self._busy.discard(name)

    async def _bring(self, name: str, item: Object | None) -> None:
        """Raises Closing, StoreError, KubernetesError."""
        if item is None or item["metadata"].get("deletionTimestamp"):
            with suppress(NotFound):
                await self._sandboxes.delete(name)
            return
        record = self._record(name)
        if record is not None and not record.deleting and says(item, record):
            return
        try:
            await self._sandboxes.apply(parse_sandbox(document_of(item), name))
        except DocumentError as error:
            await self._complain(name, "Invalid", str(error))
        except Conflict as error:
            await self._complain(name, "KeyTaken", str(error))
        except TooMany as error:
            await self._complain(name, "TooMany", str(error))

    def _record(self, name: str) -> Record | None:
        try:
            return self._sandboxes.record(name)
        except NotFound:
            return None

    async def _complain(self, name: str, reason: str, message: str) -> None:
        await self._store.complain(name, reason, message, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        item = self._informer.objects.get(("", name))
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._again, name, item)

    def _again(self, name: str, item: Object | None) -> None:
        """What was refused may be possible by now: a workload has come, a key is free."""
        now = self._informer.objects.get(("", name))
        if now is not None and item is not None and now["metadata"]["uid"] == item["metadata"]["uid"]:
            self._changed(("", name), now)
