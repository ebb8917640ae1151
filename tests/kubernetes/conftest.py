"""One real node for all tests of this folder, and an installation of Skycap on it.

There is one node at a time, and its tests run one after the other in one process: `make test-cluster`. Among tests that
run in parallel they are left out, and counted as deselected. Where no node can be started they are skipped with a
reason; where SKYCAP_REQUIRE_TOOLS=1 says that they must run, they fail instead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.kubernetes.cluster import programs
from tests.kubernetes.cluster.images import build_base, build_pause, build_skycap
from tests.kubernetes.cluster.node import Node, NodeError
from tests.kubernetes.installation import Installation

HERE = Path(__file__).parent

LIMIT_SECONDS = 300
"""Of a test that needs the node. A signal ends that test alone; a thread could only end the whole run."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(HERE) and "whole_node" in _fixtures(item)]
    for item in ours:
        limit = item.get_closest_marker("timeout")
        seconds = limit.args[0] if limit is not None else LIMIT_SECONDS
        item.add_marker(pytest.mark.timeout(seconds, method="signal"), append=False)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)


def _fixtures(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))


def _not_here(reason: str) -> NoReturn:
    if os.environ.get("SKYCAP_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{reason} although SKYCAP_REQUIRE_TOOLS=1")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def whole_node() -> Iterator[Node]:
    if why := programs.why_not():
        _not_here(f"no Kubernetes node can be started here: {why}")
    if not programs.built():
        _not_here("the Kubernetes node is not built: make cluster-build")
    build_base()
    node = Node([build_pause(), build_skycap()], tied=True)
    try:
        try:
            node.up()
        except NodeError as error:
            _not_here(str(error))
        yield node
    finally:
        node.down()


@pytest.fixture
def node(whole_node: Node) -> Iterator[Node]:
    """The test's thread, and what it starts, is a client of the cluster and of nothing else."""
    with whole_node.inside():
        yield whole_node


@pytest.fixture(scope="session")
def whole_installation(whole_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = Installation(whole_node, tmp_path_factory.mktemp("manifests"))
    installation.install()
    return installation


@pytest.fixture
def installed(node: Node, whole_installation: Installation) -> Iterator[Installation]:
    """Skycap and the shop, at work; the Sandboxes of a test go with it."""
    yield whole_installation
    whole_installation.clear()


@pytest.fixture
def space(installed: Installation, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, with the labels of its `param`."""
    name = "trial"
    labels = {"skycap.dev/inject": "enabled", **getattr(request, "param", {})}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    installed.kubectl("apply", "-f", "-", given=json.dumps(document))
    installed.until(lambda: bool(installed.objects("serviceaccounts", "-n", name)), "the namespace is whole")
    yield name
    installed.kubectl("delete", "namespace", name, "--timeout=120s")
