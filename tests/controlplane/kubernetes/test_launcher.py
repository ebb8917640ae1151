"""A Deployment that the watch has not shown yet, and one that somebody has deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.kubernetes import launcher
from controlplane.kubernetes.client import Kubernetes
from controlplane.kubernetes.credentials import find
from controlplane.kubernetes.launcher import KubernetesLauncher
from controlplane.launch.port import LaunchError, LaunchRequest
from controlplane.model.sandbox import Fork
from tests.controlplane.kubernetes.kubeconfig import written

REQUEST = LaunchRequest("agent-42", "key", 1, Fork.model_validate({"workload": "shop/users", "image": "a:1"}))


async def test_a_watch_that_is_late_is_no_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GONE_SECONDS", 0.0)
    monkeypatch.setattr(launcher, "LOOK_SECONDS", 0.001)
    statuses = [200, 200, 200, 404]  # it is there for a while, and then it is not

    async def asked(_: web.Request) -> web.Response:
        status = statuses.pop(0)
        return web.json_response({"message": "not found", "code": status}, status=status)

    app = web.Application()
    app.router.add_get("/apis/apps/v1/namespaces/shop/deployments/users-agent-42-1", asked)
    async with TestServer(app) as server:
        kubernetes = Kubernetes(find(written(tmp_path, str(server.make_url("")))))
        made = KubernetesLauncher(kubernetes, str)
        try:
            with pytest.raises(LaunchError, match="somebody has deleted its Deployment"):
                await made._until_ready(REQUEST, ("shop", "users-agent-42-1"))
        finally:
            await kubernetes.close()
    assert statuses == [], "it was asked for until it was gone"
