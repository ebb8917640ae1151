"""What the injector promises of pods that really run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kubernetes.cluster.images import SKYCAP
from tests.kubernetes.documents import apply, container
from tests.kubernetes.installation import SYSTEM, Installation

SERVE = "import http.server, os; http.server.test(http.server.SimpleHTTPRequestHandler, port=8080, bind='0.0.0.0')"
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name: str, space: str, *containers: dict[str, Any]) -> dict[str, Any]:
    spec = {"terminationGracePeriodSeconds": 1, "containers": list(containers)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": space}, "spec": spec}


def test_a_job_ends(installed: Installation, space: str) -> None:
    """Its sidecar ends when it has ended, and its call goes through the sidecar before that."""
    program = "import urllib.request as u; print(u.urlopen('http://users.shop/users/ada').read())"
    template = {"spec": {"restartPolicy": "Never", "containers": [container("python3", "-c", program)]}}
    metadata = {"name": "report", "namespace": space}
    spec = {"template": template, "backoffLimit": 0}
    apply(installed, {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
    installed.kubectl("-n", space, "wait", "--for=condition=Complete", "job/report", "--timeout=120s")
    (made,) = installed.objects("pods", "-n", space)
    assert made["metadata"]["annotations"]["skycap.dev/injection"] == "injected: trial/report, transparent"
    assert "Ada Lovelace" in installed.kubectl("-n", space, "logs", "job/report")


def test_a_probe_that_connects_waits_for_the_application(installed: Installation, space: str) -> None:
    """The sidecar accepts from the first moment; a pod whose application does not listen is not ready all the same."""
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    silent = container("sleep", "1000", ports=[{"containerPort": 8080}], readinessProbe=probe)
    serving = container("python3", "-c", SERVE, ports=[{"containerPort": 8080}], readinessProbe=probe)
    apply(installed, pod("silent", space, silent), pod("serving", space, serving))
    installed.kubectl("-n", space, "wait", "--for=condition=Ready", "pod/serving", "--timeout=120s")
    installed.kubectl("-n", space, "wait", "--for=condition=Initialized", "pod/silent", "--timeout=120s")

    def refused() -> bool:
        events = installed.objects("events", "-n", space, "--field-selector", "involvedObject.name=silent")
        return any("connection refused" in event["message"] for event in events)

    installed.until(refused, "its probe is refused")
    (found,) = [item for item in installed.objects("pods", "-n", space) if item["metadata"]["name"] == "silent"]
    assert {one["type"]: one["status"] for one in found["status"]["conditions"]}["Ready"] == "False"


@pytest.mark.parametrize(
    "space",
    [{"skycap.dev/mode": "explicit", "pod-security.kubernetes.io/enforce": "restricted"}],
    indirect=True,
    ids=["restricted"],
)
def test_explicit_mode_needs_no_privilege(installed: Installation, space: str) -> None:
    ports = [{"name": "http", "containerPort": 8080}]
    quotes = {"app": "quotes"}
    template = {
        "metadata": {"labels": quotes},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                container(
                    "python3", "-c", SERVE, ports=ports, securityContext=RESTRICTED,
                    readinessProbe={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
                )
            ],
        },
    }  # fmt: skip
    metadata = {"name": "quotes", "namespace": space}
    apply(
        installed,
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"selector": {"matchLabels": quotes}, "template": template},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": quotes, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    )  # fmt: skip
    installed.kubectl("-n", space, "rollout", "status", "deployment/quotes", "--timeout=120s")
    (made,) = installed.objects("pods", "-n", space)
    assert [item["name"] for item in made["spec"]["initContainers"]] == ["skycap-proxy"]
    program = (
        "import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(self):\n  self.send_response(200)\n"
    )
    program += (
        "  self.end_headers()\n  self.wfile.write(b'changed')\nh.HTTPServer(('0.0.0.0', 8080), H).serve_forever()"
    )
    installed.apply("quoted", {"workload": f"{space}/quotes", "image": SKYCAP, "command": ["python3", "-c", program]})
    installed.ready("quoted")
    keyed = installed.request("quotes", "/", key="quoted", namespace=space)
    assert (keyed.body, keyed.served_by) == ("changed", f"{space}/quotes;sandbox=quoted;rev=1")
    assert installed.request("quotes", "/", namespace=space).body != "changed"


def test_without_a_webhook_pods_start_all_the_same(installed: Installation, space: str) -> None:
    installed.kubectl("-n", SYSTEM, "scale", "deployment/skycap", "--replicas=0")
    try:
        installed.until(lambda: not installed.endpoints(SYSTEM, "skycap-webhook"), "nobody answers")
        apply(installed, pod("alone", space, container("sleep", "1000")))
        installed.kubectl("-n", space, "wait", "--for=condition=Ready", "pod/alone", "--timeout=60s")
        (found,) = installed.objects("pods", "-n", space)
        assert "initContainers" not in found["spec"]
    finally:
        installed.kubectl("-n", SYSTEM, "scale", "deployment/skycap", "--replicas=2")
        installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
        installed.until(lambda: len(installed.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")
