"""What the manifests say, as far as no cluster is needed to judge it; the others are in tests/kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).parents[3] / "manifests"
BUSY_SECONDS = 5
"""In which a process answers that has a thousand Sandboxes to look after, or a tenth of a processor."""


def found(file: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((MANIFESTS / file).read_text()) if one and one["kind"] == kind]


@pytest.mark.parametrize("file", ["base/controlplane.yaml", "components/gateway/gateway.yaml"])
def test_who_is_busy_is_neither_restarted_nor_left_without_requests(file: str) -> None:
    containers = [
        container for one in found(file, "Deployment") for container in one["spec"]["template"]["spec"]["containers"]
    ]
    probes = [probe for one in containers for name, probe in one.items() if name.endswith("Probe")]
    assert len(probes) == 3
    assert all(probe.get("timeoutSeconds", 1) >= BUSY_SECONDS for probe in probes), "Kubernetes' own default is 1 s"


def test_a_webhook_that_is_busy_is_waited_for() -> None:
    (configuration,) = found("base/webhook.yaml", "MutatingWebhookConfiguration")
    for hook in configuration["webhooks"]:
        assert hook["failurePolicy"] == "Ignore", "a pod that is refused serves nobody"
        assert hook["timeoutSeconds"] == 10, "a pod that nobody was asked about has no sidecar"
