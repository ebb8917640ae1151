"""The store of a cluster: its successor finds what was written, and a spec that somebody has changed is not undone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from controlplane.kubernetes.client import Kubernetes, path
from controlplane.kubernetes.credentials import find
from controlplane.kubernetes.store import KubernetesStore
from controlplane.model.group import GroupRecord, RouteGroup
from controlplane.model.record import Record, created
from controlplane.model.sandbox import parse_sandbox
from controlplane.store.port import Entry
from tests.controlplane.sandboxes import USERS, sandbox
from tests.kubernetes.cluster.images import REPOSITORY
from tests.kubernetes.cluster.node import Node

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PLACE = path("skycap.dev/v1alpha1", "sandboxes")
GROUPS = path("skycap.dev/v1alpha1", "routegroups")


def record(name: str, port: int = 1) -> Record:
    made = sandbox(name, {"workload": USERS, "endpoints": [f"10.0.0.1:{port}"]})
    return created(name, made.spec, NOW, 60)


@pytest.fixture
async def kubernetes(node: Node) -> AsyncIterator[Kubernetes]:
    """Alone on the cluster: a control plane that other tests have installed would act on what is written here."""
    node.kubectl("-n", "skycap-system", "scale", "deployment/skycap", "--replicas=0", check=False)
    node.kubectl("-n", "skycap-system", "wait", "--for=delete", "pod", "--all", "--timeout=60s", check=False)
    node.kubectl("apply", "-f", str(REPOSITORY / "manifests/base/crds.yaml"))
    node.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    client = Kubernetes(find({"KUBECONFIG": str(node.kubeconfig)}))
    yield client
    await client.close()
    node.kubectl("delete", "sandboxes,routegroups", "--all")
    node.kubectl("-n", "default", "delete", "configmaps", "-l", "skycap.dev/kept")
    node.kubectl("-n", "skycap-system", "scale", "deployment/skycap", "--replicas=2", check=False)


def store(kubernetes: Kubernetes) -> KubernetesStore:
    return KubernetesStore(kubernetes, "default", 1000)


async def test_what_was_written_is_there_again(kubernetes: Kubernetes) -> None:
    first = store(kubernetes)
    await first.load()
    a, b = record("a"), record("b")
    document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "RouteGroup", "metadata": {"name": "a"}}
    group = GroupRecord(
        group=RouteGroup.model_validate({**document, "spec": {"members": ["a", "b"]}}), created=NOW, updated=NOW
    )
    written = await first.write([Entry("sandbox", "a", a), Entry("sandbox", "b", b), Entry("group", "a", group)])
    assert list(written) == [None, None, None]
    found = await store(kubernetes).load()
    assert {one.name: one for one in found.sandboxes} == {"a": a, "b": b}
    assert found.groups == [group]
    assert (await kubernetes.get(f"{PLACE}/a"))["status"]["phase"] == "Pending"
    shown = await kubernetes.get(f"{GROUPS}/a")
    assert (shown["spec"]["members"], shown["status"]["memberNames"]) == (["a", "b"], "a, b")
    ended = group.over(NOW, "it was deleted")
    assert list(await first.write([Entry("group", "a", ended), Entry("sandbox", "b", None)])) == [None, None]
    found = await store(kubernetes).load()
    assert ([one.name for one in found.sandboxes], found.groups) == (["a"], [ended]), "its key is remembered"
    assert (await kubernetes.get(GROUPS))["items"] == []
    assert list(await first.write([Entry("group", "a", None)])) == [None]
    assert (await store(kubernetes).load()).groups == []


async def test_the_key_of_a_sandbox_that_is_gone_is_remembered(kubernetes: Kubernetes) -> None:
    first = store(kubernetes)
    await first.load()
    await first.write([Entry("sandbox", "brief", record("brief"))])
    gone = record("brief").deleted(NOW).buried()
    await first.write([Entry("sandbox", "brief", gone)])
    assert (await kubernetes.get(PLACE))["items"] == []
    assert (await store(kubernetes).load()).sandboxes == [gone]
    again = record("brief", 2)
    await first.write([Entry("sandbox", "brief", again)])
    assert (await store(kubernetes).load()).sandboxes == [again]


async def test_a_spec_that_somebody_changes_is_not_written_over(kubernetes: Kubernetes) -> None:
    first = store(kubernetes)
    await first.load()
    await first.write([Entry("sandbox", "mine", record("mine"))])
    theirs = {"forks": [{"workload": USERS, "endpoints": ["10.0.0.1:7"]}]}
    await kubernetes.merge(f"{PLACE}/mine", {"spec": theirs})
    step = record("mine").in_force((), (), NOW)
    assert step is not None
    await first.write([Entry("sandbox", "mine", step)])
    found = await kubernetes.get(f"{PLACE}/mine")
    assert found["spec"]["forks"][0]["endpoints"] == ["10.0.0.1:7"]
    assert parse_sandbox({"apiVersion": found["apiVersion"], "kind": "Sandbox", "metadata": {"name": "mine"},
                          "spec": found["spec"]}).spec.forks[0].endpoints == ("10.0.0.1:7",)  # fmt: skip


async def test_what_was_deleted_is_not_made_again(kubernetes: Kubernetes) -> None:
    first = store(kubernetes)
    await first.load()
    await first.write([Entry("sandbox", "brief", record("brief"))])
    await kubernetes.delete(f"{PLACE}/brief")
    step = record("brief").in_force((), (), NOW)
    assert list(await first.write([Entry("sandbox", "brief", step)])) == [None]
    assert (await kubernetes.get(PLACE))["items"] == []
