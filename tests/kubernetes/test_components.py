"""What the base is without: the gateway and the ways to it, certificates of cert-manager, figures for Prometheus."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from controlplane.kubernetes.certificates import make
from tests.kubernetes.cluster import programs
from tests.kubernetes.cluster.images import REPOSITORY
from tests.kubernetes.installation import SYSTEM, Installation, users
from tests.kubernetes.test_commands import Person

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


def test_the_readmes_overlays_are_taken(installed: Installation) -> None:
    """The documents of manifests/README.md, as a person copies them."""
    readme = (REPOSITORY / "manifests/README.md").read_text()
    (previews,) = (block for block in _blocks(readme) if "components/gateway" in block)
    (narrow,) = (block for block in _blocks(readme) if block.startswith("patches:"))
    base = "resources: [../manifests]\n"
    narrowed = f"{base}components: [../manifests/components/namespaces]\n{narrow}"
    for overlay, changed in ((previews, "url: https://preview.your.example"), (narrowed, "namespace: bank")):
        root = installed.folder / "readme"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(REPOSITORY / "manifests", root / "manifests")
        (root / "overlay").mkdir()
        (root / "overlay/kustomization.yaml").write_text(overlay)
        made = installed.kubectl("kustomize", str(root / "overlay"))
        assert changed in made


def _blocks(text: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)


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


def test_a_certificate_of_somebody_else(installed: Installation, defined: Installation) -> None:
    """What cert-manager does is done by hand here: the Secret, and the bundle of the webhook's configuration."""
    secret = ["-n", SYSTEM, "delete", "secret", "skycap-webhook"]
    names = [f"skycap-webhook.{SYSTEM}.svc", f"skycap-webhook.{SYSTEM}.svc.cluster.local"]
    pair = make(names, datetime.now(UTC))
    data = {
        "tls.crt": pair.certificate,
        "tls.key": pair.key,
        "ca.crt": pair.authority,
    }
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "skycap-webhook", "namespace": SYSTEM},
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }
    bundle = base64.b64encode(pair.authority).decode()
    installed.kubectl("apply", "-f", "-", given=installed.manifests("", ("cert-manager",)))
    try:
        installed.kubectl(*secret)
        installed.kubectl("create", "-f", "-", given=json.dumps(document))
        patch = [
            {"op": "replace", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": bundle} for number in (0, 1)
        ]
        hook = ["mutatingwebhookconfiguration", "skycap", "--type=json", "-p", json.dumps(patch)]
        installed.kubectl("patch", *hook)
        installed.kubectl("-n", SYSTEM, "rollout", "restart", "deployment/skycap")
        installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
        installed.until(lambda: bool(installed.leader()), "one replica leads")
        tried = ["-n", "shop", "run", "tried", "--image=skycap", "--dry-run=server", "-o", "json"]
        installed.until(lambda: "skycap-proxy" in installed.kubectl(*tried), "the API server trusts it")
        assert installed.hook_bundle() == bundle, "ours was put over it"
    finally:
        for kind in ("certificate", "issuer"):
            installed.kubectl("-n", SYSTEM, "delete", f"{kind}.cert-manager.io", "skycap-webhook", "--ignore-not-found")
        installed.kubectl(*secret, "--ignore-not-found")
        _again(installed)


def _again(installed: Installation) -> None:
    """As it was installed."""
    installed.kubectl("apply", "-f", "-", given=installed.manifests())
    installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
    installed.kubectl("-n", SYSTEM, "rollout", "restart", "deployment/skycap")
    installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
    installed.until(lambda: len(installed.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")
    tried = ["-n", "shop", "run", "tried", "--image=skycap", "--dry-run=server", "-o", "json"]
    installed.until(lambda: "skycap-proxy" in installed.kubectl(*tried), "the webhook answers")


def test_named_namespaces_only(installed: Installation, tmp_path: Path) -> None:
    installed.kubectl("apply", "-f", "-", given=installed.manifests("", ("namespaces",)))
    installed.kubectl("delete", "clusterrolebinding", "skycap-shadows")  # an installation that begins so never has it
    try:
        installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
        installed.until(lambda: len(installed.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")
        installed.apply("narrow", users("users_v2"))
        installed.ready("narrow")
        assert "shop/users;sandbox=narrow;rev=1" in installed.checkout("narrow").served_by
        installed.apply("wide", {"workload": f"{SYSTEM}/skycap", "image": "skycap"})
        installed.until(lambda: installed.condition("wide")["reason"] == "Invalid", "it is refused")
        assert "is no namespace in which this installation starts shadows: it has shop" in str(
            installed.condition("wide")
        )
        assert "is interrupted" not in installed.kubectl("-n", SYSTEM, "logs", installed.leader())
        account = f"system:serviceaccount:{SYSTEM}:skycap"
        for what, namespace in (("pods", "default"), ("deployments", "kube-system")):
            said = installed.kubectl("auth", "can-i", "list", what, "-n", namespace, f"--as={account}", check=False)
            assert said.strip() == "no"
        said = Person(installed, installed.node.kubeconfig, tmp_path)("doctor").stdout
        assert f"the control plane ({account}) may do what it has to" in said
    finally:
        installed.kubectl("delete", "sandboxes", "--all", "--timeout=60s")
        installed.kubectl("-n", "shop", "delete", "rolebinding", "skycap-shadows")
        _again(installed)
