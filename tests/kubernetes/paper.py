"""A node of paper: the API server, the scheduler and the controllers take it for one, and no pod on it runs.

A small machine runs some dozens of real pods; what a control plane does for a thousand can be seen all the same, since
it sees pods by their status only. The kubelet of this node writes that status: each pod that is bound to it has an
address of its own and is ready at once. With no grace period, one that is to be deleted is gone at once.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.informer import Informer, Key
from proxy.base.tasks import Tasks

NAME = "paper"
TAINT = {"key": "skycap.test/paper", "value": "true", "effect": "NoSchedule"}
PLACE: dict[str, Any] = {
    "nodeSelector": {"skycap.test/paper": "true"},
    "tolerations": [{"key": TAINT["key"], "operator": "Exists"}],
    "terminationGracePeriodSeconds": 0,
}
"""In the pod template of what shall be on it."""

HEARTBEAT_SECONDS = 10.0
_ROOM = {"cpu": "1000", "memory": "4Ti", "pods": "5000", "ephemeral-storage": "4Ti"}


class PaperNode:
    def __init__(self, kubernetes: Kubernetes, tasks: Tasks) -> None:
        self._kubernetes = kubernetes
        self._tasks = tasks
        self._numbers = count(1)
        self._pods = Informer(kubernetes, path("v1", "pods"), self._changed)
        self.addresses: dict[Key, str] = {}
        self.ready: dict[Key, int] = {}
        """When the API server was told so, `time.monotonic_ns()`."""

    def __repr__(self) -> str:
        return f"<PaperNode {len(self.addresses)} pods>"

    def pods(self) -> list[Object]:
        """That are on it."""
        return [pod for key, pod in self._pods.objects.items() if key in self.addresses]

    async def up(self) -> None:
        metadata = {"name": NAME, "labels": {"skycap.test/paper": "true", "kubernetes.io/os": "linux"}}
        node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [TAINT]}}
        await self._kubernetes.apply(path("v1", "nodes", NAME), node)
        await self._beat()
        self._tasks.keep(self._beats, "heartbeats")
        self._tasks.keep(self._pods.run, "pods of paper")

    async def down(self) -> None:
        await self._kubernetes.delete(path("v1", "nodes", NAME))

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            with suppress(KubernetesError):
                await self._beat()

    async def _beat(self) -> None:
        now = datetime.now(UTC)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "Paper", "lastHeartbeatTime": stamp}
        status = {"capacity": _ROOM, "allocatable": _ROOM, "conditions": [{**ready, "lastTransitionTime": stamp}]}
        await self._kubernetes.merge(path("v1", "nodes", NAME, sub="status"), {"status": status})
        lease: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "namespace": "kube-node-lease"},
            "spec": {
                "holderIdentity": NAME,
                "leaseDurationSeconds": 40,
                "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
        await self._kubernetes.apply(path("coordination.k8s.io/v1", "leases", NAME, "kube-node-lease"), lease)

    def _changed(self, key: Key, pod: Object | None) -> None:
        if pod is None:
            self.addresses.pop(key, None)
            self.ready.pop(key, None)
        elif pod["spec"].get("nodeName") == NAME and key not in self.addresses:
            number = next(self._numbers)
            self.addresses[key] = f"10.99.{number // 250}.{number % 250 + 1}"
            self._tasks.spawn(self._run(key, pod), f"start of {key[1]}")

    async def _run(self, key: Key, pod: Object) -> None:
        address = self.addresses.get(key)
        if address is None:
            return  # it is gone already
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        true = [
            {"type": kind, "status": "True", "lastTransitionTime": stamp}
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        running = [
            {
                "name": item["name"], "image": item["image"], "imageID": item["image"], "ready": True, "started": True,
                "restartCount": 0, "state": {"running": {"startedAt": stamp}},
            }
            for item in pod["spec"]["containers"]
        ]  # fmt: skip
        status = {
            "phase": "Running", "conditions": true, "containerStatuses": running, "podIP": address,
            "podIPs": [{"ip": address}], "startTime": stamp,
        }  # fmt: skip
        self.ready[key] = time.monotonic_ns()
        with suppress(KubernetesError):
            await self._kubernetes.merge(path("v1", "pods", key[1], key[0], sub="status"), {"status": status})
