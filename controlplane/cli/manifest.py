"""A sandbox as a person says it: in a file, on standard input, or by flags."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from controlplane.cli.failures import InvalidError
from controlplane.rest import API_VERSION, SANDBOX

_OF_SPEC = {"ttl": "ttl", "idle": "idle", "on_unavailable": "onUnavailable", "capture": "capture"}
_OF_METADATA = ("owner", "description")


def by_hand(
    name: str,
    workload: str,
    command: str | None,
    env: tuple[str, ...],
    endpoints: tuple[str, ...],
    *,
    image: str | None = None,
    no_dial: bool = False,
) -> dict[str, Any]:
    """The document of one fork that was given by flags."""
    fork: dict[str, Any] = {"workload": workload}
    if command:
        try:
            fork["command"] = shlex.split(command)
        except ValueError as error:
            raise click.BadParameter(f"{command!r}: {error}".lower(), param_hint="--command") from None
    if image:
        fork["image"] = image
    if endpoints:
        fork["endpoints"] = list(endpoints)
    if no_dial:
        fork["reachable"] = False
    if env:
        fork["env"] = pairs(env, "--env")
    return {"apiVersion": API_VERSION, "kind": SANDBOX, "metadata": {"name": name}, "spec": {"forks": [fork]}}


def load(path: str) -> dict[str, Any]:
    """The document of a file, "-" for standard input. Raises InvalidError and ConfigurationError."""
    from controlplane.documents import parse_documents, read_documents  # only who has a file waits for YAML

    name = "standard input" if path == "-" else path
    if path == "-" and sys.stdin is None:
        raise InvalidError(f"{name}: is closed")
    documents = parse_documents(sys.stdin.buffer, name) if path == "-" else read_documents(Path(path))
    if len(documents) != 1:
        raise InvalidError(f"{name}: holds {len(documents)} documents: one sandbox per file")
    if not isinstance(documents[0], dict):
        raise InvalidError(f"{name}: holds no sandbox: it must be an object with apiVersion, kind, metadata and spec")
    document: dict[str, Any] = documents[0]
    return document


def complete(document: dict[str, Any], said: Mapping[str, Any]) -> None:
    """Put what flags say into a document; they go before what it says itself."""
    spec = {field: said[flag] for flag, field in _OF_SPEC.items() if said[flag] is not None}
    metadata = {field: said[field] for field in _OF_METADATA if said[field] is not None}
    if said["labels"]:
        metadata["labels"] = pairs(said["labels"], "--label")
    for part, fields in (("spec", spec), ("metadata", metadata)):
        if fields and isinstance(document.get(part, {}), dict):
            document[part] = document.get(part, {}) | fields


def place(document: dict[str, Any], folder: Path) -> list[str]:
    """Let every command run in `folder` that does not say where, or says it as seen from there.

    Returns one line per fork whose folder the document has not: a copy that runs another folder's code than the one
    that its author stands in would answer, and be believed. An image has folders of its own.
    """
    spec = document.get("spec")
    forks = spec.get("forks") if isinstance(spec, dict) else None
    told = []
    for fork in forks if isinstance(forks, list) else ():
        if not isinstance(fork, dict) or fork.get("command") is None or fork.get("image") is not None:
            continue
        if fork.get("cwd") is None:
            fork["cwd"] = str(folder)
            told.append(f"{fork.get('workload')} runs in {folder}")
        elif isinstance(fork["cwd"], str):
            fork["cwd"] = str(folder / fork["cwd"])
    return told


def pairs(items: tuple[str, ...], flag: str) -> dict[str, str]:
    """What NAME=VALUE says, each. flag: where it was said. Raises click.BadParameter."""
    parts = [item.partition("=") for item in items]
    if bad := [item for item, (name, equals, _) in zip(items, parts, strict=True) if not (name and equals)]:
        raise click.BadParameter(f"{bad[0]!r} is not NAME=VALUE", param_hint=flag)
    return {name: value for name, _, value in parts}
