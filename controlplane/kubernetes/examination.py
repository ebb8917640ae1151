"""Is Skycap whole on a cluster, and what to do where it is not: what `skycap doctor` asks the API server.

It asks as the person who runs it. What that person may not see is said, and is no green line.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from controlplane.asking.doctor import Check
from controlplane.kubernetes.attached import running as attached
from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.decide import decide
from controlplane.kubernetes.decision import REASONS, Installation, Namespace
from controlplane.kubernetes.names import DISABLED, ENABLED, INJECT, INJECTION, PROXY, SANDBOX, SYSTEM
from controlplane.kubernetes.owner import workload_name
from controlplane.kubernetes.permissions import CLUSTER, OWN, SHADOWS, Needed
from controlplane.kubernetes.shadow import selecting

OLDEST = (1, 29)
"""Of Kubernetes: native sidecars are on by default."""

CERTIFICATE_DAYS = 14

REINSTALL = "apply the manifests again: kubectl apply -k"

WISHED = frozenset({"disabled", "namespace-disabled", "not-enabled", "system-namespace"})
"""Reasons for no sidecar that somebody wants."""

_TRIAL: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "skycap-doctor-"},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "trial",
                "image": "skycap",
                "ports": [{"name": "http", "containerPort": 8080}],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}
"""A pod that every namespace takes; it is only tried (dryRun=All), never made."""


async def examine_cluster(kubernetes: Kubernetes, namespace: str = SYSTEM) -> list[Check]:
    """Every check, in the order in which a person should act on them. namespace: of the control plane."""

    async def told(subject: str, part: Callable[[], Coroutine[Any, Any, list[Check]]]) -> list[Check]:
        try:
            return await part()
        except KubernetesError as error:
            advice = "ask as somebody who may" if error.status == 403 else "see whether the API server is well"
            return [Check(False, subject, f"cannot be looked at: {error}", advice)]

    parts = await asyncio.gather(
        told("cluster", lambda: _cluster(kubernetes)),
        told("control plane", lambda: _replicas(kubernetes, namespace)),
        told("permissions", lambda: _permissions(kubernetes, namespace)),
        told("webhook", lambda: _webhook(kubernetes)),
        told("pods", lambda: _pods(kubernetes, namespace)),
        told("services", lambda: _services(kubernetes)),
    )
    return [check for part in parts for check in part]


async def _cluster(kubernetes: Kubernetes) -> list[Check]:
    found = await kubernetes.get("/version")
    version = tuple(int(re.match(r"[0-9]*", str(found[part]))[0] or 0) for part in ("major", "minor"))  # type: ignore[index]
    said = f"Kubernetes {found.get('gitVersion')}"
    if version < OLDEST:
        return [Check(False, "cluster", f"{said} has no native sidecars", "use 1.29 or later")]
    return [Check(True, "cluster", said)]


async def _replicas(kubernetes: Kubernetes, namespace: str) -> list[Check]:
    found = await kubernetes.get(path("apps/v1", "deployments", "skycap", namespace))
    wanted, ready = found["spec"].get("replicas", 1), (found.get("status") or {}).get("readyReplicas", 0)
    if ready < wanted:
        advice = f"see kubectl -n {namespace} describe pods"
        return [Check(False, "control plane", f"{ready} of {wanted} replicas are ready", advice)]
    return [Check(True, "control plane", f"{ready} replicas are ready")]


# -- what it may ------------------------------------------------------------------------------------------------------


async def _permissions(kubernetes: Kubernetes, namespace: str) -> list[Check]:
    found = await kubernetes.get(path("apps/v1", "deployments", "skycap", namespace))
    account = found["spec"]["template"]["spec"].get("serviceAccountName", "default")
    user = f"system:serviceaccount:{namespace}:{account}"
    asked: list[tuple[Needed, str, str]] = [
        *((needed, verb, "") for needed in CLUSTER for verb in needed.verbs),
        *((needed, verb, place) for needed in SHADOWS for verb in needed.verbs for place in shadow_namespaces(found)),
        *((needed, verb, namespace) for needed in OWN for verb in needed.verbs),
    ]

    async def may(needed: Needed, verb: str, place: str) -> bool:
        resource, _, sub = needed.resource.partition("/")
        attributes = {"group": needed.group, "resource": resource, "subresource": sub, "verb": verb}
        attributes |= {"name": needed.name, "namespace": place}
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes, "groups": _groups(namespace)},
        }
        answer = await kubernetes.create(path("authorization.k8s.io/v1", "subjectaccessreviews"), review)
        return bool((answer.get("status") or {}).get("allowed"))

    answers = await asyncio.gather(*(may(*one) for one in asked))
    missing = [one for one, allowed in zip(asked, answers, strict=True) if not allowed]
    if not missing:
        return [Check(True, "permissions", f"the control plane ({user}) may do what it has to")]
    said = "; ".join(needed.sentence(verb) + (f" in {place}" if place else "") for needed, verb, place in missing)
    return [Check(False, "permissions", f"the control plane ({user}) may not: {said}", REINSTALL)]


def _groups(namespace: str) -> list[str]:
    return ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]


def shadow_namespaces(deployment: Mapping[str, Any]) -> list[str]:
    """In which the control plane of this Deployment starts shadows; "" for all."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for item in container.get("env") or ():
            if item["name"] == "SKYCAP_SHADOW_NAMESPACES" and item.get("value"):
                return [part.strip() for part in item["value"].split(",") if part.strip()]
    return [""]


# -- the webhook ------------------------------------------------------------------------------------------------------


async def _webhook(kubernetes: Kubernetes) -> list[Check]:
    place = path("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "skycap")
    try:
        found = await kubernetes.get(place)
    except KubernetesError as error:
        if error.status != 404:
            raise
        return [Check(False, "webhook", "there is none, so that no pod gets a sidecar", REINSTALL)]
    bundles = {hook["clientConfig"].get("caBundle") or "" for hook in found.get("webhooks") or ()}
    checks = [certificate(bundle, time.time()) for bundle in sorted(bundles)]
    spaces = await kubernetes.get(path("v1", "namespaces"), labelSelector=f"{INJECT}={ENABLED}")
    names = [item["metadata"]["name"] for item in spaces["items"]]
    if not names:
        advice = f"kubectl label namespace NAME {INJECT}={ENABLED}"
        return [*checks, Check(True, "webhook", "no namespace asks for sidecars", advice)]
    return [*checks, await _tried(kubernetes, names[0])]


def certificate(bundle: str, now: float) -> Check:
    """Of the authority that the API server trusts, which ends with the certificate. bundle: base64; now: since 1970."""
    import base64

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=base64.b64decode(bundle, validate=True).decode())
        ends = min(ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs())
    except (ssl.SSLError, ValueError):
        found = "the API server trusts no certificate of it, so that pods get no sidecar"
        return Check(False, "webhook", found, "see the control plane's log: it sets the caBundle by itself")
    day = datetime.fromtimestamp(ends, UTC).date()
    if ends - now < CERTIFICATE_DAYS * 86400:
        found = f"its certificate {'has ended' if ends < now else 'ends'} on {day}, and nobody has renewed it"
        return Check(False, "webhook", found, "see the control plane's log: it renews it by itself")
    return Check(True, "webhook", f"its certificate is trusted, and good until {day}")


async def _tried(kubernetes: Kubernetes, namespace: str) -> Check:
    """What the API server makes of a pod there, without making it."""
    try:
        made = await kubernetes.create(path("v1", "pods", namespace=namespace), _TRIAL, dryRun="All")
    except KubernetesError as error:
        if error.status == 0:
            raise
        found = f"it cannot be tried: a pod in {namespace} is refused: {error}"
        return Check(False, "webhook", found, "ask as somebody who may create pods there")
    if INJECTION in (made["metadata"].get("annotations") or {}):
        return Check(True, "webhook", f"it answers the API server, tried with a pod in {namespace}")
    found = f"it does not answer: a pod in {namespace} would start without a sidecar"
    return Check(False, "webhook", found, "see the control plane's log, and what lies between the API server and it")


# -- pods and services ------------------------------------------------------------------------------------------------


async def _pods(kubernetes: Kubernetes, system: str) -> list[Check]:
    spaces, pods = await asyncio.gather(kubernetes.get(path("v1", "namespaces")), kubernetes.get(path("v1", "pods")))
    labels = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in spaces["items"]}
    return without_sidecar(pods["items"], labels, system)


def without_sidecar(
    pods: Iterable[Object], labels: Mapping[str, Mapping[str, str]], system: str = SYSTEM
) -> list[Check]:
    """Which workloads whose pods should have a sidecar have none, and why. labels: of each namespace."""
    installation = Installation(image="skycap", registry=f"http://skycap.{system}.svc:7070", namespace=system)
    good: dict[str, set[str]] = {}
    bare: dict[tuple[str, str], list[Object]] = {}
    for pod in pods:
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        namespace = metadata["namespace"]
        name = f"{namespace}/{workload_name(pod)}"
        if has_sidecar(pod):
            good.setdefault(namespace, set()).add(name)
            continue
        decision = decide(pod, Namespace(namespace, labels.get(namespace, {})), installation)
        written = str((metadata.get("annotations") or {}).get(INJECTION, ""))
        code = written.partition(":")[0] if written else decision.reason.code
        if decision.reason.quiet and code not in REASONS:
            continue
        if decision.reason.quiet or code in WISHED - {DISABLED}:
            continue
        bare.setdefault((name, written or decision.sentence()), []).append(pod)
    checks = [
        Check(True, namespace, f"{len(names)} workloads have sidecars") for namespace, names in sorted(good.items())
    ]
    return checks + [_bare(name, said, found) for (name, said), found in sorted(bare.items(), key=lambda one: one[0])]


def has_sidecar(pod: Mapping[str, Any]) -> bool:
    """By injection, or attached."""
    kinds = ("initContainers", "containers")
    return bool(attached(pod)) or any(one.get("name") == PROXY for kind in kinds for one in pod["spec"].get(kind) or ())


def _bare(workload: str, said: str, pods: Sequence[Object]) -> Check:
    code, _, sentence = said.partition(": ")
    names = ", ".join(sorted(pod["metadata"]["name"] for pod in pods)[:3]) + (", ..." if len(pods) > 3 else "")
    if code == "injected":
        namespace, _, name = workload.partition("/")
        found = "older than its namespace's wish for sidecars, or made while no webhook answered"
        return Check(
            False, workload, f"no sidecar: {names}: {found}", f"kubectl -n {namespace} rollout restart, of {name}"
        )
    advice = REASONS[code].advice if code in REASONS else ""
    return Check(code == DISABLED or not advice, workload, f"no sidecar: {code}: {sentence} ({names})", advice)


async def _services(kubernetes: Kubernetes) -> list[Check]:
    shadows = (await kubernetes.get(path("v1", "pods"), labelSelector=SANDBOX))["items"]
    spaces = sorted({pod["metadata"]["namespace"] for pod in shadows})
    listed = await asyncio.gather(*(kubernetes.get(path("v1", "services", namespace=space)) for space in spaces))
    checks = []
    for space, services in zip(spaces, listed, strict=True):
        for pod in shadows:
            labels = pod["metadata"]["labels"]
            found = selecting(services["items"], labels) if pod["metadata"]["namespace"] == space else []
            for name in found:
                said = f"selects {pod['metadata']['name']}, a shadow of sandbox {labels[SANDBOX]}"
                advice = (
                    "give it a selector that no label of skycap.dev fits: it sends the shadow requests without a key"
                )
                checks.append(Check(False, f"Service {space}/{name}", said, advice))
    return checks or [Check(True, "services", f"none of them selects a shadow, of which there are {len(shadows)}")]
