"""What a fork says of its pods: what is meant is known before the cluster is asked."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import Fork, parse_sandbox


def fork(**said: Any) -> dict[str, Any]:
    return {"workload": "shop/users", **said}


def problems(*forks: dict[str, Any]) -> dict[str, str]:
    document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": "a"}}
    try:
        parse_sandbox({**document, "spec": {"forks": list(forks)}})
    except DocumentError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


@pytest.mark.parametrize(
    ("said", "launcher"),
    [
        ({"patch": {"spec": {"priority": 1}}}, "kubernetes"),
        ({"args": ["a"]}, "kubernetes"),
        ({"args": ["a"], "command": ["b"]}, "kubernetes"),
        ({"valueFrom": [{"name": "A", "fieldRef": {"fieldPath": "metadata.name"}}]}, "kubernetes"),
        ({"env": {"A": "1"}}, "process"),
    ],
)
def test_each_change_alone_is_a_fork(said: dict[str, Any], launcher: str) -> None:
    assert problems(fork(**said)) == {}
    assert Fork.model_validate(fork(**said)).launcher == launcher


@pytest.mark.parametrize(
    ("said", "path", "message"),
    [
        ({"patch": {}}, "patch", "changes nothing: leave it out"),
        (
            {"patch": {"template": {}}},
            "patch",
            "is about a pod template, which has metadata and spec, and not 'template'",
        ),
        ({"patch": {"spec": []}}, "patch", "metadata and spec must be objects"),
        ({"patch": {"metadata": {"labels": {"app": "users"}}}}, "patch", "and not metadata.labels: a shadow's labels"),
        ({"patch": {"metadata": {"annotations": {"a": "b" * 70000}}}}, "patch", "is longer than 65536 characters"),
        ({"patch": "x"}, "patch", "must be an object"),
        ({"args": []}, "args", "must have at least 1"),
        ({"valueFrom": [{"name": "A"}]}, "valueFrom[0]", "needs one of secretKeyRef, configMapKeyRef, fieldRef and"),
        (
            {"valueFrom": [{"name": "A", "fieldRef": {"fieldPath": "a"}}] * 2},
            "valueFrom",
            "sets A more than once",
        ),
        (
            {"env": {"A": "1"}, "valueFrom": [{"name": "A", "fieldRef": {"fieldPath": "a"}}]},
            "valueFrom",
            "sets A, and so does env: say one",
        ),
        (
            {"valueFrom": [{"name": "A", "secretKeyref": {"name": "a", "key": "b"}}]},
            "valueFrom[0].secretKeyref",
            "unknown field (did you mean 'secretKeyRef'?)",
        ),
        (
            {"endpoints": ["10.0.0.1:80"], "patch": {"spec": {"priority": 1}}},
            "",
            "has both patch and endpoints: say one",
        ),
    ],
)
def test_what_is_wrong_has_its_path(said: dict[str, Any], path: str, message: str) -> None:
    found = problems(fork(**said))
    place = f"spec.forks[0].{path}".rstrip(".")
    assert message in found[place]


def test_a_patch_keeps_its_nulls() -> None:
    """In a strategic merge patch null takes something away."""
    said = {"spec": {"containers": [{"name": "users", "livenessProbe": None}]}}
    document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": "a"}}
    sandbox = parse_sandbox({**document, "spec": {"forks": [fork(patch=said)]}})
    assert sandbox.document()["spec"]["forks"][0]["patch"] == said
