"""What a pod's status says: does it serve, is it still coming, or will it never, and why. Pure.

The kubelet tries again for ever; whoever waits wants the reason at once. So the first image that cannot be pulled, and
the first container that ends, count: what comes of later attempts is seen when there are any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.kubernetes.names import PROXY
from controlplane.kubernetes.probes import port_number

Pod = dict[str, Any]

_NEVER = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and may not be pulled",
    "InvalidImageName": "its image has no valid name",
    "RegistryUnavailable": "its image's registry is not available",
    "CreateContainerConfigError": "its container cannot be configured",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be run",
    "StartError": "its container cannot be started",
    "ContainerCannotRun": "its container cannot be run",
}
"""Reasons of the kubelet (pkg/kubelet/images/types.go, pkg/kubelet/container/sync_result.go) in a sentence."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    ready:     it serves.
    failed:    it will not, or not by itself. Neither: it is coming.
    sentence:  why not, "" when it serves.
    container: whose last lines say more, "" where none has any.
    restarted: those lines are of the container's previous run.
    """

    ready: bool = False
    failed: bool = False
    sentence: str = ""
    container: str = ""
    restarted: bool = False


def judge(pod: Pod) -> Verdict:
    """What becomes of a pod, by its status."""
    status = pod.get("status") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    if pod["metadata"].get("deletionTimestamp"):
        return Verdict(failed=True, sentence="its pod is being deleted")
    if status.get("phase") in ("Failed", "Succeeded"):
        said = status.get("message") or status.get("reason") or "its pod has ended"
        return Verdict(failed=True, sentence=f"its pod has ended: {said}", container=_first(pod))
    if (conditions.get("Ready") or {}).get("status") == "True" and status.get("podIP"):
        return Verdict(ready=True)
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Verdict(failed=True, sentence=f"no node takes it: {scheduled.get('message', '')}")
    for item in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        verdict = _container(item, goes_on=_goes_on(pod, item["name"]))
        if verdict is not None:
            return verdict
    waiting = next((name for name, item in conditions.items() if item.get("status") == "False" and name == "Ready"), "")
    said = conditions.get(waiting, {}).get("message") or status.get("phase") or "it has no status yet"
    return Verdict(sentence=f"it is not ready: {said}", container=_first(pod))


def _container(status: Mapping[str, Any], *, goes_on: bool) -> Verdict | None:
    name = status["name"]
    state = status.get("state") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    reason = waiting.get("reason", "")
    if reason in _NEVER:
        message = waiting.get("message") or reason
        return Verdict(failed=True, sentence=f"{_NEVER[reason]} (container {name}): {message}")
    crashed = state.get("terminated") or (ended if reason == "CrashLoopBackOff" else None)
    if crashed is None or (crashed.get("exitCode") == 0 and not goes_on):
        return None
    code = crashed.get("exitCode")
    why = "it was killed for want of memory" if crashed.get("reason") == "OOMKilled" else f"it ended with code {code}"
    return Verdict(
        failed=True,
        sentence=f"container {name}: {why}" + (f": {crashed['message']}" if crashed.get("message") else ""),
        container=name,
        restarted="terminated" not in state,
    )


def _goes_on(pod: Pod, name: str) -> bool:
    """It is no init container that does something and ends."""
    spec = pod["spec"]
    if any(item["name"] == name for item in spec["containers"]):
        return True
    return any(
        item["name"] == name and item.get("restartPolicy") == "Always" for item in spec.get("initContainers") or ()
    )


def _first(pod: Pod) -> str:
    return str(pod["spec"]["containers"][0]["name"])


def endpoint(pod: Pod, wanted: int | str | None = None) -> str:
    """Where the pod serves, HOST:PORT; "" when it names no port.

    wanted: the port that the workload's Service leads to, by number or name. In explicit mode a port's name has moved
    to the sidecar.
    """
    address = str((pod.get("status") or {}).get("podIP") or "")
    number = _port(pod, wanted)
    if not address or number is None:
        return ""
    return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"


def moved_ports(template: Mapping[str, Any], pod: Pod, wanted: Iterable[int | str]) -> dict[str, int]:
    """Which ports of the baseline have another number in the shadow's pod.

    template: of the baseline's pods, which are known by their names here; wanted: as Services name them.
    """
    found = {}
    for name in wanted:
        if isinstance(name, str):
            numbers = (port_number(container, name) for container in template["spec"]["containers"])
            before, now = next((number for number in numbers if number is not None), None), _port(pod, name)
            if before is not None and now is not None and before != now:
                found[str(before)] = now
    return found


def _port(pod: Pod, wanted: int | str | None) -> int | None:
    spec = pod["spec"]
    proxies = [item for item in spec.get("initContainers") or () if item["name"] == PROXY]
    moved = [port for item in proxies for port in (item.get("ports") or ())[1:]]  # the first is its admin port
    for container in (*proxies, *spec["containers"]):
        if isinstance(wanted, str) and (found := port_number(container, wanted)) is not None:
            return found
    if isinstance(wanted, int):
        return wanted
    listed = moved or [port for item in spec["containers"] for port in item.get("ports") or ()]
    tcp = [port for port in listed if port.get("protocol", "TCP") == "TCP"]
    preferred = [port for port in tcp if str(port.get("name", "")).startswith("http")]
    return int((preferred or tcp)[0]["containerPort"]) if tcp else None


def newest(pods: Iterable[Pod]) -> Pod | None:
    """The one that was made last, of those that are not being deleted if there are any."""

    def age(pod: Pod) -> tuple[bool, str]:
        return "deletionTimestamp" not in pod["metadata"], pod["metadata"].get("creationTimestamp", "")

    return max(pods, key=age, default=None)
