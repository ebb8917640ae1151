"""The sidecar in a pod that runs: an ephemeral container, which the cluster adds without a restart.

It has no mounts of its own, no probes, no ports that anybody knows by name, and nobody starts it again: so it looks
after itself (`controlplane.intercept.held`), and its token, which is for one pod and some hours, comes as a variable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.intercept.held import IN_FORCE
from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.decide import decide
from controlplane.kubernetes.decision import Decision, Installation, Namespace
from controlplane.kubernetes.names import AUDIENCE, ENABLED, INJECT, PROXY, SANDBOX, SYSTEM, TRANSPARENT
from controlplane.kubernetes.patch import intercept_container, proxy_container
from controlplane.kubernetes.probes import metrics_ports

KINDS = ("deployments", "statefulsets", "daemonsets")

NAME = "skycap-attached"
"""An ephemeral container stays in the pod's list for ever, so that the next one is called otherwise."""

START_SECONDS = 60.0
LOOK_SECONDS = 0.3

_END = ["python3", "-c", "import os; os.kill(1, 15)"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one pod. ok: it has a sidecar now, or none any more."""

    pod: str
    ok: bool
    said: str


class Workload:
    """name: `namespace/name`."""

    def __init__(self, kubernetes: Kubernetes, name: str) -> None:
        self._kubernetes = kubernetes
        self.name = name
        self.namespace, _, self._short = name.partition("/")

    async def pods(self) -> list[Object]:
        """Those that run now. Raises KubernetesError."""
        for kind in KINDS:
            try:
                found = await self._kubernetes.get(path("apps/v1", kind, self._short, self.namespace))
            except KubernetesError as error:
                if error.status != 404:
                    raise
                continue
            labels = (found["spec"]["selector"].get("matchLabels") or {}).items()
            selector = ",".join([*(f"{key}={value}" for key, value in labels), f"!{SANDBOX}"])
            listed = await self._kubernetes.get(path("v1", "pods", namespace=self.namespace), labelSelector=selector)
            return [pod for pod in listed["items"] if _runs(pod)]
        raise KubernetesError(404, "NotFound", f"there is no Deployment, StatefulSet or DaemonSet {self.name}")

    async def attach(self, seconds: int) -> list[Outcome]:
        """Raises KubernetesError."""
        installation, namespace = await asyncio.gather(
            self._installation(), self._kubernetes.get(path("v1", "namespaces", self.namespace))
        )
        labels = {**(namespace["metadata"].get("labels") or {}), INJECT: ENABLED}
        pods = await self.pods()
        return await asyncio.gather(
            *(self._attach(pod, Namespace(self.namespace, labels), installation, seconds) for pod in pods)
        )

    async def detach(self) -> list[Outcome]:
        """Raises KubernetesError."""
        return [one for pod in await self.pods() for one in [await self._detach(pod)] if one is not None]

    async def _installation(self) -> Installation:
        found = await self._kubernetes.get(path("apps/v1", "deployments", "skycap", SYSTEM))
        container = found["spec"]["template"]["spec"]["containers"][0]
        policy = str(container.get("imagePullPolicy") or "")
        return Installation(container["image"], f"http://skycap.{SYSTEM}.svc:7070", policy)

    async def _attach(self, pod: Object, namespace: Namespace, installation: Installation, seconds: int) -> Outcome:
        name = pod["metadata"]["name"]
        if running(pod) or any(one["name"] == PROXY for one in pod["spec"].get("initContainers") or ()):
            return Outcome(name, True, "has a sidecar already")
        decision = decide(pod, namespace, installation)
        if decision.injection is None:
            return Outcome(name, False, f"{decision.sentence()}; {decision.reason.advice}".rstrip("; "))
        if decision.injection.mode != TRANSPARENT:
            return Outcome(name, False, "explicit mode moves the ports of a pod, which cannot be done while it runs")
        try:
            token = await self._token(pod, seconds)
            container = ephemeral(pod, decision, installation, token, seconds)
            place = path("v1", "pods", name, self.namespace)
            await self._kubernetes.strategic(
                f"{place}/ephemeralcontainers", {"spec": {"ephemeralContainers": [container]}}
            )
            return Outcome(name, *await self._begun(name, container["name"]))
        except KubernetesError as error:
            return Outcome(name, False, str(error))

    async def _token(self, pod: Object, seconds: int) -> str:
        account = pod["spec"].get("serviceAccountName") or "default"
        reference = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        spec = {"audiences": [AUDIENCE], "expirationSeconds": seconds, "boundObjectRef": reference}
        wanted: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        made = await self._kubernetes.create(path("v1", "serviceaccounts", account, self.namespace, "token"), wanted)
        return str(made["status"]["token"])

    async def _begun(self, pod: str, container: str) -> tuple[bool, str]:
        """Wait until connections are led through it."""
        place = path("v1", "pods", pod, self.namespace)
        loop = asyncio.get_running_loop()
        end, said = loop.time() + START_SECONDS, "it has not begun"
        while loop.time() < end:
            state = _states(await self._kubernetes.get(place)).get(container) or {}
            if "running" in state or "terminated" in state:
                try:
                    output = await self._kubernetes.text(f"{place}/log", container=container, tailLines="50")
                except KubernetesError as error:
                    output = str(error)
                if IN_FORCE in output and "running" in state:
                    return True, f"has a sidecar, {container}"
                said = output.strip().splitlines()[-1] if output.strip() else said
                if "terminated" in state:
                    return False, f"the sidecar ended: {said}"
            elif waits := state.get("waiting"):
                said = f"{waits.get('reason')}: {waits.get('message', '')}".rstrip(": ")
            await asyncio.sleep(LOOK_SECONDS)
        return False, said

    async def _detach(self, pod: Object) -> Outcome | None:
        name = pod["metadata"]["name"]
        place = path("v1", "pods", name, self.namespace)
        ended = running(pod)
        if not ended:
            return None
        try:
            for container in ended:
                await self._kubernetes.execute(place, container, _END)
            end = asyncio.get_running_loop().time() + START_SECONDS
            while left := running(await self._kubernetes.get(place)):
                if asyncio.get_running_loop().time() > end:
                    return Outcome(name, False, f"{', '.join(left)} does not end")
                await asyncio.sleep(LOOK_SECONDS)
        except KubernetesError as error:
            return Outcome(name, False, str(error))
        return Outcome(name, True, "is without it again")


def ephemeral(
    pod: Mapping[str, Any], decision: Decision, installation: Installation, token: str, seconds: int
) -> dict[str, Any]:
    """The container: what injection would add, in one."""
    injection = decision.injection
    assert injection is not None
    proxy = proxy_container(injection, installation)
    excluded = (*injection.knobs.exclude_inbound_ports, *metrics_ports(pod))
    rules = intercept_container(injection, installation, excluded, [])["command"][3:]
    sidecar = _without(proxy["command"], ("--token-file", "--admin"))
    used = [one["name"] for one in pod["spec"].get("ephemeralContainers") or ()]
    taken = sum(name.startswith(NAME) for name in used)
    return {
        "name": f"{NAME}-{taken + 1}",
        "image": proxy["image"],
        **({"imagePullPolicy": proxy["imagePullPolicy"]} if "imagePullPolicy" in proxy else {}),
        "command": ["skycap", "intercept", "hold", "--seconds", str(seconds), *rules, "--", *sidecar],
        "env": [*proxy["env"], {"name": "SKYCAP_HELD_TOKEN", "value": token}],
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            # The rules; to run the sidecar as its own user; to end it.
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "SETUID", "SETGID", "KILL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _without(command: list[str], options: tuple[str, ...]) -> list[str]:
    """Options with one value each are left out."""
    kept, skip = [], False
    for word in command:
        if not skip and word not in options:
            kept.append(word)
        skip = word in options
    return kept


def running(pod: Mapping[str, Any]) -> list[str]:
    """The names of sidecars of ours that are attached to it now."""
    states = _states(pod)
    return [name for name, state in states.items() if name.startswith(NAME) and "terminated" not in state]


def connecting_probes(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Containers whose probes only connect: they meet the sidecar, which always accepts."""
    kinds = ("livenessProbe", "readinessProbe", "startupProbe")
    found = {
        container["name"]
        for pod in pods
        for container in pod["spec"]["containers"]
        if any("tcpSocket" in (container.get(kind) or {}) for kind in kinds)
    }
    return sorted(found)


def _runs(pod: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and (pod.get("status") or {}).get("phase") == "Running"


def _states(pod: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Of the ephemeral containers; one that has just been added has none yet."""
    told = (pod.get("status") or {}).get("ephemeralContainerStatuses") or ()
    found: dict[str, Mapping[str, Any]] = {one["name"]: {} for one in pod["spec"].get("ephemeralContainers") or ()}
    return found | {one["name"]: one.get("state") or {} for one in told}
