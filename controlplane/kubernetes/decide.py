"""Is a pod injected, and if not, why. Pure: a pod, its namespace and the installation in, a decision out.

A pod that cannot be injected without harm is left as it is: an application that runs without a sidecar serves the
baseline, one that does not run serves nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from controlplane.kubernetes.annotations import AnnotationsError, read_knobs
from controlplane.kubernetes.decision import INJECTED, REASONS, Decision, Injection, Installation, Namespace
from controlplane.kubernetes.names import (
    DISABLED,
    ENABLED,
    EXPLICIT,
    EXPLICIT_PORT,
    GROUP,
    INJECT,
    INTERCEPT,
    MODE,
    POD_SECURITY,
    PROXY,
    REVISION,
    ROUTING_KEY,
    SANDBOX,
    SYSTEM_NAMESPACES,
    TOKEN,
    TRANSPARENT,
)
from controlplane.kubernetes.owner import workload_name
from controlplane.kubernetes.patch import without_sidecar
from proxy.contract.interception import INBOUND_PORT, OUTBOUND_PORT, SIDECAR_ID
from proxy.contract.names import ROUTING_KEY as ROUTING_KEY_GRAMMAR
from proxy.contract.names import SANDBOX as SANDBOX_GRAMMAR
from proxy.contract.names import WORKLOAD as WORKLOAD_GRAMMAR

Pod = Mapping[str, Any]


def decide(pod: Pod, namespace: Namespace, installation: Installation) -> Decision:
    """What becomes of a pod that is about to be created. An injected pod is looked at as it was before."""
    pod = without_sidecar(pod)
    if (refused := _asked_for(pod, namespace, installation) or _possible(pod)) is not None:
        return refused
    try:
        injection = _injection(pod, namespace, installation)
    except AnnotationsError as error:
        return _no("annotation", str(error))
    if not WORKLOAD_GRAMMAR.fullmatch(injection.workload):
        return _no("no-workload-name", f"{injection.workload!r} is not NAMESPACE/NAME in DNS labels")
    if injection.mode == TRANSPARENT and (mesh := _mesh(pod, namespace)):
        return _no("other-mesh", mesh)
    refused = _room(pod, injection) or _way(pod, namespace, installation, injection)
    return refused or Decision(INJECTED, injection=injection)


def _no(code: str, detail: str = "") -> Decision:
    return Decision(REASONS[code], detail)


def _asked_for(pod: Pod, namespace: Namespace, installation: Installation) -> Decision | None:
    if namespace.name in SYSTEM_NAMESPACES or namespace.name == installation.namespace:
        return _no("system-namespace", namespace.name)
    metadata = pod.get("metadata") or {}
    of_pod = [str(metadata[part][INJECT]) for part in ("annotations", "labels") if INJECT in (metadata.get(part) or {})]
    of_namespace = namespace.labels.get(INJECT)
    for said in (*of_pod, *filter(None, (of_namespace,))):
        if said not in (ENABLED, DISABLED):
            return _no("annotation", f"{INJECT}: {said!r} is neither {ENABLED} nor {DISABLED}")
    if DISABLED in of_pod:
        return _no("disabled")
    if ENABLED in of_pod or of_namespace == ENABLED:
        return None
    return _no("namespace-disabled" if of_namespace == DISABLED else "not-enabled")


def _possible(pod: Pod) -> Decision | None:
    """Whether a sidecar can stand in this pod at all."""
    spec = pod.get("spec") or {}
    if spec.get("hostNetwork"):
        return _no("host-network")
    os_name = (spec.get("os") or {}).get("name") or (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    if os_name == "windows":
        return _no("windows")
    if "kubernetes.io/config.mirror" in ((pod.get("metadata") or {}).get("annotations") or {}):
        return _no("mirror-pod")
    if not spec.get("containers"):
        return _no("no-containers")
    return None


def _injection(pod: Pod, namespace: Namespace, installation: Installation) -> Injection:
    """Raises AnnotationsError."""
    metadata = pod.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    knobs = read_knobs(annotations)
    problems = []
    mode = knobs.mode or namespace.labels.get(MODE) or installation.mode
    if mode not in (TRANSPARENT, EXPLICIT):
        problems.append(f"the namespace's {MODE}: {mode!r} is none of {TRANSPARENT}, {EXPLICIT}")
    sandbox = str((metadata.get("labels") or {}).get(SANDBOX, ""))
    key, revision = str(annotations.get(ROUTING_KEY, sandbox)), str(annotations.get(REVISION, "1"))
    if sandbox:
        if not SANDBOX_GRAMMAR.fullmatch(sandbox):
            problems.append(f"{SANDBOX}: {sandbox!r} is not a DNS label")
        if not ROUTING_KEY_GRAMMAR.fullmatch(key):
            problems.append(f"{ROUTING_KEY}: {key!r} is not 1 to 63 characters of A-Za-z0-9._-")
        if not (revision.isascii() and revision.isdigit() and 1 <= int(revision[:17]) <= 2**53):
            problems.append(f"{REVISION}: {revision!r} is no revision")
    if problems:
        raise AnnotationsError(problems)
    workload = f"{namespace.name}/{workload_name(pod)}"
    if sandbox:
        return Injection(workload, mode, knobs, sandbox, key, int(revision))
    return Injection(workload, mode, knobs)


def _room(pod: Pod, injection: Injection) -> Decision | None:
    """Whether the names, the user and the ports that the sidecar needs are free."""
    spec = pod["spec"]
    for kind, item in _named(spec):
        if item.get("name") in (PROXY, INTERCEPT, TOKEN):
            return _no("name-taken", f"{kind} {item['name']}")
    transparent = injection.mode == TRANSPARENT
    taken = {injection.knobs.admin_port, *((INBOUND_PORT, OUTBOUND_PORT) if transparent else (EXPLICIT_PORT,))}
    if len(taken) < (3 if transparent else 2):
        return _no("port-taken", f"{GROUP}/admin-port: {injection.knobs.admin_port} is another port of the sidecar")
    for container in _containers(spec):
        for port in container.get("ports") or ():
            if port.get("containerPort") in taken and port.get("protocol", "TCP") == "TCP":
                return _no("port-taken", f"container {container.get('name')}, port {port['containerPort']}")
        context = {**(spec.get("securityContext") or {}), **(container.get("securityContext") or {})}
        if transparent and SIDECAR_ID in (context.get("runAsUser"), context.get("runAsGroup")):
            return _no("runs-as-sidecar", f"container {container.get('name')}")
    return None


_MESHES = {"istio-proxy": "Istio", "istio-init": "Istio", "linkerd-proxy": "Linkerd", "linkerd-init": "Linkerd"}
"""Containers by which other meshes' injectors are recognised, which run before or after ours."""

_WISHES = {"sidecar.istio.io/inject": ("true", "Istio"), "linkerd.io/inject": ("enabled", "Linkerd")}


def _way(pod: Pod, namespace: Namespace, installation: Installation, injection: Injection) -> Decision | None:
    """Whether connections can be led through the sidecar, and the sidecar finds its way to the control plane."""
    spec = pod["spec"]
    if injection.mode == TRANSPARENT:
        standard = namespace.labels.get(POD_SECURITY, "privileged")
        if standard != "privileged":
            return _no("pod-security", f"{POD_SECURITY}: {standard}")
    elif not any(
        port.get("name") and port.get("protocol", "TCP") == "TCP"
        for container in spec["containers"]
        for port in container.get("ports") or ()
    ):
        return _no("no-named-ports")
    host = urlsplit(installation.registry).hostname or ""
    if spec.get("dnsPolicy") in ("Default", "None") and not host.replace(".", "").isdigit() and ":" not in host:
        return _no("no-cluster-dns", f"dnsPolicy: {spec['dnsPolicy']}")
    return None


def _mesh(pod: Pod, namespace: Namespace) -> str:
    for container in _containers(pod["spec"]):
        if container.get("name") in _MESHES:
            return f"{_MESHES[container['name']]}: container {container['name']}"
    metadata = pod.get("metadata") or {}
    said = {**namespace.labels, **(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    for name, (value, mesh) in _WISHES.items():
        if said.get(name) == value:
            return f"{mesh}: {name}: {value}"
    if namespace.labels.get("istio-injection") == "enabled" and said.get("sidecar.istio.io/inject") != "false":
        return "Istio: the namespace's istio-injection: enabled"
    return ""


def _containers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _named(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for container in _containers(spec):
        yield "container", container
    for volume in spec.get("volumes") or ():
        yield "volume", volume
