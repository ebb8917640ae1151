"""Sandbox documents for tests."""

from __future__ import annotations

from typing import Any

from controlplane.model.sandbox import Sandbox, parse_sandbox

USERS = "shop/users"


def fork(workload: str = USERS, port: int = 9102, **fields: Any) -> dict[str, Any]:
    """A static fork on a port of loopback."""
    return {"workload": workload, "endpoints": [f"127.0.0.1:{port}"]} | fields


def document(name: str = "agent-42", *forks: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "skycap.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": name},
        "spec": {"forks": list(forks) or [fork()], **spec},
    }


def sandbox(name: str = "agent-42", *forks: dict[str, Any], **spec: Any) -> Sandbox:
    return parse_sandbox(document(name, *forks, **spec))
