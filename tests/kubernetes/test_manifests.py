"""Every manifest is taken by a real API server, and so is every pod that the injector makes."""

from __future__ import annotations

import pytest

from controlplane.kubernetes.documents import dump, parse
from tests.kubernetes.cluster.images import REPOSITORY
from tests.kubernetes.cluster.node import Node, NodeError
from tests.kubernetes.installation import Installation

GOLDEN = REPOSITORY / "tests/controlplane/kubernetes/golden"

_REFUSED = {
    "pod-without-containers": "spec.containers: Required value",
    "resources-and-devices": 'RuntimeClass "nvidia" not found',
}
"""Pods that this cluster would not take without a sidecar either."""


@pytest.mark.parametrize("which", ["", "demo"])
def test_the_api_server_takes_them(installed: Installation, which: str) -> None:
    installed.kubectl("apply", "--dry-run=server", "-f", "-", given=installed.manifests(which))


def test_our_own_pods_meet_the_restricted_standard(installed: Installation) -> None:
    (namespace,) = installed.objects("namespaces", "--field-selector", "metadata.name=skycap-system")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(installed.objects("pods", "-n", "skycap-system")) >= 2


def test_explain_reads_well(installed: Installation) -> None:
    said = installed.kubectl("explain", "sandbox.spec.forks")
    assert "One workload that the sandbox replaces" in said
    assert "workload\t<string> -required-" in said


def test_the_injected_pods_are_taken(node: Node) -> None:
    """Server-side dry run of everything that the golden files hold, in the namespaces that they name."""
    spaces = set(node.kubectl("get", "namespaces", "-o", "name").split())
    refused = {}
    for file in sorted(GOLDEN.glob("*.out.yaml")):
        name = file.name.removesuffix(".out.yaml")
        documents = parse(file.read_bytes(), name)
        documents = [one for document in documents for one in document.get("items", [document])]
        documents = [one for one in documents if one["kind"] not in ("Namespace", "Service")]
        for document in documents:
            metadata = document["metadata"]
            field = "name" if "name" in metadata else "generateName"
            metadata[field] = f"golden-{metadata[field]}"  # others may be there
            if f"namespace/{metadata['namespace']}" not in spaces:
                node.kubectl("create", "namespace", metadata["namespace"])
                spaces.add(f"namespace/{metadata['namespace']}")
        try:
            node.kubectl("create", "--dry-run=server", "-f", "-", given=dump(documents))
        except NodeError as error:
            refused[name] = str(error)
    assert set(refused) == set(_REFUSED), refused
    for name, said in _REFUSED.items():
        assert said in refused[name]
