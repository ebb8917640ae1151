"""Where informers look, and when they have seen all of it. What they make of a cluster is in tests/kubernetes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.kubernetes.client import Kubernetes, Object
from controlplane.kubernetes.credentials import find
from controlplane.kubernetes.informer import Informer, Key, places
from controlplane.kubernetes.launcher import KubernetesLauncher
from proxy.base.backoff import Backoff
from proxy.base.tasks import Tasks
from tests.controlplane.eventually import eventually
from tests.controlplane.kubernetes.kubeconfig import written

WATCHED = ("pods", "deployments", "services", "statefulsets", "daemonsets")
"""Of these there may be some that a control plane of named namespaces must not see."""


class Lists:
    """An API server that has lists of pods, and watches in which nothing happens until `over`."""

    def __init__(self) -> None:
        self.pods: dict[str, list[str]] = {"bank": ["till"], "shop": ["users", "catalog"]}
        self.forbidden = {"bank"}
        self.asked: list[str] = []
        self.over = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        namespace = request.match_info["namespace"]
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            await self.over.wait()
            return stream
        self.asked.append(namespace)
        if namespace in self.forbidden:
            return web.json_response({"message": f"cannot list pods in {namespace}", "code": 403}, status=403)
        items = [
            {"metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"}}
            for name in self.pods[namespace]
        ]
        return web.json_response({"items": items, "metadata": {"resourceVersion": str(len(self.asked))}})


@pytest.fixture
async def lists() -> AsyncIterator[Lists]:
    made = Lists()
    yield made
    made.over.set()


@pytest.fixture
async def kubernetes(lists: Lists, tmp_path: Path) -> AsyncIterator[Kubernetes]:
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/{namespace}/pods", lists.answer)
    async with TestServer(app) as server:
        client = Kubernetes(find(written(tmp_path, str(server.make_url("")))))
        yield client
        await client.close()


def test_named_namespaces_or_all() -> None:
    assert places("v1", "pods") == ["/api/v1/pods"]
    assert places("apps/v1", "deployments", {"shop", "bank"}) == [
        "/apis/apps/v1/namespaces/bank/deployments",
        "/apis/apps/v1/namespaces/shop/deployments",
    ]


@pytest.mark.parametrize("namespaces", [(), ("shop", "bank", "shop")])
async def test_a_launcher_looks_nowhere_else(kubernetes: Kubernetes, namespaces: tuple[str, ...]) -> None:
    launcher = KubernetesLauncher(kubernetes, str, namespaces=namespaces)
    for informer in launcher._informers():
        kind = informer.places[0].rpartition("/")[2]
        assert kind in WATCHED
        version = "v1" if kind in ("pods", "services") else "apps/v1"
        assert informer.places == places(version, kind, set(namespaces))


async def test_all_of_its_namespaces_are_seen(kubernetes: Kubernetes, lists: Lists) -> None:
    tasks, changes = Tasks("test"), list[tuple[Key, Object | None]]()
    informer = Informer(
        kubernetes,
        places("v1", "pods", ("shop", "bank")),
        lambda key, found: changes.append((key, found)),
        backoff=lambda: Backoff(0.01, 0.02),
    )
    tasks.spawn(informer.run(), "informer")
    try:
        await eventually(lambda: ("shop", "catalog") in informer.objects)
        await eventually(lambda: informer.problem == "cannot list pods in bank")
        assert not informer.synced.is_set(), "one of two is not all"
        lists.forbidden.clear()
        await informer.synced.wait()
        await eventually(lambda: informer.problem == "")
        assert sorted(informer.objects) == [("bank", "till"), ("shop", "catalog"), ("shop", "users")]
        assert lists.asked.count("shop") == 1, "the trouble of one namespace is none of the other's"
        assert sorted(key for key, _ in changes) == sorted(informer.objects)
    finally:
        lists.over.set()
        await tasks.close()
    assert len(tasks) == 0


async def test_a_list_of_one_namespace_takes_nothing_from_another(kubernetes: Kubernetes, lists: Lists) -> None:
    lists.forbidden.clear()
    tasks = Tasks("test")
    informer = Informer(kubernetes, places("v1", "pods", ("shop", "bank")), lambda _key, _found: None)
    tasks.spawn(informer.run(), "informer")
    try:
        await informer.synced.wait()
        lists.pods["shop"] = ["users"]
        shop = next(stream for stream in informer._streams if "/shop/" in stream.place)
        await shop._list()
        assert sorted(informer.objects) == [("bank", "till"), ("shop", "users")]
    finally:
        lists.over.set()
        await tasks.close()
