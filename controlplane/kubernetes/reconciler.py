"""One kind of resource, brought to the registry object by object, however often each changes meanwhile.

Level-triggered: what is handled is the object as it is now. What the registry refuses becomes a condition of it, and is
looked at again after a while: a workload may have come, a key may be free.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.informer import Informer, Key
from controlplane.kubernetes.resources import Resources
from controlplane.life.refusals import Closing, Conflict, TooMany
from controlplane.model.problem import DocumentError
from controlplane.rest import API_VERSION
from controlplane.store.port import StoreError
from proxy.base.backoff import Backoff
from proxy.base.tasks import Tasks

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""Until what was refused is looked at again."""

Bring = Callable[[str, Object | None], Awaitable[None]]
"""Brings the object of a name, None when it is gone. Raises what the registry raises, StoreError, KubernetesError."""


class Reconciler:
    """resources: of this kind."""

    def __init__(
        self, kubernetes: Kubernetes, plural: str, resources: Resources[Any], bring: Bring, tasks: Tasks
    ) -> None:
        self._plural = plural
        self._resources = resources
        self._bring = bring
        self._tasks = tasks
        self.informer = Informer(kubernetes, path(API_VERSION, plural), self._changed)
        self._dirty: set[str] = set()
        self._busy: set[str] = set()

    def __repr__(self) -> str:
        return f"<Reconciler {len(self.informer.objects)} {self._plural}, {len(self._busy)} at work>"

    def look_at(self, name: str) -> None:
        """Something that it depends on has changed."""
        self._dirty.add(name)
        if name not in self._busy:
            self._busy.add(name)
            self._tasks.spawn(self._handle(name), f"{self._plural} {name}")

    def _changed(self, key: Key, item: Object | None) -> None:
        self._resources.seen(key[1], item)
        self.look_at(key[1])

    async def _handle(self, name: str) -> None:
        backoff = Backoff(first=0.2)
        try:
            while name in self._dirty:
                self._dirty.discard(name)
                try:
                    await self._judged(name)
                except Closing:
                    return
                except (StoreError, KubernetesError) as error:
                    log.warning("%s %s: %s", self._plural, name, error)
                    self._dirty.add(name)
                    await asyncio.sleep(backoff.next())
        finally:
            self._busy.discard(name)

    async def _judged(self, name: str) -> None:
        item = self.informer.objects.get(("", name))
        gone = item is None or item["metadata"].get("deletionTimestamp")
        try:
            await self._bring(name, None if gone else item)
        except DocumentError as error:
            await self._complain(name, "Invalid", str(error))
        except Conflict as error:
            await self._complain(
                name, "KeyTaken" if error.problems[0].path == "spec.routingKey" else "Conflict", str(error)
            )
        except TooMany as error:
            await self._complain(name, "TooMany", str(error))

    async def _complain(self, name: str, reason: str, message: str) -> None:
        await self._resources.complain(name, reason, message, now())
        item = self.informer.objects.get(("", name))
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._again, name, item)

    def _again(self, name: str, item: Object | None) -> None:
        current = self.informer.objects.get(("", name))
        if current is not None and item is not None and current["metadata"]["uid"] == item["metadata"]["uid"]:
            self.look_at(name)


def now() -> str:
    """As Kubernetes writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
