"""How a test's client finds its API server."""

from __future__ import annotations

import json
from pathlib import Path


def written(folder: Path, server: str) -> dict[str, str]:
    """The environment that names a kubeconfig, in `folder`, for the API server at this URL."""
    path = folder / "kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server.rstrip("/")}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    return {"KUBECONFIG": str(path)}
