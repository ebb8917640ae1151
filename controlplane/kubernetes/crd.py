"""The CustomResourceDefinition of a Sandbox, made from the one model.

A structural schema (kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions) is less
than JSON Schema: no references, one type each, no choice between shapes. What it cannot say is said in CEL, in the
words in which the model says it. `python -m controlplane.kubernetes.crd` prints it.
"""

from __future__ import annotations

from typing import Any

from controlplane.kubernetes.documents import dump
from controlplane.kubernetes.names import GROUP
from controlplane.model.sandbox import Manifest, Status
from controlplane.rest import API_VERSION, SANDBOX

Schema = dict[str, Any]

_LEFT_OUT = ("title", "default", "additionalProperties", "discriminator", "oneOf", "examples", "$defs")

_FORK_RULES = (
    (
        "has(self.image) || has(self.command) || has(self.endpoints)",
        "says nothing that could start a shadow: give image, command or endpoints",
    ),
    (
        "!has(self.endpoints) || !(has(self.image) || has(self.command))",
        "has both endpoints and what starts a shadow: say one",
    ),
    (
        "!has(self.reachable) || has(self.endpoints)",
        "reachable needs endpoints: a shadow that we start is always reached",
    ),
    ("!has(self.env) || has(self.image) || has(self.command)", "env needs an image or a command"),
    ("!has(self.cwd)", "a pod's folder is that of its image: leave cwd out"),
    ("!has(self.files) && !has(self.build)", "pushed files are not laid into pods yet: build an image"),
)

_SPEC_RULES = (
    ("self.forks.all(one, self.forks.exists_one(other, other.workload == one.workload))", "one fork per workload"),
)

_KEY = "(has({0}.spec.routingKey) ? {0}.spec.routingKey : {0}.metadata.name)"
_ROOT_RULES = (
    (
        f"{_KEY.format('self')} == {_KEY.format('oldSelf')}",
        "spec.routingKey cannot change: traffic carries it. Delete the Sandbox first",
    ),
)

_COLUMNS = (
    ("Phase", "string", ".status.phase", "whether it serves", 0),
    ("Key", "string", ".status.routingKey", "the routing key that requests carry", 0),
    ("Revision", "integer", ".status.revision", "grows with every update", 0),
    ("Forks", "string", ".status.workloads", "the workloads that it replaces", 0),
    ("Owner", "string", f".metadata.annotations.{GROUP.replace('.', chr(92) + '.')}/owner", "whom to ask", 0),
    ("Expires", "date", ".status.expires", "when it ends by itself", 1),
    ("Age", "date", ".metadata.creationTimestamp", "since it was made", 0),
)


def definition() -> Schema:
    """The CustomResourceDefinition."""
    group, version = API_VERSION.split("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"sandboxes.{group}"},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {
                "kind": SANDBOX,
                "listKind": f"{SANDBOX}List",
                "plural": "sandboxes",
                "singular": "sandbox",
                "shortNames": ["sbx"],
                "categories": ["skycap"],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": place, "description": about, "priority": priority}
                        for name, kind, place, about, priority in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": _root()},
                }
            ],
        },
    }


def _root() -> Schema:
    whole = Manifest.model_json_schema(by_alias=True)
    spec = _structural(whole["properties"]["spec"], whole["$defs"])
    spec["properties"]["forks"]["items"]["x-kubernetes-validations"] = _rules(_FORK_RULES)
    spec["properties"]["forks"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["workload"]}
    spec["x-kubernetes-validations"] = _rules(_SPEC_RULES)
    spec["description"] = "What is wanted: the workloads that the sandbox replaces, and for how long."
    name = _structural(whole["$defs"]["Metadata"]["properties"]["name"], whole["$defs"])
    return {
        "type": "object",
        "description": "One change under test: requests that carry its routing key reach its shadows, no others do.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": spec,
            "status": _status(),
        },
        "x-kubernetes-validations": _rules(_ROOT_RULES),
    }


def _status() -> Schema:
    whole = Status.model_json_schema(by_alias=True)
    found = _structural(whole, whole.get("$defs", {}))
    found.pop("required", None)  # what cannot be what it says has conditions and nothing else
    found["description"] = "What is so; written by the control plane."
    found["properties"] |= {
        "observedGeneration": {"type": "integer", "format": "int64", "description": "of the spec that this is about"},
        "routingKey": {"type": "string", "description": "what requests carry"},
        "workloads": {"type": "string", "description": "that are replaced, in one line"},
        "record": {"type": "string", "description": "the control plane's own notes, with which it begins again"},
    }
    conditions = found["properties"]["conditions"]
    conditions |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    found["properties"]["previews"] = {
        "type": "array",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
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


if __name__ == "__main__":
    import sys

    sys.stdout.write("# Made from the model: python -m controlplane.kubernetes.crd\n" + dump([definition()]))
