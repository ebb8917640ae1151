"""Environment files for tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from controlplane.model.environment import EnvironmentFile, parse_environment

APP = str(Path(__file__).parent.with_name("launch") / "app.py")


def service(name: str, *calls: str, **fields: Any) -> dict[str, Any]:
    """A service that runs the test application and calls others of the file."""
    return {
        "name": name,
        "command": [sys.executable, APP, name],
        "upstreams": [{"name": called} for called in calls],
        "readiness": {"path": "/health"},
        **fields,
    }


def document(*services: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "skycap.dev/v1alpha1",
        "kind": "Environment",
        "metadata": {"name": "shop"},
        "spec": {"registry": {"listen": "127.0.0.1:0"}, "services": list(services), **spec},
    }


def environment(*services: dict[str, Any], **spec: Any) -> EnvironmentFile:
    return parse_environment(document(*services, **spec))
