"""Shadows that are being started: by a leader that may not see every namespace, and by one that ends meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.kubernetes.client import Kubernetes, Object
from controlplane.kubernetes.credentials import find
from controlplane.kubernetes.launcher import KubernetesLauncher
from controlplane.launch.port import LaunchError, LaunchRequest, Running
from controlplane.model.sandbox import Fork
from proxy.base.tasks import Tasks
from tests.controlplane.eventually import eventually
from tests.controlplane.kubernetes.kubeconfig import written

SHADOW = "/apis/apps/v1/namespaces/shop/deployments/users-agent-42-1"


def request(workload: str) -> LaunchRequest:
    return LaunchRequest("agent-42", "key", 1, Fork.model_validate({"workload": workload, "image": "a:1"}))


class Cluster:
    """An API server with the Deployment shop/users, which forbids to look into the namespaces of `forbidden`."""

    def __init__(self) -> None:
        self.forbidden = {"bank"}
        self.changes: list[str] = []
        self.over = asyncio.Event()

    async def looked(self, request: web.Request) -> web.StreamResponse:
        namespace, plural = request.match_info["namespace"], request.match_info["plural"]
        if namespace in self.forbidden:
            said = (
                f'{plural} is forbidden: User "skycap" cannot list resource "{plural}" in the namespace "{namespace}"'
            )
            return web.json_response({"message": said, "code": 403}, status=403)
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            await self.over.wait()
            return stream
        items = (
            [self.users()] if (namespace, plural, "!" in request.query_string) == ("shop", "deployments", True) else []
        )
        return web.json_response({"items": items, "metadata": {"resourceVersion": "1"}})

    async def changed(self, request: web.Request) -> web.Response:
        self.changes.append(f"{request.method} {request.path}")
        return web.json_response(await request.json())

    def users(self) -> Object:
        container = {"name": "users", "image": "users:1", "ports": [{"containerPort": 8080}]}
        template = {"metadata": {"labels": {"app": "users"}}, "spec": {"containers": [container]}}
        metadata = {"name": "users", "namespace": "shop", "resourceVersion": "1", "generation": 1}
        return {"metadata": metadata, "spec": {"selector": {"matchLabels": {"app": "users"}}, "template": template}}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    yield made
    made.over.set()


@pytest.fixture
async def launcher(cluster: Cluster, tmp_path: Path) -> AsyncIterator[KubernetesLauncher]:
    app = web.Application()
    for version in ("/api/v1", "/apis/apps/v1"):
        app.router.add_get(version + "/namespaces/{namespace}/{plural}", cluster.looked)
        app.router.add_route("*", version + "/namespaces/{namespace}/{plural}/{name}", cluster.changed)
    async with TestServer(app) as server:
        kubernetes = Kubernetes(find(written(tmp_path, str(server.make_url("")))))
        tasks = Tasks("test")
        made = KubernetesLauncher(kubernetes, str, namespaces=("shop", "bank"))
        made.begin(tasks)
        yield made
        cluster.over.set()
        await tasks.close()
        await kubernetes.close()


async def begun(launcher: KubernetesLauncher, cluster: Cluster) -> asyncio.Task[Running]:
    """A start whose Deployment is made, and which has no pod yet."""
    start = asyncio.get_running_loop().create_task(launcher.start(request("shop/users")))
    await eventually(lambda: start.done() or cluster.changes != [])
    assert cluster.changes == [f"PATCH {SHADOW}"]
    return start


async def cancelled(start: asyncio.Task[Running]) -> None:
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start


async def test_a_namespace_that_may_not_be_seen_stops_no_start_in_another(
    launcher: KubernetesLauncher, cluster: Cluster
) -> None:
    await cancelled(await begun(launcher, cluster))
    refused = launcher.check(request("shop/usres").fork, None)
    assert "did you mean shop/users?" in refused[0].message, "of what may be seen it is known what there is"


async def test_a_start_where_nothing_may_be_seen_says_so_and_is_tried_again(launcher: KubernetesLauncher) -> None:
    with pytest.raises(
        LaunchError, match=r"the cluster refuses: .* in the namespace \"bank\"; `skycap doctor`"
    ) as refused:
        await launcher.start(request("bank/till"))
    assert refused.value.again


async def test_what_may_not_be_seen_is_not_given_up(launcher: KubernetesLauncher, cluster: Cluster) -> None:
    adopted = asyncio.get_running_loop().create_task(launcher.adopt(request("bank/till"), {}))
    with pytest.raises(LaunchError):
        await launcher.start(request("bank/till"))
    assert not adopted.done()
    cluster.forbidden.clear()
    assert await adopted is None, "it may be seen now, and is not there"


async def test_a_start_that_is_cancelled_leaves_nothing(launcher: KubernetesLauncher, cluster: Cluster) -> None:
    await cancelled(await begun(launcher, cluster))
    assert cluster.changes == [f"PATCH {SHADOW}", f"DELETE {SHADOW}"]


async def test_a_leader_that_ends_leaves_what_it_was_starting_to_the_next(
    launcher: KubernetesLauncher, cluster: Cluster
) -> None:
    start = await begun(launcher, cluster)
    launcher.leave()
    await cancelled(start)
    await launcher.stop(Running(("10.0.0.1:80",), {"deployment": "users-agent-42-1", "namespace": "shop"}))
    assert cluster.changes == [f"PATCH {SHADOW}"], "the next one may have taken it over by now"
