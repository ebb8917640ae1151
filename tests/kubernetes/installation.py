"""Skycap as its manifests install it, and the shop beside it, as a person with kubectl has them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kubernetes.cluster.images import REPOSITORY, SKYCAP
from tests.kubernetes.cluster.node import Node

SERVICES = ("frontend", "users", "catalog", "orders", "payments", "rates")
SYSTEM = "skycap-system"

_OVERLAY = """\
resources: [{resources}]
components: [{components}]
images: [{{name: skycap, newName: {name}, newTag: {tag}}}]
patches:
- target: {{kind: Deployment}}
  patch: |-
    - {{op: add, path: /spec/template/spec/containers/0/imagePullPolicy, value: Never}}
"""


@dataclass(frozen=True)
class Reply:
    status: int
    fields: dict[str, str]
    body: str

    @property
    def served_by(self) -> str:
        return self.fields.get("skycap-served-by", "")


class Installation:
    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.kubectl = node.kubectl
        self._addresses: dict[tuple[str, str], str] = {}

    def manifests(self, which: str = "", components: Sequence[str] = ()) -> str:
        """As `kubectl kustomize` makes them, with the image that the node has."""
        root = self.folder / (which.replace("/", "-") or "all")
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(REPOSITORY / "manifests", root / "manifests")
        name, _, tag = SKYCAP.rpartition(":")
        with_them = ", ".join(f"manifests/components/{component}" for component in components)
        overlay = _OVERLAY.format(resources=f"manifests/{which}", components=with_them, name=name, tag=tag)
        (root / "kustomization.yaml").write_text(overlay)
        return self.kubectl("kustomize", str(root))

    def install(self) -> None:
        self.kubectl("apply", "-f", "-", given=self.manifests())
        self.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
        self.until(lambda: bool(self.hook_bundle()), "the API server trusts the webhook")
        self.until(lambda: len(self.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")
        self.kubectl("apply", "-f", "-", given=self.manifests("demo"))
        for service in SERVICES:
            self.kubectl("-n", "shop", "rollout", "status", f"deployment/{service}", "--timeout=180s")
        self.until(lambda: len(self.sidecars()) == len(SERVICES), "every sidecar watches")

    def clear(self) -> None:
        """Delete the test's Sandboxes, and wait until no shadow is left."""
        self.kubectl("delete", "sandboxes", "--all", "--timeout=60s")
        self.until(lambda: not self.shadows(), "no shadow is left")

    # -- what is there ------------------------------------------------------------------------------------------------

    def objects(self, *what: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", *what, "-o", "json"))["items"]
        return items

    def sandbox(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "sandbox", name, "-o", "json"))
        return found

    def condition(self, name: str, kind: str = "Ready") -> dict[str, Any]:
        conditions = (self.sandbox(name).get("status") or {}).get("conditions") or []
        return next((one for one in conditions if one["type"] == kind), {"status": "", "reason": "", "message": ""})

    def shadows(self) -> list[str]:
        pods = self.objects("pods,deployments", "-A", "-l", "skycap.dev/sandbox")
        return [item["metadata"]["name"] for item in pods]

    def endpoints(self, namespace: str, service: str) -> list[str]:
        slices = self.objects("endpointslices", "-n", namespace, "-l", f"kubernetes.io/service-name={service}")
        ready = (one for item in slices for one in item["endpoints"] or () if one["conditions"]["ready"])
        return [address for one in ready for address in one["addresses"]]

    def hook_bundle(self) -> str:
        (found,) = self.objects("mutatingwebhookconfigurations", "-l", "!nothing")
        return str(found["webhooks"][0]["clientConfig"].get("caBundle") or "")

    def leader(self) -> str:
        pods = self.objects("pods", "-n", SYSTEM, "-l", "skycap.dev/leader=true")
        return str(pods[0]["metadata"]["name"]) if len(pods) == 1 else ""

    def sidecars(self) -> list[dict[str, Any]]:
        """Those that watch, of the baselines."""
        listed = self.ask("GET", "/v1/sidecars")
        return [item for item in listed.get("items", []) if item["connected"]]

    # -- requests -----------------------------------------------------------------------------------------------------

    def address(self, service: str, namespace: str = "shop") -> str:
        """Of a Service; those of namespaces that come and go are asked for each time."""
        if (namespace, service) not in self._addresses or namespace not in ("shop", SYSTEM):
            given = self.kubectl("-n", namespace, "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
            self._addresses[namespace, service] = given
        return self._addresses[namespace, service]

    def request(
        self,
        service: str,
        path: str,
        *,
        key: str = "",
        method: str = "GET",
        seconds: int = 30,
        namespace: str = "shop",
        port: int = 80,
    ) -> Reply:
        command = [
            "curl",
            "-s",
            "-i",
            "-m",
            str(seconds),
            "-X",
            method,
            f"http://{self.address(service, namespace)}:{port}{path}",
        ]
        if key:
            command += ["-H", f"baggage: routing-key={key}"]
        with self.node.inside():
            said = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        head, _, body = said.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Reply(int(first.split()[1]), fields, body)

    def checkout(self, key: str = "") -> Reply:
        return self.request("frontend", "/checkout?user=ada&item=tea", key=key, method="POST")

    def token(self) -> str:
        secret = json.loads(self.kubectl("-n", SYSTEM, "get", "secret", "skycap-tokens", "-o", "json"))
        return base64.b64decode(secret["data"]["user"]).decode()

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """The control plane's REST; {} when it does not answer."""
        url = f"http://{self.address('skycap', SYSTEM)}:7070{path}"
        command = ["curl", "-s", "-m", "5", "-X", method, url, "-H", f"authorization: Bearer {self.token()}"]
        with self.node.inside():
            said = subprocess.run(command, capture_output=True, text=True).stdout
        answer: dict[str, Any] = json.loads(said) if said.startswith("{") else {}
        return answer

    def page(self, path: str) -> str:
        """What the control plane shows there."""
        url = f"http://{self.address('skycap', SYSTEM)}:7070{path}"
        with self.node.inside():
            command = ["curl", "-s", "-m", "5", url, "-H", f"authorization: Bearer {self.token()}"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def skycap(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line of a person whose shell is a client of the cluster."""
        token = self.folder / "token"
        token.write_text(self.token())
        registry = ["--registry", f"http://{self.address('skycap', SYSTEM)}:7070", "--token-file", str(token)]
        command = [str(Path(sys.executable).parent / "skycap"), *arguments, *registry]
        with self.node.inside():
            return subprocess.run(command, capture_output=True, text=True)

    # -- sandboxes ----------------------------------------------------------------------------------------------------

    def apply(self, name: str, *forks: dict[str, Any], **spec: Any) -> None:
        document = {
            "apiVersion": "skycap.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": name},
            "spec": {"ttl": "1h", "forks": list(forks), **spec},
        }
        self.kubectl("apply", "-f", "-", given=json.dumps(document))

    def ready(self, name: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", f"sandbox/{name}", "--timeout=120s")

    def until(self, reached: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for it."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, f"after {seconds:g} s it is still not so that {what}"
            time.sleep(0.1)

    @contextmanager
    def watching(self, *what: str) -> Iterator[Iterator[str]]:
        """The lines of `kubectl get --watch`, as they come."""
        with self.node.begin("get", "--watch", *what) as watch:
            assert watch.stdout is not None
            try:
                yield iter(watch.stdout)
            finally:
                watch.kill()


def users(program: str) -> dict[str, Any]:
    """A fork of the shop's users that runs another program of the same image."""
    return {
        "workload": "shop/users",
        "image": SKYCAP,
        "command": ["python3", "-m", f"controlplane.demo.shop.{program}"],
    }
