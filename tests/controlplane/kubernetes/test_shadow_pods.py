"""Which pods are those of a shadow, and who hears of a change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.kubernetes.client import Kubernetes, Object
from controlplane.kubernetes.credentials import find
from controlplane.kubernetes.shadow_pods import ShadowPods
from tests.controlplane.kubernetes.kubeconfig import written

ONE, TWO = ("shop", "agent-1", "users", "1"), ("shop", "agent-2", "users", "1")


def pod(name: str, sandbox: str, revision: str = "1") -> Object:
    labels = {"skycap.dev/sandbox": sandbox, "skycap.dev/fork": "users", "skycap.dev/revision": revision}
    return {"metadata": {"name": name, "namespace": "shop", "labels": labels}}


@pytest.fixture
async def shadows(tmp_path: Path) -> AsyncIterator[ShadowPods]:
    client = Kubernetes(find(written(tmp_path, "http://127.0.0.1:1")))
    yield ShadowPods(client)
    await client.close()


def put(shadows: ShadowPods, name: str, item: Object | None) -> None:
    """As the watch tells it."""
    shadows.informer._put(("shop", name), item)


def names(found: list[Object]) -> list[str]:
    return [one["metadata"]["name"] for one in found]


async def test_pods_are_found_by_their_labels(shadows: ShadowPods) -> None:
    put(shadows, "a", pod("a", "agent-1"))
    put(shadows, "b", pod("b", "agent-1"))
    put(shadows, "c", pod("c", "agent-2"))
    assert (names(shadows.of(ONE)), names(shadows.of(TWO))) == (["a", "b"], ["c"])
    put(shadows, "a", None)
    assert names(shadows.of(ONE)) == ["b"]
    put(shadows, "b", pod("b", "agent-1", revision="2"))
    assert shadows.of(ONE) == []
    assert names(shadows.of((*ONE[:3], "2"))) == ["b"]


async def test_who_waits_hears_of_its_own(shadows: ShadowPods) -> None:
    one, two = shadows.event(ONE), shadows.event(TWO)
    put(shadows, "a", pod("a", "agent-1"))
    assert (one.is_set(), two.is_set()) == (True, False)
    one = shadows.event(ONE)
    assert not one.is_set(), "the next change is told anew"
    put(shadows, "a", pod("a", "agent-1", revision="2"))
    assert one.is_set(), "it has lost one"
    one = shadows.event((*ONE[:3], "2"))
    put(shadows, "a", None)
    assert (one.is_set(), two.is_set()) == (True, False)


async def test_who_waits_hears_of_its_deployment(shadows: ShadowPods) -> None:
    one, two = shadows.event(ONE), shadows.event(TWO)
    shadows.deployments._put(("shop", "users-agent-1"), pod("users-agent-1", "agent-1"))
    assert (one.is_set(), two.is_set()) == (True, False)
    assert shadows.of(ONE) == [], "a Deployment is no pod"
    one = shadows.event(ONE)
    shadows.deployments._put(("shop", "users-agent-1"), None)
    assert (one.is_set(), two.is_set()) == (True, False)
