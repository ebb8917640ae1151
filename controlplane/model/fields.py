"""The fields of a document, read from its model: for a person who writes one, and for who has misspelt one.

    spec.services[].port    a whole number from 1 to 65535    the one that callers use: the sidecar's inbound side

What a field is for stands in its `description`, or in its class's docstring as `NAME: TEXT`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from controlplane.model.problem import says, words

_ENTRY = re.compile(r"^([a-z_]+(?:, [a-z_]+)*):\s+(\S.*)$")


@dataclass(frozen=True, slots=True)
class Described:
    """One field. path: `spec.forks[].workload`. kind: what may stand there, in words."""

    path: str
    kind: str
    required: bool
    default: str
    about: str


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[Described]:
    """Every field below `model`, a parent before its children, in the order of the model."""
    told = _docstring(model)
    for name, field in model.model_fields.items():
        alias = field.alias or name
        inner, many = _model(field.annotation)
        path = f"{prefix}{alias}{'[]' if many else ''}"
        about = field.description or told.get(name, "") or (_summary(inner) if inner else "")
        yield Described(path, _kind(field, inner, many=many), field.is_required(), _default(field, inner), about)
        if inner is not None:
            yield from fields_of(inner, f"{path}.")


def misspelt(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """What was probably meant by the unknown field at `location`, to stand behind "unknown field"; else ""."""
    wanted = str(location[-1])
    parent = re.sub(r"\[\]$", "", _written(location[:-1]))
    every = [item.path for item in fields_of(model)]
    below = f"{_written(location[:-1])}." if parent else ""
    own = {path.removeprefix(below).rstrip("[]") for path in every if path.startswith(below)}
    near = difflib.get_close_matches(wanted, [name for name in own if "." not in name and "[" not in name], n=1)
    if near:
        return f" (did you mean {near[0]!r}?)"
    elsewhere = [path.rstrip("[]") for path in every if path.rstrip("[]").rpartition(".")[2] == wanted]
    return f" (there is {' and '.join(elsewhere[:2])})" if elsewhere else ""


def _written(location: Sequence[int | str]) -> str:
    path = ""
    for step in location:
        path += "[]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path


def _model(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model inside an annotation, if there is one, and whether there are many of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    found: type[BaseModel] | None = None
    many = False
    for part in get_args(annotation):
        inner, repeated = _model(part)
        if inner is not None:
            found, many = inner, repeated or get_origin(annotation) is tuple
    return found, many


def _default(field: FieldInfo, inner: type[BaseModel] | None) -> str:
    value = field.get_default(call_default_factory=True, validated_data={}) if not field.is_required() else None
    if value is None or inner is not None or value in ((), {}, ""):
        return ""
    return str(getattr(value, "value", value)).replace(".0", "") if not isinstance(value, str) else value


def _kind(field: FieldInfo, inner: type[BaseModel] | None, *, many: bool) -> str:
    if inner is not None:
        return "list of objects" if many else "object"
    return _words(field.rebuild_annotation())


def _words(annotation: Any) -> str:
    """What may stand there. The schema's grammar is the one that is enforced."""
    return _of_schema(TypeAdapter(annotation).json_schema())


def _of_schema(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _of_schema(schema.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {"type": "object"}))
    if "anyOf" in schema:
        defs = {"$defs": schema.get("$defs", {})}
        return _of_schema(next(part for part in schema["anyOf"] if part.get("type") != "null") | defs)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_of_schema(schema.get('items', {'type': 'string'}))}"
    if schema.get("type") == "object":
        return "object" if "x-kubernetes-preserve-unknown-fields" in schema else "texts by name"
    if schema.get("type") in ("integer", "number"):
        bounds = [f"{word} {schema[key]:g}" for key, word in _BOUNDS.items() if key in schema]
        return " ".join(["number", *bounds])
    return words(schema["pattern"]) if "pattern" in schema and says(schema["pattern"]) else "text"


_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}


def _docstring(model: type[BaseModel]) -> dict[str, str]:
    """What a class says of its fields: `name, other: text`, which may go on in further lines that stand in more."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in (model.__doc__ or "").splitlines():
        entry = _ENTRY.match(line.strip())
        if entry:
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif names and line.startswith("     ") and line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return {name: text.rstrip(".") for name, text in found.items()}


def _summary(model: type[BaseModel]) -> str:
    """The first sentence of a class of our own; pydantic's is no help."""
    text = " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())
    if _ENTRY.match(text):
        return ""
    return re.split(r"(?<=[a-z`])[.:] ", f"{text} ")[0].strip().rstrip(".") if text else ""


def markdown(title: str, model: type[BaseModel]) -> str:
    """A table of every field."""
    rows = [f"| `{item.path}` | {item.kind} | {_need(item)} | {item.about} |" for item in fields_of(model)]
    return "\n".join([f"## {title}", "", "| field | holds | default | |", "|---|---|---|---|", *rows, ""])


def _need(item: Described) -> str:
    return "required" if item.required else f"`{item.default}`" if item.default else ""
