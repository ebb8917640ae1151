"""The checks of a sandbox's document that concern more than one field, on the document as it came.

Whatever has the wrong type is reported by the models (`controlplane.model.sandbox`), and passed over here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from controlplane.model.problem import NAME, FieldProblem, show

MAX_FORKS = 32
"""Of one sandbox. A change that touches more services than this is an environment, not a sandbox."""

POD_FIELDS = ("image", "patch", "args", "value_from")
"""Of a fork: what only a pod can have. Each of them alone is a change that starts a shadow."""

_STARTS = ("command", "files", "env")
"""The same of what a process can have as well."""


def whole(document: Mapping[str, Any], name: str | None) -> list[FieldProblem]:
    """name: what the request's path says it is called; None: anything."""
    problems = []
    metadata, spec = document.get("metadata"), document.get("spec")
    said = metadata.get("name") if isinstance(metadata, Mapping) else None
    if name is not None and isinstance(said, str) and said != name and re.fullmatch(NAME.pattern, said):
        problems.append(FieldProblem(path="metadata.name", message=f"{show(said)} is not {name!r}, as the path says"))
    if not isinstance(spec, Mapping):
        return problems
    forks = spec.get("forks")
    listed = [fork for fork in forks if isinstance(fork, Mapping)] if isinstance(forks, list | tuple) else []
    if spec.get("idle") is not None and listed and all(fork.get("endpoints") is not None for fork in listed):
        message = "needs a shadow that we start: whoever runs the endpoints has to stop them"
        problems.append(FieldProblem(path="spec.idle", message=message))
    first: dict[str, int] = {}
    for index, fork in enumerate(forks[: MAX_FORKS + 1] if isinstance(forks, list | tuple) else ()):
        if not isinstance(fork, Mapping):
            continue
        path = f"spec.forks[{index}]"
        problems += _launcher(fork, path)
        workload = fork.get("workload")
        if isinstance(workload, str) and first.setdefault(workload, index) != index:
            message = f"repeats spec.forks[{first[workload]}]: one fork per workload"
            problems.append(FieldProblem(path=f"{path}.workload", message=message))
    return problems


def _launcher(fork: Mapping[str, Any], path: str) -> list[FieldProblem]:
    """One launcher, and nothing that it could do nothing with."""
    problems = []
    said = [name for name in (*map(to_camel, POD_FIELDS), *_STARTS) if fork.get(name) is not None]
    endpoints = fork.get("endpoints") is not None
    if endpoints and said:
        kind = "image" if "image" in said else "command" if "command" in said else said[0]
        message = f"has both {kind} and endpoints: say one, it decides how the shadow is started"
        problems.append(FieldProblem(path=path, message=message))
    if not said and not endpoints:
        message = "says nothing that could start a shadow: give command, env, image or endpoints"
        problems.append(FieldProblem(path=path, message=message))
    if fork.get("reachable") is not None and not endpoints:
        message = "needs endpoints: a shadow that we start is always reached"
        problems.append(FieldProblem(path=f"{path}.reachable", message=message))
    if fork.get("followBaseline") and endpoints:
        message = "needs a shadow that we start: whoever runs the endpoints follows the baseline, or does not"
        problems.append(FieldProblem(path=f"{path}.followBaseline", message=message))
    if fork.get("cwd") is not None and not any(name in said for name in _STARTS):
        message = "needs a command: only a process that we start has a working directory of ours"
        problems.append(FieldProblem(path=f"{path}.cwd", message=message))
    if fork.get("build") is not None and fork.get("files") is None:
        message = "needs files: it is run where files were pushed"
        problems.append(FieldProblem(path=f"{path}.build", message=message))
    both = {one.get("name") for one in _objects(fork.get("valueFrom"))} & set(_names(fork.get("env")))
    return problems + [
        FieldProblem(path=f"{path}.valueFrom", message=f"sets {name}, and so does env: say one")
        for name in sorted(name for name in both if isinstance(name, str))
    ]


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []


def _names(value: object) -> list[Any]:
    return list(value) if isinstance(value, Mapping) else []
