"""The leader stays one while it is busy, and the Service leads to it, whatever becomes of the one before it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from controlplane.kubernetes.client import CONNECTIONS
from controlplane.kubernetes.decision import Installation
from controlplane.kubernetes.engine import Cluster
from controlplane.kubernetes.settings import ClusterSettings
from proxy.base.tasks import Tasks
from tests.controlplane.eventually import eventually
from tests.controlplane.kubernetes.kubeconfig import written

PODS = "/api/v1/namespaces/skycap-system/pods"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/skycap-system/leases/skycap"


def new(server: BaseTestServer, folder: Path) -> Cluster:
    """A replica that is called so."""
    settings = ClusterSettings("skycap-system", "new", Installation("skycap", "http://a:1"), None)
    return Cluster(settings, written(folder, str(server.make_url(""))))


async def test_a_lease_is_renewed_however_many_requests_wait(tmp_path: Path) -> None:
    over, asked = asyncio.Event(), 0

    async def silent(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        await over.wait()
        return web.json_response({"items": []})

    async def held(_: web.Request) -> web.Response:
        spec = {"holderIdentity": "new", "leaseDurationSeconds": 3}
        return web.json_response({"metadata": {"name": "skycap", "resourceVersion": "1"}, "spec": spec})

    app = web.Application()
    app.router.add_get(PODS, silent)
    app.router.add_route("*", LEASE, held)
    async with TestServer(app) as server:
        cluster, tasks = new(server, tmp_path), Tasks("test")
        try:
            for number in range(CONNECTIONS):
                tasks.begin(cluster.kubernetes.get(PODS), f"request {number}")
            await eventually(lambda: asked == CONNECTIONS)
            assert await asyncio.wait_for(cluster._lease._try(), 30)
            over.set()
            await tasks.finish()
        finally:
            over.set()
            await tasks.close()
            await cluster.close()


async def test_the_old_leader_is_gone_before_its_label_is_taken_away(tmp_path: Path) -> None:
    labelled: dict[str, str | None] = {}
    troubles = iter([503] * 5)  # so often one request is repeated by itself

    async def listed(_: web.Request) -> web.Response:
        if status := next(troubles, 0):
            return web.json_response(
                {"message": "too busy", "code": status}, status=status, headers={"retry-after": "0"}
            )
        return web.json_response({"items": [{"metadata": {"name": "old"}}]})

    async def patched(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == "old":
            return web.json_response({"message": 'pods "old" not found', "reason": "NotFound", "code": 404}, status=404)
        labelled[name] = (await request.json())["metadata"]["labels"]["skycap.dev/leader"]
        return web.json_response({})

    app = web.Application()
    app.router.add_get(PODS, listed)
    app.router.add_patch(f"{PODS}/{{name}}", patched)
    async with TestServer(app) as server:
        cluster = new(server, tmp_path)
        try:
            await cluster._lead_here()
        finally:
            await cluster.close()
    assert labelled == {"new": "true"}
