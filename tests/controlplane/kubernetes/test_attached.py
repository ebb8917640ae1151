"""The container that `skycap attach` adds to a pod that runs."""

from __future__ import annotations

from typing import Any

from controlplane.kubernetes.attached import connecting_probes, ephemeral, running
from controlplane.kubernetes.decide import decide
from controlplane.kubernetes.decision import Installation, Namespace

INSTALLATION = Installation("skycap:1", "http://skycap.skycap-system.svc:7070", "Never")


def pod(*attached: str, **states: str) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "web", "image": "a", "ports": [{"containerPort": 8080}]}
    container["livenessProbe"] = {"tcpSocket": {"port": 8080}}
    return {
        "metadata": {"name": "users", "namespace": "shop"},
        "spec": {"containers": [container], "ephemeralContainers": [{"name": name} for name in attached]},
        "status": {
            "ephemeralContainerStatuses": [{"name": name, "state": {state: {}}} for name, state in states.items()]
        },
    }


def made(found: dict[str, Any]) -> dict[str, Any]:
    decision = decide(found, Namespace("shop", {"skycap.dev/inject": "enabled"}), INSTALLATION)
    return ephemeral(found, decision, INSTALLATION, "a.b.c", 900)


def test_it_holds_sidecar_and_rules() -> None:
    container = made(pod())
    command = container["command"]
    end = command.index("--")
    assert command[:5] == ["skycap", "intercept", "hold", "--seconds", "900"]
    assert command[5:end] == ["--admin-port", "9901"]
    assert command[end + 1 : end + 4] == ["skycap", "proxy", "--workload"]
    assert "--token-file" not in command
    assert "--admin" not in command[end:]
    assert {"name": "SKYCAP_HELD_TOKEN", "value": "a.b.c"} in container["env"]
    assert container["securityContext"]["capabilities"]["add"] == ["NET_ADMIN", "SETUID", "SETGID", "KILL"]
    assert (container["image"], container["imagePullPolicy"]) == ("skycap:1", "Never")


def test_a_name_is_used_once() -> None:
    ended = pod("skycap-attached-1", "debugger", **{"skycap-attached-1": "terminated"})
    assert made(ended)["name"] == "skycap-attached-2"
    assert running(ended) == []
    assert running(pod("skycap-attached-1")) == ["skycap-attached-1"], "it has just been added"
    assert running(pod("debugger", debugger="running")) == []


def test_probes_that_only_connect_are_told() -> None:
    assert connecting_probes([pod(), pod()]) == ["web"]
