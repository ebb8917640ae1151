"""Which workload a pod belongs to: the name of what a person has deployed, not of what the cluster made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from controlplane.kubernetes.names import WORKLOAD

_SCHEDULED = re.compile(r"(.+)-[0-9]{8,11}")
"""A CronJob's Job: the CronJob's name and the minutes since 1970."""

_POD_TEMPLATE_HASH = "pod-template-hash"


def workload_name(pod: Mapping[str, Any]) -> str:
    """The name without its namespace, "" when the pod has none. What the pod's annotation says goes first."""
    metadata = pod.get("metadata") or {}
    said = (metadata.get("annotations") or {}).get(WORKLOAD)
    if said:
        return str(said).rpartition("/")[2]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return _of_owner(str(owner.get("kind")), str(owner.get("name")), metadata.get("labels") or {})
    return str(metadata.get("name") or metadata.get("generateName") or "").rstrip("-")


def _of_owner(kind: str, name: str, labels: Mapping[str, str]) -> str:
    suffix = f"-{labels.get(_POD_TEMPLATE_HASH, '')}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        return name.removesuffix(suffix)  # a Deployment's
    if kind == "Job" and (match := _SCHEDULED.fullmatch(name)):
        return match[1]
    return name
