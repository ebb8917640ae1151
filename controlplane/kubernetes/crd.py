"""The CustomResourceDefinitions of Sandboxes and route groups, made from the one model.

A structural schema (kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions) is less
than JSON Schema: no references, one type each, no choice between shapes. What it cannot say is said in CEL, in the
words in which the model says it. `python -m controlplane.kubernetes.crd` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from controlplane.kubernetes.documents import dump
from controlplane.kubernetes.names import GROUP
from controlplane.model.group import GroupManifest, GroupStatus
from controlplane.model.sandbox import Manifest, Status
from controlplane.model.whole import POD_FIELDS
from controlplane.rest import API_VERSION, SANDBOX
from controlplane.rest import GROUP as ROUTE_GROUP

Schema = dict[str, Any]

_LEFT_OUT = ("title", "default", "additionalProperties", "discriminator", "oneOf", "examples", "$defs")

_CHANGES = " || ".join(f"has(self.{field})" for field in (*map(to_camel, POD_FIELDS), "command", "env", "files"))
_FORK_RULES = (
    (
        f"{_CHANGES} || has(self.endpoints)",
        "says nothing that could start a shadow: give image, command, args, env, valueFrom, patch, files or endpoints",
    ),
    (f"!has(self.endpoints) || !({_CHANGES})", "has both endpoints and what starts a shadow: say one"),
    (
        "!has(self.reachable) || has(self.endpoints)",
        "reachable needs endpoints: a shadow that we start is always reached",
    ),
    (
        "!has(self.valueFrom) || !has(self.env) || self.valueFrom.all(one, !(one.name in self.env))",
        "env and valueFrom set the same variable: say one",
    ),
    ("!has(self.followBaseline) || !has(self.endpoints)", "followBaseline needs a shadow that we start"),
    ("!has(self.cwd) || !has(self.endpoints)", "cwd needs a shadow that we start"),
    ("!has(self.build) || has(self.files)", "build needs files: it is run where files were pushed"),
)

_SOURCES = ("secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef")
_SOURCE_RULES = (
    (
        f"[{', '.join(f'has(self.{source})' for source in _SOURCES)}].filter(one, one).size() == 1",
        f"needs one of {', '.join(_SOURCES[:-1])} and {_SOURCES[-1]}",
    ),
)

_SPEC_RULES = (
    ("self.forks.all(one, self.forks.exists_one(other, other.workload == one.workload))", "one fork per workload"),
)

_KEY = "(has({0}.spec.routingKey) ? {0}.spec.routingKey : {0}.metadata.name)"


def _root_rules(kind: str) -> tuple[tuple[str, str], ...]:
    same = f"{_KEY.format('self')} == {_KEY.format('oldSelf')}"
    return ((same, f"spec.routingKey cannot change: traffic carries it. Delete the {kind} first"),)


@dataclass(frozen=True, slots=True)
class _Kind:
    """
    fields, root, columns: rules of the resource itself, and what `kubectl get` shows: name, type, place, meaning,
    priority.
    """

    kind: str
    plural: str
    short: str
    about: str
    wanted: str
    manifest: type[BaseModel]
    status: type[BaseModel]
    root: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str, str, str, int], ...]
    more: Schema


def definitions() -> list[Schema]:
    """The CustomResourceDefinitions."""
    sandbox = _definition(_SANDBOX_KIND)
    (version,) = sandbox["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fork = spec["properties"]["forks"]["items"]
    fork["x-kubernetes-validations"] = _rules(_FORK_RULES)
    sources = fork["properties"]["valueFrom"]
    sources |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    sources["items"]["x-kubernetes-validations"] = _rules(_SOURCE_RULES)
    spec["properties"]["forks"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["workload"]}
    spec["x-kubernetes-validations"] = _rules(_SPEC_RULES)
    group = _definition(_GROUP_KIND)
    (version,) = group["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["members"]["x-kubernetes-list-type"] = "set"
    return [sandbox, group]


def _definition(kind: _Kind) -> Schema:
    group, version = API_VERSION.split("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["skycap"],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": of, "jsonPath": place, "description": about, "priority": priority}
                        for name, of, place, about, priority in kind.columns
                    ],
                    "schema": {"openAPIV3Schema": _root(kind)},
                }
            ],
        },
    }


def _root(kind: _Kind) -> Schema:
    whole = kind.manifest.model_json_schema(by_alias=True)
    spec = _structural(whole["properties"]["spec"], whole["$defs"])
    spec["description"] = kind.wanted
    name = _structural(whole["$defs"]["Metadata"]["properties"]["name"], whole["$defs"])
    return {
        "type": "object",
        "description": kind.about,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": spec,
            "status": _status(kind),
        },
        "x-kubernetes-validations": _rules(kind.root),
    }


def _status(kind: _Kind) -> Schema:
    whole = kind.status.model_json_schema(by_alias=True)
    found = _structural(whole, whole.get("$defs", {}))
    found.pop("required", None)  # what cannot be what it says has conditions and nothing else
    found["description"] = "What is so; written by the control plane."
    found["properties"] |= {
        "observedGeneration": {"type": "integer", "format": "int64", "description": "of the spec that this is about"},
        "routingKey": {"type": "string", "description": "what requests carry"},
        "record": {"type": "string", "description": "the control plane's own notes, with which it begins again"},
        **kind.more,
    }
    conditions = found["properties"]["conditions"]
    conditions |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return found


def _structural(schema: Schema, known: Schema) -> Schema:
    """JSON Schema as pydantic writes it, as a structural schema."""
    if "$ref" in schema:
        found = known[schema["$ref"].rpartition("/")[2]]
        return _structural({**found, **{name: value for name, value in schema.items() if name != "$ref"}}, known)
    for choice in ("anyOf", "allOf"):
        if choice in schema:
            shapes = [item for item in schema[choice] if item.get("type") != "null"]
            if len(shapes) > 1:  # no structural schema can tell; the control plane does, as a condition
                free: Schema = {"x-kubernetes-preserve-unknown-fields": True}
                return {**free, **({"description": schema["description"]} if "description" in schema else {})}
            rest = {name: value for name, value in schema.items() if name != choice}
            return _structural({**shapes[0], **rest}, known)
    made = {name: value for name, value in schema.items() if name not in _LEFT_OUT}
    if "const" in made:
        made["enum"] = [made.pop("const")]
    for bound in ("Minimum", "Maximum"):
        if f"exclusive{bound}" in made:  # a boolean in OpenAPI 3.0
            made[bound.lower()] = made.pop(f"exclusive{bound}")
            made[f"exclusive{bound}"] = True
    if "properties" in made:
        made["properties"] = {name: _structural(value, known) for name, value in made["properties"].items()}
    elif isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _structural(schema["additionalProperties"], known)
    if "patternProperties" in made:
        (values,) = made.pop("patternProperties").values()
        made["additionalProperties"] = _structural(values, known)
    made.pop("propertyNames", None)
    if made.get("type") == "array" and "minLength" in made:  # pydantic's word for it where a validator follows
        made["minItems"] = made.pop("minLength")
    if "items" in made:
        made["items"] = _structural(made["items"], known)
    return made


def _rules(rules: tuple[tuple[str, str], ...]) -> list[Schema]:
    return [{"rule": rule, "message": message} for rule, message in rules]


_SANDBOX_COLUMNS = (
    ("Phase", "string", ".status.phase", "whether it serves", 0),
    ("Key", "string", ".status.routingKey", "the routing key that requests carry", 0),
    ("Revision", "integer", ".status.revision", "grows with every update", 0),
    ("Forks", "string", ".status.workloads", "the workloads that it replaces", 0),
    ("Owner", "string", f".metadata.annotations.{GROUP.replace('.', chr(92) + '.')}/owner", "whom to ask", 0),
    ("Expires", "date", ".status.expires", "when it ends by itself", 1),
    ("Age", "date", ".metadata.creationTimestamp", "since it was made", 0),
)
_GROUP_COLUMNS = (
    ("Phase", "string", ".status.phase", "whether every member serves", 0),
    ("Key", "string", ".status.routingKey", "the routing key that requests carry", 0),
    ("Members", "string", ".status.memberNames", "the Sandboxes that its key leads to", 0),
    _SANDBOX_COLUMNS[4],
    _SANDBOX_COLUMNS[6],
)
_CONDITIONS = Status.model_json_schema(by_alias=True)
_CONDITIONS = _structural(_CONDITIONS, _CONDITIONS["$defs"])["properties"]["conditions"]

_SANDBOX_KIND = _Kind(
    SANDBOX, "sandboxes", "sbx",
    "One change under test: requests that carry its routing key reach its shadows, no others do.",
    "What is wanted: the workloads that the sandbox replaces, and for how long.",
    Manifest, Status, _root_rules(SANDBOX), _SANDBOX_COLUMNS,
    {
        "workloads": {"type": "string", "description": "that are replaced, in one line"},
        "previews": {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    },
)  # fmt: skip
_GROUP_KIND = _Kind(
    ROUTE_GROUP, "routegroups", "rgr",
    "Several Sandboxes under one further routing key: requests that carry it reach the shadows of all of them.",
    "What is wanted: which Sandboxes are tried together.",
    GroupManifest, GroupStatus, _root_rules(ROUTE_GROUP), _GROUP_COLUMNS,
    {
        "phase": {"type": "string", "description": "Ready, Incomplete, Conflict, or Failed where it is refused"},
        "memberNames": {"type": "string", "description": "the members, in one line"},
        "conditions": _CONDITIONS,
    },
)  # fmt: skip


if __name__ == "__main__":
    import sys

    sys.stdout.write("# Made from the model: python -m controlplane.kubernetes.crd\n" + dump(definitions()))
