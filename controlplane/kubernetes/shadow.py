"""The Deployment of a shadow: the baseline's pods, with what the fork changes. Pure.

It has the labels that are ours and no others, so that nothing that selects the baseline's pods selects the shadow's: no
Service sends it requests without a key, no PodDisruptionBudget or HorizontalPodAutoscaler counts it. What the Services
of its namespace select is checked all the same: one without a selector of its own, or one that selects our labels, is
told of.

A baseline that has been injected in a file is taken without its sidecar; the webhook gives the shadow its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.kubernetes.laid import Fetching, PushedFiles, folder_of, lay
from controlplane.kubernetes.names import ENABLED, GROUP, INJECT, OURS, REVISION, ROUTING_KEY, SANDBOX, WORKLOAD
from controlplane.kubernetes.patch import without_sidecar
from controlplane.launch.port import LaunchRequest
from controlplane.model.sandbox import Fork
from controlplane.rest import API_VERSION
from controlplane.rest import SANDBOX as SANDBOX_KIND

FORK = f"{GROUP}/fork"
"""Label of a shadow: the name of the workload that it replaces."""

REVISION_LABEL = f"{GROUP}/revision"

MANAGED = {"app.kubernetes.io/managed-by": "skycap"}

REQUESTS = {"cpu": "10m", "memory": "64Mi"}
"""Of a container that has none: a hundred shadows must not be scheduled as if they were nothing."""

MAX_NAME = 52
"""Of a Deployment: its pods' names have ten digits and a few more behind it, and 63 are allowed."""


def shadow_name(sandbox: str, workload: str, revision: int) -> str:
    """Of the Deployment: one per revision, so that the next one starts beside the one that serves."""
    tail = f"-{revision}"
    name = f"{workload.partition('/')[2]}-{sandbox}"
    if len(name) + len(tail) > MAX_NAME:
        digest = hashlib.sha256(f"{workload} {sandbox}".encode()).hexdigest()[:8]
        name = f"{name[: MAX_NAME - len(tail) - 9].rstrip('-')}-{digest}"
    return name + tail


def shadow_labels(sandbox: str, workload: str, revision: int) -> dict[str, str]:
    return {SANDBOX: sandbox, FORK: workload.partition("/")[2], REVISION_LABEL: str(revision)}


def shadow(
    baseline: Mapping[str, Any],
    request: LaunchRequest,
    uid: str,
    files: PushedFiles | None = None,
    fetching: Fetching | None = None,
) -> dict[str, Any]:
    """The Deployment. baseline: an object with `spec.template`; uid: of the Sandbox, which owns it.

    files: that are laid over the folder of its image, which somebody has to name; fetching: how they get there.
    """
    namespace, _, name = request.workload.partition("/")
    labels = shadow_labels(request.sandbox, request.workload, request.revision)
    template = without_sidecar(baseline["spec"]["template"])
    annotations = {
        key: value
        for key, value in ((template.get("metadata") or {}).get("annotations") or {}).items()
        if key not in (*OURS, INJECT)
    }
    annotations |= {WORKLOAD: name, ROUTING_KEY: request.routing_key, REVISION: str(request.revision)}
    template["metadata"] = {"labels": {**labels, INJECT: ENABLED}, "annotations": annotations}
    spec = template["spec"]
    changed = _container(spec, request.fork, annotations)
    _change(changed, request)
    for container in spec["containers"]:
        for port in container.get("ports") or ():
            port.pop("hostPort", None)  # the baseline has it
        if not (container.get("resources") or {}).get("requests"):
            container["resources"] = {**(container.get("resources") or {}), "requests": dict(REQUESTS)}
    if files is not None and fetching is not None:
        folder = folder_of(changed, request.fork.cwd)
        assert folder is not None
        lay(spec, changed, folder, files, fetching)
    _volumes(baseline, spec)
    owner = {
        "apiVersion": API_VERSION,
        "kind": SANDBOX_KIND,
        "name": request.sandbox,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": shadow_name(request.sandbox, request.workload, request.revision),
            "namespace": namespace,
            "labels": {**labels, **MANAGED},
            "ownerReferences": [owner],
        },
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 0,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }


def selecting(services: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> list[str]:
    """The Services, by name, that would send requests without a key to pods with these labels."""
    found = []
    for service in services:
        selector = (service.get("spec") or {}).get("selector") or {}
        if selector and all(labels.get(name) == value for name, value in selector.items()):
            found.append(str(service["metadata"]["name"]))
    return sorted(found)


def image_folder(baseline: Mapping[str, Any], fork: Fork) -> str | None:
    """That a fork's pushed files are laid over; None: nobody says."""
    template = baseline["spec"]["template"]
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return folder_of(_container(template["spec"], fork, annotations), fork.cwd)


def _container(spec: Mapping[str, Any], fork: Fork, annotations: Mapping[str, str]) -> dict[str, Any]:
    """What the fork is about: the container whose image has the same repository, the default one, or the first."""
    containers: list[dict[str, Any]] = spec["containers"]
    if fork.image:
        same = [item for item in containers if repository(item.get("image", "")) == repository(fork.image)]
        if len(same) == 1:
            return same[0]
    default = annotations.get("kubectl.kubernetes.io/default-container")
    return next((item for item in containers if item["name"] == default), containers[0])


def repository(image: str) -> str:
    """An image's name without its tag and its digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _change(container: dict[str, Any], request: LaunchRequest) -> None:
    fork = request.fork
    if fork.image:
        container["image"] = fork.image
    if fork.command:
        container["command"] = list(fork.command)
        container.pop("args", None)
    if fork.cwd:
        container["workingDir"] = fork.cwd
    if fork.args:
        container["args"] = list(fork.args)
    said: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in (fork.env or {}).items()]
    said += [{"name": one.name, "valueFrom": one.source()} for one in fork.value_from or ()]
    if said:
        names = {item["name"] for item in said}
        container["env"] = [item for item in container.get("env") or () if item["name"] not in names] + said


def _volumes(baseline: Mapping[str, Any], spec: dict[str, Any]) -> None:
    """A StatefulSet's claims belong to its pods; a shadow begins with nothing there."""
    claimed = [item["metadata"]["name"] for item in baseline["spec"].get("volumeClaimTemplates") or ()]
    if claimed:
        known = [volume for volume in spec.get("volumes") or () if volume["name"] not in claimed]
        spec["volumes"] = known + [{"name": name, "emptyDir": {}} for name in claimed]


def claims(spec: Mapping[str, Any]) -> list[str]:
    """The PersistentVolumeClaims that a pod mounts."""
    volumes = spec.get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")]
