"""Pushed files in a pod: over the folder of its image, as a copy of that folder which every container start finds.

    skycap-fetch   our image: fetches them from the control plane into a volume, with a token of ten minutes
    skycap-copy    the fork's image: its own folder into another volume
    skycap-lay     the fork's image: the pushed files over that
    skycap-build   the fork's image, where the fork has a build: runs it there
    the container  has the second volume in the place of the folder

An image has to have `cp`, and `rm` where files are taken away; both are run as the user that the container has, so that
whoever runs in the pod may write what it may write in its image. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.kubernetes.names import AUDIENCE

FETCH, COPY, LAY, REMOVE, BUILD = "skycap-fetch", "skycap-copy", "skycap-lay", "skycap-remove", "skycap-build"
PUSHED, FILES, TOKEN = "skycap-pushed", "skycap-files", "skycap-fetch-token"
"""Volumes: what was fetched, the folder that is made of it, the token."""

_AT = "/skycap"
TOKEN_SECONDS = 600
"""The shortest life that Kubernetes gives a token."""

_SECURITY = {
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_RESOURCES = {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "256Mi"}}


@dataclass(frozen=True, slots=True)
class Fetching:
    """
    image, pull_policy: of our own containers; registry: URL of the control plane.
    """

    image: str
    pull_policy: str
    registry: str


@dataclass(frozen=True, slots=True)
class PushedFiles:
    """digest: of the tree; removed: paths that it takes away; build: run when it is laid, () for none."""

    digest: str
    removed: tuple[str, ...] = ()
    build: tuple[str, ...] = ()


def lay(spec: dict[str, Any], container: dict[str, Any], folder: str, files: PushedFiles, fetching: Fetching) -> None:
    """Let `container` of the pod `spec` find the files in the folder of its image."""
    pushed, made = {"name": PUSHED, "mountPath": f"{_AT}/pushed"}, {"name": FILES, "mountPath": f"{_AT}/files"}
    own: dict[str, Any] = {
        name: container[name] for name in ("image", "imagePullPolicy", "securityContext") if name in container
    }

    def step(name: str, command: list[str], *mounts: dict[str, str], **more: Any) -> dict[str, Any]:
        made_of = {"name": name, **own, "command": command, "volumeMounts": list(mounts)}
        return {**made_of, "resources": container.get("resources") or {}, **more}

    url = f"{fetching.registry}/v1/trees/{files.digest}"
    fetch: dict[str, Any] = {
        "name": FETCH,
        "image": fetching.image,
        **_pulled(fetching.pull_policy),
        "command": ["python3", "-m", "controlplane.kubernetes.fetch", url, f"{_AT}/token/token", f"{_AT}/pushed"],
        "volumeMounts": [pushed, {"name": TOKEN, "mountPath": f"{_AT}/token", "readOnly": True}],
        "resources": _RESOURCES,
        "securityContext": _SECURITY,
    }
    steps = [
        fetch,
        step(COPY, ["cp", "-RP", f"{folder}/.", f"{_AT}/files/"], made),
        step(LAY, ["cp", "-RP", f"{_AT}/pushed/files/.", f"{_AT}/files/"], pushed, made),
    ]
    if files.removed:
        steps.append(step(REMOVE, ["rm", "-rf", "--", *(f"{_AT}/files/{path}" for path in files.removed)], made))
    there = {"name": FILES, "mountPath": folder}
    if files.build:
        mounts = [*(container.get("volumeMounts") or ()), there]
        more = {name: container[name] for name in ("env", "envFrom") if name in container}
        steps.append(step(BUILD, list(files.build), *mounts, workingDir=folder, **more))
    spec["initContainers"] = [*(spec.get("initContainers") or ()), *steps]
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), there]
    container["workingDir"] = folder
    token = {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}}
    spec["volumes"] = [
        *(spec.get("volumes") or ()),
        {"name": PUSHED, "emptyDir": {}},
        {"name": FILES, "emptyDir": {}},
        {"name": TOKEN, "projected": {"sources": [token], "defaultMode": 0o444}},
    ]


def _pulled(policy: str) -> dict[str, str]:
    return {"imagePullPolicy": policy} if policy else {}


def folder_of(container: Mapping[str, Any], cwd: str | None) -> str | None:
    """The folder of the image that files are laid over: what the fork says, else the container; None: nobody says."""
    found = cwd or container.get("workingDir")
    return str(found).rstrip("/") or None if found else None
