"""What a fork changes in its pods, beyond image, command and environment.

    valueFrom: [{name: DB_PASSWORD, secretKeyRef: {name: db, key: password}}]
    patch:     {spec: {containers: [{name: users, resources: {limits: {memory: 1Gi}}}]}}

A source of a value is one of those of `env[].valueFrom` of a container (kubernetes.io/docs/reference, EnvVarSource). A
patch is a strategic merge patch of a pod template; the API server applies it, so what it means is what it means there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from controlplane.model.workload import MAX_ARGUMENTS, MAX_VARIABLES, Text, VariableName

MAX_PATCH = 65536
"""Characters of a patch: a pod template is a few thousand."""


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_alias=True, validate_by_name=True
    )


_Named = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class KeySource(_Part):
    """One entry of a Secret or a ConfigMap in the workload's namespace."""

    name: _Named = Field(description="of the Secret or the ConfigMap")
    key: _Named = Field(description="of the entry")
    optional: bool | None = Field(default=None, description="true: without it the variable is not set, and no error")


class FieldSource(_Part):
    """A field of the shadow's own pod."""

    field_path: _Named = Field(description="as `metadata.name` or `status.podIP`")


class ResourceSource(_Part):
    """A request or a limit of a container of the shadow's own pod."""

    resource: _Named = Field(description="as `limits.memory`")
    container_name: _Named | None = Field(
        default=None, description="whose; absent: that of the container in which the variable is set"
    )
    divisor: _Named | None = Field(default=None, description="the unit, as `1Mi`")


class ValueSource(_Part):
    """One variable whose value the cluster knows."""

    name: VariableName = Field(description="of the variable")
    secret_key_ref: KeySource | None = Field(default=None, description="an entry of a Secret")
    config_map_key_ref: KeySource | None = Field(default=None, description="an entry of a ConfigMap")
    field_ref: FieldSource | None = Field(default=None, description="a field of the shadow's own pod")
    resource_field_ref: ResourceSource | None = Field(
        default=None, description="a request or a limit of a container of the shadow's own pod"
    )

    @model_validator(mode="after")
    def _one(self) -> ValueSource:
        if len(self.source()) != 1:
            raise ValueError("needs one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef")
        return self

    def source(self) -> dict[str, Any]:
        """As a container's `valueFrom` has it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"name"})


def _once(sources: tuple[ValueSource, ...]) -> tuple[ValueSource, ...]:
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"sets {name} more than once")
    return sources


ValueSources = Annotated[tuple[ValueSource, ...], Field(min_length=1, max_length=MAX_VARIABLES), AfterValidator(_once)]
PodArguments = Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_ARGUMENTS)]


def _template(patch: dict[str, Any]) -> dict[str, Any]:
    """Only what concerns the pod, and none of what leads requests without a key to it."""
    if not patch:
        raise ValueError("changes nothing: leave it out")
    if len(json.dumps(patch)) > MAX_PATCH:
        raise ValueError(f"is longer than {MAX_PATCH} characters")
    unknown = sorted(set(patch) - {"metadata", "spec"})
    if unknown:
        raise ValueError(f"is about a pod template, which has metadata and spec, and not {_listed(unknown)}")
    metadata, spec = patch.get("metadata", {}), patch.get("spec", {})
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise ValueError("metadata and spec must be objects")
    foreign = sorted(set(metadata) - {"annotations"})
    if foreign:
        message = "a shadow's labels and names are ours, so that nothing that selects its baseline selects it"
        raise ValueError(f"may change metadata.annotations, and not metadata.{foreign[0]}: {message}")
    return patch


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names)


Patch = Annotated[
    dict[str, Any],
    AfterValidator(_template),
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
