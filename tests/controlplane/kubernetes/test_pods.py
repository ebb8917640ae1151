"""What a pod's status says, as kubelets write it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.kubernetes.pods import Verdict, endpoint, judge, newest


def pod(
    *statuses: dict[str, Any], inits: tuple[dict[str, Any], ...] = (), phase: str = "Pending", **more: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", **more.pop("metadata", {})},
        "spec": {
            "containers": [{"name": "web", "ports": [{"containerPort": 8080}]}],
            "initContainers": [{"name": "migrate"}, {"name": "skycap-proxy", "restartPolicy": "Always"}],
        },
        "status": {"phase": phase, "containerStatuses": list(statuses), "initContainerStatuses": list(inits), **more},
    }


def web(**state: Any) -> dict[str, Any]:
    last = state.pop("last", {})
    return {"name": "web", "state": state, "lastState": last}


READY: dict[str, Any] = {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (pod(web(running={}), phase="Running", **READY), Verdict(ready=True)),
        (pod(), Verdict(sentence="it is not ready: Pending", container="web")),
        (
            pod(web(running={}), conditions=[{"type": "Ready", "status": "False", "message": "unready"}]),
            Verdict(sentence="it is not ready: unready", container="web"),
        ),
        (
            pod(web(waiting={"reason": "ErrImagePull", "message": "not found"})),
            Verdict(failed=True, sentence="its image cannot be pulled (container web): not found"),
        ),
        (
            pod(web(waiting={"reason": "CreateContainerConfigError", "message": 'secret "a" not found'})),
            Verdict(failed=True, sentence='its container cannot be configured (container web): secret "a" not found'),
        ),
        (
            pod(web(waiting={"reason": "ContainerCreating"})),
            Verdict(sentence="it is not ready: Pending", container="web"),
        ),
        (
            pod(web(terminated={"exitCode": 3})),
            Verdict(failed=True, sentence="container web: it ended with code 3", container="web"),
        ),
        (
            pod(web(terminated={"exitCode": 0})),
            Verdict(failed=True, sentence="container web: it ended with code 0", container="web"),
        ),
        (
            pod(web(waiting={"reason": "CrashLoopBackOff"}, last={"terminated": {"exitCode": 1}})),
            Verdict(failed=True, sentence="container web: it ended with code 1", container="web", restarted=True),
        ),
        (
            pod(web(terminated={"exitCode": 137, "reason": "OOMKilled"})),
            Verdict(failed=True, sentence="container web: it was killed for want of memory", container="web"),
        ),
        # one that has crashed and runs again may become ready
        (
            pod(web(running={}, last={"terminated": {"exitCode": 1}})),
            Verdict(sentence="it is not ready: Pending", container="web"),
        ),
        # an init container that is done
        (
            pod(inits=({"name": "migrate", "state": {"terminated": {"exitCode": 0}}},)),
            Verdict(sentence="it is not ready: Pending", container="web"),
        ),
        (
            pod(inits=({"name": "migrate", "state": {"terminated": {"exitCode": 2}}},)),
            Verdict(failed=True, sentence="container migrate: it ended with code 2", container="migrate"),
        ),
        # a native sidecar must go on
        (
            pod(inits=({"name": "skycap-proxy", "state": {"terminated": {"exitCode": 0}}},)),
            Verdict(failed=True, sentence="container skycap-proxy: it ended with code 0", container="skycap-proxy"),
        ),
        (
            pod(conditions=[{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/1 nodes: Insufficient",
            }]),
            Verdict(failed=True, sentence="no node takes it: 0/1 nodes: Insufficient"),
        ),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on memory"),
            Verdict(failed=True, sentence="its pod has ended: The node was low on memory", container="web"),
        ),
        (pod(metadata={"deletionTimestamp": "now"}), Verdict(failed=True, sentence="its pod is being deleted")),
    ],
)  # fmt: skip
def test_what_becomes_of_it(found: dict[str, Any], verdict: Verdict) -> None:
    assert judge(found) == verdict


def test_where_it_serves() -> None:
    found = pod(**READY)
    assert endpoint(found) == "10.0.0.1:8080"
    assert endpoint(found, 9090) == "10.0.0.1:9090"
    assert endpoint(found, "nothing") == "10.0.0.1:8080"
    assert endpoint(pod(podIP="fd00::1")) == "[fd00::1]:8080"
    assert endpoint(pod()) == ""
    found["spec"]["containers"][0]["ports"] = [
        {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 9102, "name": "metrics"},
        {"containerPort": 80, "name": "http"},
    ]  # fmt: skip
    assert endpoint(found) == "10.0.0.1:80"
    assert endpoint(found, "metrics") == "10.0.0.1:9102"
    del found["spec"]["containers"][0]["ports"]
    assert endpoint(found) == ""


def test_in_explicit_mode_the_sidecar_has_the_ports() -> None:
    found = pod(**READY)
    found["spec"]["initContainers"][1]["ports"] = [
        {"containerPort": 9901, "name": "skycap-admin"}, {"containerPort": 15100, "name": "http"},
    ]  # fmt: skip
    assert endpoint(found, "http") == "10.0.0.1:15100"
    assert endpoint(found) == "10.0.0.1:15100"


def test_the_newest_that_stays() -> None:
    old = pod(metadata={"creationTimestamp": "1"})
    new = pod(metadata={"creationTimestamp": "2"})
    going = pod(metadata={"creationTimestamp": "3", "deletionTimestamp": "4"})
    assert newest([old, going, new]) is new
    assert newest([going]) is going
    assert newest([]) is None
