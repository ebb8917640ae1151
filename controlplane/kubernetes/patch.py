"""The pod with its sidecar, and without it again. Pure: JSON in, JSON out; what comes in is not changed.

What is added is known by its name, what is changed in the pod's own containers is written down in an annotation, so
that `without_sidecar` gives back what was there. To inject is to take out what may be there already and to put it in
anew: a pod may come twice (`reinvocationPolicy`), and a file may have been injected before.

    transparent   the sidecar as a native sidecar (an init container that goes on), then an init container that puts
                  the rules in force, then everything else. In this order, since what is redirected is refused while
                  nobody listens, and since other init containers may call somebody.
    explicit      no rules. The names of the ports move to the sidecar, and with them each Service that says
                  `targetPort: NAME`; the application is told by HTTP_PROXY to call through the sidecar.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from controlplane.intercept.ruleset import Ports
from controlplane.kubernetes.decision import Decision, Injection, Installation
from controlplane.kubernetes.names import (
    ADMIN_PORT_NAME,
    AUDIENCE,
    CHANGES,
    EXPLICIT,
    EXPLICIT_PORT,
    INJECTION,
    INTERCEPT,
    OURS,
    PROXY,
    TOKEN,
    TRANSPARENT,
)
from controlplane.kubernetes.probes import PROBES, metrics_ports, port_number, probes_that_connect, redirected
from proxy.contract.interception import SIDECAR_ID

PROBE_PORTS = 15080
"""The first of the ports that lead past the sidecar to the application."""

EXPLICIT_PORTS = 15100
"""The first of the ports of a sidecar that no rules lead to."""

TOKEN_FOLDER = "/var/run/secrets/skycap.dev"  # noqa: S105 (a folder)

TOKEN_SECONDS = 3600
"""The kubelet renews a token when four fifths of its time are over; the sidecar reads the file for every request."""

NO_PROXY = "localhost,127.0.0.1,::1"

_PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy")


def is_ours(pod: Mapping[str, Any]) -> bool:
    """The pod has been injected."""
    return CHANGES in ((pod.get("metadata") or {}).get("annotations") or {})


def patched(
    pod: Mapping[str, Any], decision: Decision, installation: Installation, *, admission: bool = False
) -> dict[str, Any]:
    """The pod as the decision wants it, with the decision written on it.

    admission: the pod may come for the second time, and what others have done to our containers since is kept: a
    LimitRange refuses a container without the limits that it has put there.
    """
    made = without_sidecar(pod)
    if decision.reason.quiet:
        return made
    annotations: dict[str, str] = {INJECTION: decision.sentence()}
    if decision.injection is not None:
        changes = _inject(made, decision.injection, installation)
        if admission:
            _keep(pod["spec"], made["spec"])
        annotations[CHANGES] = json.dumps(changes, separators=(",", ":"), sort_keys=True)
    metadata = made.setdefault("metadata", {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    return made


def without_sidecar(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The pod as it was before it was injected; one that was not is given back as it is."""
    made: dict[str, Any] = deepcopy(dict(pod))
    annotations = (made.get("metadata") or {}).get("annotations") or {}
    if is_ours(made):
        _take_out(made["spec"], _changes(annotations[CHANGES]))
    if any(name in annotations for name in OURS):
        left = {name: value for name, value in annotations.items() if name not in OURS}
        if left:
            made["metadata"]["annotations"] = left
        else:
            del made["metadata"]["annotations"]
            if not made["metadata"]:
                del made["metadata"]  # of a template without any
    return made


# -- in ---------------------------------------------------------------------------------------------------------------


def _inject(pod: dict[str, Any], injection: Injection, installation: Installation) -> dict[str, Any]:
    """Change the pod; what was changed in its own containers, by their names."""
    spec = pod["spec"]
    proxy = proxy_container(injection, installation)
    if injection.mode == EXPLICIT:
        changes = _move_ports(spec, proxy)
        added = [proxy]
    else:
        excluded = (*injection.knobs.exclude_inbound_ports, *metrics_ports(pod))
        changes, direct = _lead_probes(spec, injection.knobs.include_inbound_ports, excluded)
        added = [proxy, intercept_container(injection, installation, excluded, direct)]
    spec["initContainers"] = [*added, *(spec.get("initContainers") or ())]
    token = {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}}
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": TOKEN, "projected": {"sources": [token]}}]
    return changes


def _keep(before: Mapping[str, Any], after: dict[str, Any]) -> None:
    """Let our containers keep the resources, the variables and the mounts that others have given to them."""
    known = {item["name"]: item for item in before.get("initContainers") or () if item["name"] in (PROXY, INTERCEPT)}
    for container in after["initContainers"]:
        old = known.get(container["name"])
        if old is None:
            continue
        for kind, quantities in (old.get("resources") or {}).items():
            if isinstance(quantities, Mapping):
                container["resources"][kind] = {**quantities, **container["resources"].get(kind, {})}
        for field, key in (("env", "name"), ("volumeMounts", "mountPath")):
            ours = container.get(field) or []
            names = {item[key] for item in ours}
            if others := [item for item in old.get(field) or () if item[key] not in names]:
                container[field] = [*ours, *others]


def _image(installation: Installation) -> dict[str, Any]:
    policy = {"imagePullPolicy": installation.pull_policy} if installation.pull_policy else {}
    return {"image": installation.image, **policy}


def proxy_container(injection: Injection, installation: Installation) -> dict[str, Any]:
    """The sidecar."""
    knobs = injection.knobs
    command = ["skycap", "proxy", "--workload", injection.workload]
    if injection.mode == TRANSPARENT:
        command += ["--transparent"]
    else:
        command += ["--outbound", f"127.0.0.1:{EXPLICIT_PORT}"]
    command += ["--registry", installation.registry, "--token-file", f"{TOKEN_FOLDER}/token"]
    command += ["--admin", f"0.0.0.0:{knobs.admin_port}", "--log-level", knobs.log_level, "--log-format", "json"]
    for low, high in knobs.opaque_ports:
        for port in range(low, high + 1):
            command += ["--opaque", str(port)]
    if injection.sandbox:
        command += ["--sandbox", injection.sandbox, "--routing-key", injection.routing_key]
        command += ["--revision", str(injection.revision)]
    probe = {"httpGet": {"path": "/live", "port": knobs.admin_port}}
    return {
        "name": PROXY,
        **_image(installation),
        "restartPolicy": "Always",
        "command": command,
        "env": [{"name": "SKYCAP_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": ADMIN_PORT_NAME, "containerPort": knobs.admin_port, "protocol": "TCP"}],
        # Whether it lives, and not whether it has routes: a control plane that is away must stop no application.
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {**probe, "periodSeconds": 10, "timeoutSeconds": 5},
        "resources": _resources({**dict(installation.resources), **dict(knobs.resources)}),
        "securityContext": {
            "runAsUser": SIDECAR_ID,
            "runAsGroup": SIDECAR_ID,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": TOKEN, "mountPath": TOKEN_FOLDER, "readOnly": True}],
    }


def intercept_container(
    injection: Injection, installation: Installation, excluded: Ports, direct: list[tuple[int, int]]
) -> dict[str, Any]:
    """What installs the rules. direct: ports that lead past the sidecar, and the application's."""
    knobs = injection.knobs
    command = ["skycap", "intercept", "install", "--admin-port", str(knobs.admin_port)]
    for flag, value in (
        ("--include-inbound-ports", _ports(knobs.include_inbound_ports)),
        ("--exclude-inbound-ports", _ports(excluded)),
        ("--exclude-outbound-ports", _ports(knobs.exclude_outbound_ports)),
        ("--exclude-outbound-cidrs", ",".join(map(str, knobs.exclude_outbound_cidrs))),
        ("--direct-ports", ",".join(f"{port}={application}" for port, application in direct)),
    ):
        if value:
            command += [flag, value]
    return {
        "name": INTERCEPT,
        **_image(installation),
        "command": command,
        "resources": _resources({"requests.cpu": "10m", "requests.memory": "48Mi", "limits.memory": "256Mi"}),
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _resources(flat: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sorted(flat.items()):
        kind, _, what = name.partition(".")
        found.setdefault(kind, {})[what] = value
    return found


def _ports(ranges: Ports) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def _lead_probes(
    spec: dict[str, Any], included: Ports, excluded: Ports
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Give probes that connect to redirected ports ports that lead past the sidecar: the changes, and those ports."""
    changes: dict[str, Any] = {}
    direct: dict[int, int] = {}
    taken = _taken(spec)
    for container in _all(spec):
        for kind, probe, number in probes_that_connect(container):
            if redirected(number, included, excluded):
                if number not in direct:
                    direct[number] = _free(PROBE_PORTS, taken)
                changes.setdefault(container["name"], {}).setdefault("probes", {})[kind] = probe["tcpSocket"]["port"]
                probe["tcpSocket"]["port"] = direct[number]
    return changes, [(port, application) for application, port in direct.items()]


def _move_ports(spec: dict[str, Any], proxy: dict[str, Any]) -> dict[str, Any]:
    """Explicit mode: the sidecar takes over the ports' names, and the applications call through it."""
    changes: dict[str, Any] = {}
    taken = _taken(spec)
    for container in spec["containers"]:
        changed = changes.setdefault(container["name"], {})
        for kind, handler in _handlers(container):
            number = port_number(container, handler.get("port"))
            if isinstance(handler.get("port"), str) and number is not None:
                changed.setdefault("probes", {})[kind] = handler["port"]
                handler["port"] = number
        for port in container.get("ports") or ():
            if port.get("name") and port.get("protocol", "TCP") == "TCP":
                listen = _free(EXPLICIT_PORTS, taken)
                proxy["command"] += ["--inbound", f"0.0.0.0:{listen}=127.0.0.1:{port['containerPort']}"]
                proxy["ports"].append({"name": port["name"], "containerPort": listen, "protocol": "TCP"})
                changed.setdefault("ports", {})[str(port["containerPort"])] = port.pop("name")
        names = {item.get("name") for item in container.get("env") or ()}
        if not names & set(_PROXY_VARIABLES):
            changed["env"] = True
            values = (f"http://127.0.0.1:{EXPLICIT_PORT}", NO_PROXY)
            told = [{"name": name, "value": values[name.lower() == "no_proxy"]} for name in _PROXY_VARIABLES]
            container["env"] = [*(container.get("env") or ()), *told]
        if not changed:
            del changes[container["name"]]
    return changes


def _handlers(container: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Probes by HTTP or connection; of their handler, the port may be a name."""
    for kind in PROBES:
        for way in ("httpGet", "tcpSocket"):
            handler = (container.get(kind) or {}).get(way)
            if isinstance(handler, dict):
                yield kind, handler


def _all(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from spec.get("initContainers") or ()
    yield from spec["containers"]


def _taken(spec: dict[str, Any]) -> set[int]:
    return {int(port["containerPort"]) for container in _all(spec) for port in container.get("ports") or ()}


def _free(first: int, taken: set[int]) -> int:
    while first in taken:
        first += 1
    taken.add(first)
    return first


# -- out --------------------------------------------------------------------------------------------------------------


def _changes(text: str) -> dict[str, Any]:
    """What the annotation says; nothing, when somebody else has written there."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return (
        {name: changed for name, changed in said.items() if isinstance(changed, dict)} if isinstance(said, dict) else {}
    )


def _take_out(spec: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for field, ours in (("initContainers", (PROXY, INTERCEPT)), ("volumes", (TOKEN,))):
        left = [item for item in spec.get(field) or () if item.get("name") not in ours]
        if left:
            spec[field] = left
        else:
            spec.pop(field, None)
    for container in _all(spec):
        changed = changes.get(container["name"], {})
        for kind, port in (changed.get("probes") or {}).items():
            probe = container.get(kind) or {}
            handler = probe.get("tcpSocket") or probe.get("httpGet")
            if handler is not None:
                handler["port"] = port
        for port in container.get("ports") or ():
            name = (changed.get("ports") or {}).get(str(port["containerPort"]))
            if name and "name" not in port and port.get("protocol", "TCP") == "TCP":
                port["name"] = name
        if changed.get("env"):
            left = [item for item in container.get("env") or () if item.get("name") not in _PROXY_VARIABLES]
            if left:
                container["env"] = left
            else:
                container.pop("env", None)
