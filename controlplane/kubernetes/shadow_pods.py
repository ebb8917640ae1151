"""The pods of all shadows and their Deployments, as they are now, by the labels that ours have; and what containers
write."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.informer import Informer, Key, places
from controlplane.kubernetes.names import SANDBOX
from controlplane.kubernetes.pod_log import containers_of, merged
from controlplane.kubernetes.pods import Verdict
from controlplane.kubernetes.shadow import FORK, REVISION_LABEL, shadow_labels
from controlplane.launch.port import LaunchRequest
from controlplane.model.copy_log import Window

LOG_LINES = 20
"""Told with a failure."""

WINDOW_LINES = 10_000
"""Read of one container at most, where those of a window are wanted: it may end before today's last lines."""

Label = tuple[str, str, str, str]
"""Namespace, sandbox, fork, revision."""


class ShadowPods:
    """namespaces: that are watched; empty: all."""

    def __init__(self, kubernetes: Kubernetes, namespaces: Collection[str] = ()) -> None:
        self._kubernetes = kubernetes
        self._news: dict[Label, asyncio.Event] = {}
        self._pods = _ByLabel()
        self._made = _ByLabel()
        pods, deployments = places("v1", "pods", namespaces), places("apps/v1", "deployments", namespaces)
        self.informer = Informer(kubernetes, pods, self._pod_changed, labels=SANDBOX)
        self.deployments = Informer(kubernetes, deployments, self._deployment_changed, labels=SANDBOX)
        """That the pods are of."""

    def __repr__(self) -> str:
        return f"<ShadowPods {len(self.informer.objects)}>"

    def named(self, namespace: str, name: str) -> Object | None:
        return self.informer.objects.get((namespace, name))

    def of(self, at: Label) -> list[Object]:
        return [self.informer.objects[key] for key in self._pods.of(at)]

    def event(self, at: Label) -> asyncio.Event:
        """Set with the next change of one of these pods, or of their Deployment."""
        return self._news.setdefault(at, asyncio.Event())

    def _pod_changed(self, key: Key, pod: Object | None) -> None:
        self._tell(self._pods.put(key, pod))

    def _deployment_changed(self, key: Key, deployment: Object | None) -> None:
        self._tell(self._made.put(key, deployment))

    def _tell(self, labels: Collection[Label]) -> None:
        for at in labels:
            if (event := self._news.pop(at, None)) is not None:
                event.set()

    async def last_lines(self, pod: Object, verdict: Verdict) -> str:
        """Of the container that a verdict is about."""
        if not verdict.container:
            return ""
        more = {"previous": "true"} if verdict.restarted else {}
        return await self.lines(pod, verdict.container, LOG_LINES, **more)

    async def log(self, pod: Object, lines: int, window: Window) -> str:
        """Of all its containers but ours."""
        names = containers_of(pod)
        more = {"timestamps": "true"}
        if window.since:
            more["sinceTime"] = datetime.fromtimestamp(int(window.since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        texts = await asyncio.gather(*(self.lines(pod, name, lines, **more) for name in names))
        return merged(dict(zip(names, texts, strict=True)), lines, window)

    async def lines(self, pod: Object, container: str, lines: int, **more: str) -> str:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        more["tailLines"] = str(max(lines, WINDOW_LINES) if "sinceTime" in more else lines)
        try:
            return await self._kubernetes.text(path("v1", "pods", name, namespace, "log"), container=container, **more)
        except KubernetesError as error:
            return f"(its output cannot be read: {error})"


class _ByLabel:
    """Objects by their label: a thousand shadows that start at once each look for their own pods."""

    def __init__(self) -> None:
        self._keys: dict[Label, dict[Key, None]] = {}
        self._labels: dict[Key, Label] = {}

    def of(self, at: Label) -> list[Key]:
        return list(self._keys.get(at, ()))

    def put(self, key: Key, item: Object | None) -> set[Label]:
        """As it is now, None when it is gone. Returns the labels that this is news for."""
        before = self._labels.pop(key, None)
        news = set()
        if before is not None:
            news.add(before)
            self._keys[before].pop(key)
            if not self._keys[before]:
                del self._keys[before]
        if item is not None:
            now = self._labels[key] = label_of(item)
            self._keys.setdefault(now, {})[key] = None
            news.add(now)
        return news


def label(request: LaunchRequest) -> Label:
    labels = shadow_labels(request.sandbox, request.workload, request.revision)
    return request.workload.partition("/")[0], labels[SANDBOX], labels[FORK], labels[REVISION_LABEL]


def label_of(pod: Object) -> Label:
    labels = pod["metadata"].get("labels") or {}
    return (
        pod["metadata"]["namespace"],
        labels.get(SANDBOX, ""),
        labels.get(FORK, ""),
        labels.get(REVISION_LABEL, ""),
    )
