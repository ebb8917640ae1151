"""What the base is without: the gateway and the ways to it, certificates of cert-manager, figures for Prometheus."""

from __future__ import annotations

import json
import subprocess
from urllib.parse import urlsplit

import pytest

from tests.kubernetes.cluster import programs
from tests.kubernetes.installation import SYSTEM, Installation, users

ALL = ("gateway", "ingress", "httproute", "cert-manager")


@pytest.fixture(scope="module")
def defined(whole_installation: Installation) -> Installation:
    """With the definitions of the Gateway API and cert-manager, as those publish them."""
    for file in programs.definitions():
        whole_installation.kubectl("apply", "--server-side", "-f", str(file))
        name = json.loads(whole_installation.kubectl("get", "-f", str(file), "-o", "json"))["metadata"]["name"]
        whole_installation.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")
    return whole_installation


@pytest.mark.parametrize("components", [*((one,) for one in ALL if one not in ("ingress", "httproute")), ALL])
def test_the_api_server_takes_them(installed: Installation, defined: Installation, components: tuple[str, ...]) -> None:
    made = installed.manifests("", components)
    said = installed.kubectl("apply", "--dry-run=server", "-f", "-", given=made)
    assert "unchanged" in said or "configured" in said


def fetched(installed: Installation, url: str, host: str = "") -> tuple[int, str]:
    """The status, and the whole of head and body."""
    command = ["curl", "-s", "-i", "-m", "10", url, *(["-H", f"host: {host}"] if host else [])]
    with installed.node.inside():
        said = subprocess.run(command, capture_output=True, text=True).stdout
    return int(said.split()[1]) if said.startswith("HTTP/") else 0, said


def test_a_preview_link(installed: Installation) -> None:
    installed.kubectl("apply", "-f", "-", given=installed.manifests("", ("gateway", "ingress")))
    try:
        for name in ("skycap", "skycap-gateway"):
            installed.kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{name}", "--timeout=120s")
        installed.until(lambda: len(installed.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")
        installed.apply("shown", users("users_v2"), previews=[{"name": "web", "workload": "shop/frontend"}])
        installed.ready("shown")
        made = installed.skycap("sandbox", "link", "shown", "--workload", "shop/frontend", "-o", "json")
        assert made.returncode == 0, made.stderr
        link = urlsplit(json.loads(made.stdout)["url"])
        assert link.hostname is not None
        assert link.hostname.endswith(".preview.example.com")
        gateway = f"http://{installed.address('skycap-gateway', SYSTEM)}"
        path = "/checkout?user=ada&item=tea"

        def post() -> str:
            command = ["curl", "-s", "-i", "-m", "10", "-X", "POST", f"{gateway}{path}", "-H", f"host: {link.netloc}"]
            with installed.node.inside():
                return subprocess.run(command, capture_output=True, text=True).stdout

        installed.until(lambda: "shop/users;sandbox=shown;rev=1" in post(), "the link leads into the sandbox")
        assert "10.80 EUR" in post()
        stranger = "a" * 26 + "--web.preview.example.com"
        assert fetched(installed, gateway, stranger)[0] == 404
        pods = installed.objects("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=skycap-gateway")
        status, figures = fetched(installed, f"http://{pods[0]['status']['podIP']}:9901/metrics")
        assert (status, "skycap_" in figures) == (200, True)
    finally:
        installed.kubectl("delete", "sandboxes", "--all", "--timeout=60s")
        gone = [
            "deployment",
            "service",
            "configmap",
            "serviceaccount",
            "poddisruptionbudget",
            "networkpolicy",
            "ingress",
        ]
        for kind in gone:
            installed.kubectl("-n", SYSTEM, "delete", kind, "skycap-gateway", "--ignore-not-found")
        _again(installed)


def test_figures_of_every_replica(installed: Installation) -> None:
    pods = installed.objects("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=skycap")
    told = {}
    for pod in pods:
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        url = f"http://{pod['status']['podIP']}:{annotations['prometheus.io/port']}{annotations['prometheus.io/path']}"
        told[pod["metadata"]["name"]] = fetched(installed, url)[1]
    assert sum("skycap_replica_leads 1.0" in said for said in told.values()) == 1
    leading = told[installed.leader()]
    assert "skycap_registry_sidecars" in leading
    assert any('skycap_injector_decisions_total{reason="injected"}' in said for said in told.values())


def _again(installed: Installation) -> None:
    """As it was installed."""
    installed.kubectl("apply", "-f", "-", given=installed.manifests())
    installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
    installed.kubectl("-n", SYSTEM, "rollout", "restart", "deployment/skycap")
    installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
    installed.until(lambda: len(installed.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")
    tried = ["-n", "shop", "run", "tried", "--image=skycap", "--dry-run=server", "-o", "json"]
    installed.until(lambda: "skycap-proxy" in installed.kubectl(*tried), "the webhook answers")
