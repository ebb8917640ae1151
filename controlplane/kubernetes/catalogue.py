"""The workloads of a cluster as baselines that nobody registers: what is deployed, and the Service that leads to it.

A baseline is known by its address, which is its Service's name and first TCP port. Who asks for a preview, for the same
request once more, or for the map, needs no more; what a shadow is made of, the launcher asks the cluster itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from re import fullmatch
from typing import Any

from controlplane.kubernetes.client import Object
from controlplane.kubernetes.shadow import selecting
from controlplane.model.problem import ABSOLUTE_PATH, WORKLOAD_NAME
from controlplane.model.workload import Readiness, Workload

LOOK_SECONDS = 2.0
"""Between two looks at what the informers know, which cost no request."""


class Catalogue:
    """
    baselines, services: as they are now.
    learn: is told of all, whenever there are others.
    """

    def __init__(
        self,
        baselines: Callable[[], Iterable[Object]],
        services: Callable[[], Iterable[Object]],
        learn: Callable[[list[Workload]], None],
    ) -> None:
        self._baselines = baselines
        self._services = services
        self._learn = learn

    async def run(self) -> None:
        """Until cancelled."""
        known: list[Workload] | None = None
        while True:
            found = definitions(self._baselines(), self._services())
            if found != known:
                known = found
                self._learn(found)
            await asyncio.sleep(LOOK_SECONDS)


def definitions(baselines: Iterable[Object], services: Iterable[Object]) -> list[Workload]:
    """By name. What no Service leads to is no baseline that anybody could ask for something."""
    by_namespace: dict[str, list[Object]] = {}
    for service in sorted(services, key=lambda one: str(one["metadata"]["name"])):
        by_namespace.setdefault(service["metadata"]["namespace"], []).append(service)
    found: dict[str, Workload] = {}
    for baseline in baselines:
        namespace, name = baseline["metadata"]["namespace"], baseline["metadata"]["name"]
        template = baseline["spec"]["template"]
        labels = (template.get("metadata") or {}).get("labels") or {}
        for service in by_namespace.get(namespace, ()):
            port = next(
                (one for one in service["spec"].get("ports") or () if one.get("protocol", "TCP") == "TCP"), None
            )
            if (
                port is None
                or not selecting([service], labels)
                or not fullmatch(WORKLOAD_NAME.pattern, f"{namespace}/{name}")
            ):
                continue
            found.setdefault(
                f"{namespace}/{name}",
                Workload(
                    workload=f"{namespace}/{name}",
                    address=f"{service['metadata']['name']}.{namespace}.svc:{port['port']}",
                    readiness=Readiness(path=_readiness(template["spec"], port.get("targetPort", port["port"]))),
                ),
            )
    return [found[name] for name in sorted(found)]


def _readiness(spec: Mapping[str, Any], wanted: int | str) -> str | None:
    """The path that tells whether a pod is ready, where it is asked at the port that the Service leads to."""
    for container in spec["containers"]:
        names = {one.get("name"): one["containerPort"] for one in container.get("ports") or ()}
        asked = (container.get("readinessProbe") or {}).get("httpGet") or {}
        path = asked.get("path", "/")
        if asked and names.get(asked.get("port"), asked.get("port")) == names.get(wanted, wanted):
            return path if fullmatch(ABSOLUTE_PATH.pattern, path) and len(path) <= 1024 else None
    return None
