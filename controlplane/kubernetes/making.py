"""The Deployment of a shadow, made: what the cluster is asked before, and what it says to it.

Nothing is made that would harm the baseline. A fork's patch is applied by the API server itself, to a Deployment that
has no pods yet, so that it means what a strategic merge patch means, and one that does not apply starts nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable

from controlplane.kubernetes.client import MANAGER, Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.shadow import claims, selecting
from controlplane.launch.port import LaunchError

log = logging.getLogger(__name__)

PASSING = frozenset({0, 403, 404, 409, 429, 500, 503, 504})
"""Statuses that say nothing about the fork: what was refused is tried again by itself. What is forbidden (403) is so by
a role or a quota that somebody may change without a word to us; what is not there (404) may have been deleted while it
started."""

FORBIDDEN = "; `skycap doctor` says what the control plane may not do that it needs"
"""Behind what the API server says of a permission."""

_TEMPLATE = re.compile(r"\bspec\.template\.")
_PREAMBLE = re.compile(r"""^[\w.]+ "[^"]*" is invalid: |^.*strict decoding error: """)


class Making:
    """services: of all namespaces that we may see, as they are now."""

    def __init__(self, kubernetes: Kubernetes, services: Callable[[], Iterable[Object]]) -> None:
        self._kubernetes = kubernetes
        self._services = services

    async def make(self, place: str, document: Object, patch: Object | None) -> Object:
        """The Deployment as it was made. Raises LaunchError, KubernetesError."""
        if patch is None:
            await self._possible(document)
            return await self._kubernetes.apply(place, document)
        await self._kubernetes.apply(place, {**document, "spec": {**document["spec"], "replicas": 0}})
        try:
            changed: Object = {"spec": {"template": patch}}
            query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}  # a field that there is not fails it
            made = await self._kubernetes.strategic(place, changed, **query)
        except KubernetesError as error:
            if error.status in PASSING:
                raise
            raise LaunchError(f"its patch does not apply: {unpatched(str(error))}") from None
        await self._possible(made)
        return await self._kubernetes.merge(place, {"spec": {"replicas": 1}})

    async def _possible(self, document: Object) -> None:
        """Raises LaunchError for what would harm the baseline, KubernetesError."""
        namespace, template = document["metadata"]["namespace"], document["spec"]["template"]
        if found := selecting(self._of(namespace), template["metadata"]["labels"]):
            raise LaunchError(f"Service {', '.join(found)} would lead requests without a key to the shadow")
        for claim in claims(template["spec"]):
            modes = (await self._kubernetes.get(path("v1", "persistentvolumeclaims", claim, namespace)))["spec"]
            if not {"ReadWriteMany", "ReadOnlyMany"} & set(modes.get("accessModes") or ()):
                raise LaunchError(f"the baseline's volume {claim} can be mounted by one node only, and is in use")

    def ports(self, namespace: str, baseline: Object) -> list[int | str]:
        """To which ports of the baseline's pods its Services lead, by number or name."""
        labels = (baseline["spec"]["template"].get("metadata") or {}).get("labels") or {}
        return [
            port.get("targetPort") or port["port"]
            for service in self._of(namespace)
            if selecting([service], labels)
            for port in service["spec"].get("ports") or ()
            if port.get("protocol", "TCP") == "TCP"
        ]

    def _of(self, namespace: str) -> list[Object]:
        found = [one for one in self._services() if one["metadata"]["namespace"] == namespace]
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    async def clear(self, place: str) -> None:
        try:
            await self._kubernetes.delete(place)
        except KubernetesError as error:
            log.warning("%s is not deleted: %s", place, error)


def refused(deployment: Object | None) -> str:
    """Why a Deployment gets no pods, "" when nobody says: a quota, an admission webhook."""
    for condition in ((deployment or {}).get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"its pod is refused: {condition.get('message', '')}"
    return ""


def refusal(error: KubernetesError) -> LaunchError:
    """Why the cluster does not take what we want, and the next step."""
    of_role = error.status == 403 and " cannot " in str(error)
    return LaunchError(f"the cluster refuses: {error}{FORBIDDEN if of_role else ''}", again=error.status in PASSING)


def unpatched(said: str) -> str:
    """What the API server says of a Deployment, in the words of the patch that was written."""
    return _TEMPLATE.sub("patch.", _PREAMBLE.sub("", said))
