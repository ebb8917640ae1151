"""What is kept beside the resources, each a ConfigMap of the control plane's namespace: links and reviews, and what is
left of Sandboxes and route groups that are gone, the keys that are remembered.

None of it is anybody's wish that a person would write with kubectl, so that none of it has a kind of its own.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.kubernetes.client import Kubernetes, Object, path
from controlplane.kubernetes.names import GROUP
from controlplane.store.port import StoreError

KEPT = f"{GROUP}/kept"
"""Label: what a ConfigMap keeps."""

_FIELD = "document"

_Document = TypeVar("_Document", bound=BaseModel)


class Kept:
    """namespace: that of the control plane."""

    def __init__(self, kubernetes: Kubernetes, namespace: str) -> None:
        self._kubernetes = kubernetes
        self._collection = path("v1", "configmaps", namespace=namespace)
        self._there: set[str] = set()

    async def load(self, what: str, model: type[_Document]) -> list[_Document]:
        """All of one sort. Raises StoreError, KubernetesError."""
        found = []
        for item in (await self._kubernetes.get(self._collection, labelSelector=f"{KEPT}={what}"))["items"]:
            name = item["metadata"]["name"]
            try:
                found.append(model.model_validate_json(item["data"][_FIELD]))
            except (ValidationError, KeyError) as error:
                raise StoreError(f"ConfigMap {name} cannot be read: {error}: delete it to go on without it") from None
            self._there.add(name)
        return found

    async def put(self, what: str, name: str, document: BaseModel | None) -> None:
        """Keep it, or forget it. Raises KubernetesError."""
        called = f"skycap-{what}-{name}"
        place = f"{self._collection}/{called}"
        if document is None:
            if called in self._there:
                await self._kubernetes.delete(place)
                self._there.discard(called)
            return
        kept: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": called, "labels": {KEPT: what}},
            "data": {_FIELD: document.model_dump_json(by_alias=True)},
        }
        await self._kubernetes.apply(place, kept)
        self._there.add(called)
