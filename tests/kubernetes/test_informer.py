"""The client and the informer against a real API server: what is missed while one is away, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.credentials import find
from controlplane.kubernetes.informer import Informer, Key
from controlplane.kubernetes.lease import DURATION_SECONDS, RENEW_SECONDS, RETRY_SECONDS, Lease
from proxy.base.backoff import Backoff
from proxy.base.problems import ConfigurationError
from proxy.base.tasks import Tasks
from tests.controlplane.eventually import eventually
from tests.kubernetes.cluster.node import Node

MAPS = path("v1", "configmaps", namespace="default")


def config(name: str, value: str = "1") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"t": "t"}},
        "data": {"v": value},
    }


@pytest.fixture
async def kubernetes(node: Node) -> AsyncIterator[Kubernetes]:
    client = Kubernetes(find({"KUBECONFIG": str(node.kubeconfig)}))
    yield client
    for item in (await client.get(MAPS, labelSelector="t"))["items"]:
        await client.delete(f"{MAPS}/{item['metadata']['name']}")
    await client.close()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks("test")
    yield made
    await made.close()


class Seen:
    def __init__(self, kubernetes: Kubernetes) -> None:
        self.changes: list[tuple[str, str | None]] = []
        self.informer = Informer(kubernetes, MAPS, self._changed, labels="t", backoff=lambda: Backoff(0.05, 0.2))

    def _changed(self, key: Key, item: Object | None) -> None:
        self.changes.append((key[1], item["data"]["v"] if item else None))

    def values(self) -> dict[str, str]:
        return {key[1]: item["data"]["v"] for key, item in self.informer.objects.items()}


async def test_what_is_there_and_what_comes(kubernetes: Kubernetes, tasks: Tasks) -> None:
    await kubernetes.create(MAPS, config("old"))
    seen = Seen(kubernetes)
    tasks.spawn(seen.informer.run(), "informer")
    await asyncio.wait_for(seen.informer.synced.wait(), 30)
    await kubernetes.apply(f"{MAPS}/new", config("new"))
    await kubernetes.merge(f"{MAPS}/new", {"data": {"v": "2"}})
    await kubernetes.delete(f"{MAPS}/old")
    await eventually(lambda: seen.values() == {"new": "2"}, 60)
    assert seen.changes == [("old", "1"), ("new", "1"), ("new", "2"), ("old", None)]


async def test_what_happened_while_the_api_server_was_away(node: Node, kubernetes: Kubernetes, tasks: Tasks) -> None:
    await kubernetes.create(MAPS, config("stays"))
    await kubernetes.create(MAPS, config("goes"))
    seen = Seen(kubernetes)
    tasks.spawn(seen.informer.run(), "informer")
    await asyncio.wait_for(seen.informer.synced.wait(), 30)
    await asyncio.to_thread(node.restart_api_server)
    await kubernetes.delete(f"{MAPS}/goes")
    await kubernetes.create(MAPS, config("comes"))
    await eventually(lambda: seen.values() == {"stays": "1", "comes": "1"}, 60)
    assert seen.changes.count(("stays", "1")) == 1, "nothing is told twice"
    assert seen.informer.problem == ""


async def test_a_version_that_is_forgotten_is_listed_anew(kubernetes: Kubernetes, tasks: Tasks) -> None:
    """410 Gone, as after a compaction."""
    await kubernetes.create(MAPS, config("there"))
    seen = Seen(kubernetes)
    seen.informer._streams[0]._version = "1"
    tasks.spawn(seen.informer.run(), "informer")
    await eventually(lambda: seen.values() == {"there": "1"}, 60)


async def test_permission_that_comes_late_is_enough(node: Node, kubernetes: Kubernetes, tasks: Tasks) -> None:
    node.kubectl("create", "serviceaccount", "nobody")
    token = node.kubectl("create", "token", "nobody").strip()
    theirs = Kubernetes(find({"KUBECONFIG": str(_as(node, token))}))
    try:
        seen = Seen(theirs)
        tasks.spawn(seen.informer.run(), "informer")
        await eventually(lambda: 'cannot list resource "configmaps"' in seen.informer.problem, 60)
        node.kubectl("create", "rolebinding", "nobody", "--clusterrole=view", "--serviceaccount=default:nobody")
        await asyncio.wait_for(seen.informer.synced.wait(), 60)
        await eventually(lambda: seen.informer.problem == "", 60)
    finally:
        node.kubectl("delete", "rolebinding/nobody", "serviceaccount/nobody", check=False)
        await theirs.close()


async def test_refusals_are_in_the_api_servers_words(kubernetes: Kubernetes) -> None:
    with pytest.raises(KubernetesError, match='configmaps "none" not found') as refused:
        await kubernetes.get(f"{MAPS}/none")
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")
    assert await kubernetes.delete(f"{MAPS}/none") is False
    made = await kubernetes.create(MAPS, config("once"))
    with pytest.raises(KubernetesError, match="already exists"):
        await kubernetes.create(MAPS, config("once"))
    assert await kubernetes.delete(f"{MAPS}/once", uid="another") is False
    assert await kubernetes.delete(f"{MAPS}/once", uid=made["metadata"]["uid"]) is True


async def test_an_api_server_that_is_not_there(node: Node) -> None:
    credentials = find({"KUBECONFIG": str(_as(node, "x", server="https://10.123.0.2:1"))})
    client = Kubernetes(credentials)
    with pytest.raises(KubernetesError, match="the API server cannot be reached") as refused:
        await client.get(MAPS)
    assert refused.value.status == 0
    await client.close()


async def test_one_leads_and_the_next_takes_over(kubernetes: Kubernetes) -> None:
    place = path("coordination.k8s.io/v1", "leases", "lead", "default")
    first, second = (Lease(kubernetes, "default", "lead", name) for name in ("one", "two"))
    await first.acquire()
    assert not await second._try(), "it has been renewed a moment ago"
    assert second.holder == "one"
    await asyncio.wait_for(second.acquire(), 60)  # the first one is silent
    found = (await kubernetes.get(place))["spec"]
    assert (found["holderIdentity"], found["leaseTransitions"]) == ("two", 1)
    await asyncio.wait_for(first.hold(), 60)  # it finds out
    await second.release()
    assert await first._try(), "one that was released is not waited for"
    await kubernetes.delete(place)


def test_somebody_else_takes_over_in_five_seconds() -> None:
    """A lease is over when it has not changed for its duration, and is looked at again after a pause."""
    assert DURATION_SECONDS + RETRY_SECONDS < 5
    assert 2 * RENEW_SECONDS < DURATION_SECONDS, "one renewal that is lost changes nothing"


def test_without_a_cluster_it_is_said_where_one_was_looked_for() -> None:
    with pytest.raises(ConfigurationError, match="/nowhere/config does not exist, and this is no pod"):
        find({"KUBECONFIG": "/nowhere/config"})


def _as(node: Node, token: str, server: str = "") -> Path:
    """A kubeconfig of somebody else."""
    text = node.kubeconfig.read_text().replace(node.token, token).replace(node.server, server or node.server)
    file = node.folder / f"{abs(hash((token, server)))}.kubeconfig"
    file.write_text(text)
    return file
