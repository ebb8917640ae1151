"""The workloads that can be forked, as the cluster runs them, and what their pods are made from.

A shadow is a copy of a pod template. When its baseline's becomes another one, a condition of the Sandbox says so, or
the shadow is built anew, where its fork wants that.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from controlplane.kubernetes.client import Kubernetes, Object
from controlplane.kubernetes.informer import Informer, Key, places
from controlplane.kubernetes.names import SANDBOX
from controlplane.life.refusals import NotFound
from controlplane.life.sandboxes import Sandboxes
from controlplane.store.port import StoreError
from proxy.base.tasks import Tasks

log = logging.getLogger(__name__)

KINDS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
"""What can be forked, all of `apps/v1`, in the order in which a name is looked for."""


def template_digest(baseline: Mapping[str, Any]) -> str:
    """Of what a baseline's pods are made from."""
    spec = baseline["spec"]
    made_from = [spec["template"], spec.get("volumeClaimTemplates")]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:12]


class Baselines:
    """
    namespaces: that are watched; empty: all.
    changed:    is told of a workload whose pods are made from something else than before, or that is new or gone.
    """

    def __init__(self, kubernetes: Kubernetes, namespaces: Collection[str] = ()) -> None:
        self._digests: dict[str, tuple[int, str]] = {}
        """With the generation that they are of: most changes of an object are of its status."""
        self.changed: Callable[[str], None] = lambda workload: None
        self._informers = {
            kind: Informer(kubernetes, places("apps/v1", plural, namespaces), self._seen, labels=f"!{SANDBOX}")
            for kind, plural in KINDS.items()
        }

    def __repr__(self) -> str:
        return f"<Baselines {len(self._digests)}>"

    @property
    def informers(self) -> list[Informer]:
        return list(self._informers.values())

    def seen(self, namespace: str) -> bool:
        """All that there is in this namespace has been seen."""
        return all(informer.has_listed(namespace) for informer in self._informers.values())

    def names(self) -> list[str]:
        """Everything that can be forked, sorted."""
        return sorted(self._digests)

    def all(self) -> list[Object]:
        """As they are. A name that two kinds have is that of the first."""
        found: dict[Key, Object] = {}
        for informer in self._informers.values():
            found = {**informer.objects, **found}
        return list(found.values())

    def get(self, workload: str) -> Object | None:
        """As it was last seen."""
        namespace, _, name = workload.partition("/")
        found = (one.objects.get((namespace, name)) for one in self._informers.values())
        return next((one for one in found if one is not None), None)

    def digest(self, workload: str) -> str | None:
        """Of what its pods are made from; None where there is no such workload."""
        found = self._digests.get(workload)
        return found[1] if found is not None else None

    def _seen(self, key: Key, found: Object | None) -> None:
        workload = f"{key[0]}/{key[1]}"
        known = self._digests.get(workload)
        current = next((one.objects[key] for one in self._informers.values() if key in one.objects), None)
        if current is None:
            self._digests.pop(workload, None)
        else:
            generation = int(current["metadata"].get("generation") or 0)
            if known is not None and generation == known[0]:
                return
            self._digests[workload] = generation, template_digest(current)
        if known is None or self.digest(workload) != known[1]:
            self.changed(workload)


class Following:
    """Sandboxes, and what becomes of the baselines that they copy."""

    def __init__(self, sandboxes: Sandboxes, baselines: Baselines, tasks: Tasks) -> None:
        self._sandboxes = sandboxes
        self._baselines = baselines
        self._tasks = tasks
        self._tried: dict[tuple[str, str], str] = {}
        """By Sandbox and workload: the template that it was last built anew from."""
        baselines.changed = self._changed

    def __repr__(self) -> str:
        return f"<Following {self._baselines!r}>"

    def _changed(self, workload: str) -> None:
        for record in self._sandboxes.records():
            if record.fork(workload) is not None:
                self._tasks.spawn(self.look(record.name), f"baseline {workload} of {record.name}")

    async def look(self, name: str) -> None:
        """Say which of its shadows are out of date, and build those anew that follow."""
        try:
            await self._look(name)
        except (NotFound, StoreError) as error:
            log.info("Sandbox %s: whether its baselines are current is not told: %s", name, error)

    async def _look(self, name: str) -> None:
        record = self._sandboxes.record(name)
        outdated = []
        for fork in record.forks:
            workload, serving = fork.fork.workload, fork.serving
            now = self._baselines.digest(workload)
            if now is None or serving is None or serving.template() in (None, now):
                continue
            outdated.append(workload)
            if fork.fork.follow_baseline and not fork.starting and self._tried.get((name, workload)) != now:
                self._tried[name, workload] = now
                log.info("Sandbox %s: the baseline %s has become another: its shadow follows", name, workload)
                await self._sandboxes.happened(name, lambda record, at, of=workload: record.rebuilt(of, at))  # type: ignore[misc]
        await self._sandboxes.happened(name, lambda record, at: record.outdated(tuple(outdated), at))
