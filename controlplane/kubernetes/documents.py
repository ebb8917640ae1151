"""Manifests as Kubernetes reads them, and the pods within.

Kubernetes' tools read YAML 1.1 with the booleans and the octal numbers of old (`0644` is a file's mode), but without
its dates and its numbers to the base of sixty, and tell of a key that stands twice. So does this reader: whoever pipes
a chart through `skycap inject` gets what the API server would have got.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from controlplane.kubernetes.probes import PROBES
from proxy.base.problems import ConfigurationError

TEMPLATES = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "PodTemplate": ("template",),
}
"""Where the pod stands in each kind of document that has one."""


@dataclass(frozen=True, slots=True)
class Place:
    """A pod within a document.

    holder: the object that has the pod under `field`; None when the document is the pod.
    """

    document: dict[str, Any]
    pod: dict[str, Any]
    holder: dict[str, Any] | None
    field: str

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def name(self) -> str:
        metadata = self.document.get("metadata") or {}
        return str(metadata.get("name") or metadata.get("generateName") or "")

    def namespace(self, default: str) -> str:
        return str((self.document.get("metadata") or {}).get("namespace") or default)

    def put(self, pod: dict[str, Any]) -> None:
        """Let `pod` stand here."""
        if self.holder is None:
            self.document.clear()
            self.document.update(pod)
        else:
            self.holder[self.field] = pod


def pods_within(documents: list[Any]) -> Iterator[Place]:
    """The pods and pod templates of all documents, those of a List included."""
    for document in documents:
        if not isinstance(document, dict):
            continue
        kind = document.get("kind")
        if isinstance(kind, str) and kind.endswith("List") and isinstance(document.get("items"), list):
            yield from pods_within(document["items"])
        elif kind in TEMPLATES and (place := _place(document, TEMPLATES[kind])) is not None:
            yield place


def _place(document: dict[str, Any], path: tuple[str, ...]) -> Place | None:
    holder: dict[str, Any] | None = None
    pod: Any = document
    for name in path:
        holder, pod = pod, pod.get(name)
        if not isinstance(pod, dict):
            return None
    if not isinstance(pod.get("spec"), dict):
        return None
    return Place(document, pod, holder, path[-1] if path else "")


def malformed(pod: dict[str, Any]) -> str:
    """What the API server would not even read of a pod, in one phrase; "" when there is nothing."""
    metadata, spec = pod.get("metadata") or {}, pod["spec"]
    if not isinstance(metadata, dict):
        return "metadata is no object"
    for field in ("labels", "annotations"):
        listed = metadata.get(field) or {}
        if not isinstance(listed, dict):
            return f"metadata.{field} is no object"
        for name, value in listed.items():
            if not isinstance(value, str):
                return f"metadata.{field}: {name} must be text: write {str(value)!r} in quotes"
    for field in ("initContainers", "containers", "volumes"):
        listed = [] if spec.get(field) is None else spec[field]
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            return f"spec.{field} is no list of objects"
        for at, item in enumerate(listed):
            if not isinstance(item.get("name"), str):
                return f"spec.{field}[{at}] has no name"
            if field != "volumes" and (wrong := _malformed_container(item)):
                return f"spec.{field}[{at}]{wrong}"
    return ""


def _malformed_container(container: dict[str, Any]) -> str:
    for field in ("ports", "env"):
        listed = [] if container.get(field) is None else container[field]
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            return f".{field} is no list of objects"
    for at, port in enumerate(container.get("ports") or ()):
        if type(port.get("containerPort")) is not int:
            return f".ports[{at}].containerPort is no number"
    for probe in PROBES:
        if not isinstance(container.get(probe) or {}, dict):
            return f".{probe} is no object"
    return ""


def as_pod(place: Place) -> dict[str, Any]:
    """The pod that the place's owner would make, as far as a decision needs to know: who owns it."""
    if place.holder is None:
        return place.pod
    owner = {"kind": place.kind, "name": place.name, "controller": True}
    metadata = {**(place.pod.get("metadata") or {}), "ownerReferences": [owner]}
    return {**place.pod, "metadata": metadata}


def parse(data: bytes, name: str) -> list[Any]:
    """All documents of a file that is called `name`. Raises ConfigurationError with one line."""
    try:
        return [document for document in yaml.load_all(data, _Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigurationError([f"{name}{where}: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError([f"{name}: {str(error).splitlines()[0]}"]) from None


def dump(documents: list[Any]) -> str:
    """The documents as a stream that every reader understands in the same way."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=len(documents) > 1)


class _Loader(yaml.SafeLoader):
    """See the module."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_OF_SIXTY = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")


def _int_or_text(loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    if _OF_SIXTY.fullmatch(node.value):
        return str(node.value)
    if node.tag.endswith("int"):
        return int(loader.construct_yaml_int(node))
    return float(loader.construct_yaml_float(node))


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith("timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _int_or_text)
_Loader.add_constructor("tag:yaml.org,2002:float", _int_or_text)


class _Dumper(yaml.SafeDumper):
    """Without anchors, and with lists that stand in from their key."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, indentless)


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
