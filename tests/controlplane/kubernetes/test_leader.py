"""The Service leads to the leader, whatever becomes of the one before it meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.kubernetes.decision import Installation
from controlplane.kubernetes.engine import Cluster
from controlplane.kubernetes.settings import ClusterSettings

PODS = "/api/v1/namespaces/skycap-system/pods"


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
        config = {
            "clusters": [{"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(config))
        settings = ClusterSettings("skycap-system", "new", Installation("skycap", "http://a:1"), None)
        cluster = Cluster(settings, {"KUBECONFIG": str(file)})
        try:
            await cluster._lead_here()
        finally:
            await cluster.close()
    assert labelled == {"new": "true"}
