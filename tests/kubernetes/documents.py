"""Documents that several tests apply."""

from __future__ import annotations

import json
from typing import Any

from tests.kubernetes.cluster.images import SKYCAP
from tests.kubernetes.installation import Installation


def container(*command: str, **more: Any) -> dict[str, Any]:
    return {"name": "app", "image": SKYCAP, "imagePullPolicy": "Never", "command": list(command), **more}


def apply(installed: Installation, *documents: dict[str, Any]) -> None:
    installed.kubectl("apply", "-f", "-", given="\n---\n".join(map(json.dumps, documents)))


def service(name: str, space: str, template: dict[str, Any], ports: dict[int, int | str]) -> list[dict[str, Any]]:
    """A Deployment of this pod template, and a Service that leads from ports to target ports."""
    labels = {"app": name}
    metadata = {"name": name, "namespace": space}
    whole = {**template, "metadata": {**template.get("metadata", {}), "labels": labels}}
    listed = [{"name": f"port-{port}", "port": port, "targetPort": target} for port, target in ports.items()]
    return [
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": whole},
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": labels, "ports": listed}},
    ]  # fmt: skip
