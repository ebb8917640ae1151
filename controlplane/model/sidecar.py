"""Sidecars as the registry knows them: who watches, and how far each one is."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from controlplane.model.problem import SIDECAR_ID, anchored
from controlplane.model.sandbox import Key, Reported, Timestamp
from controlplane.model.workload import IsNumber, WorkloadName

SidecarId = Annotated[str, StringConstraints(pattern=anchored(SIDECAR_ID), max_length=192)]

MAX_REVISION = 2**53 - 1
"""The largest whole number that every JSON reader keeps exact."""


MAX_WAITING = 1000


class SidecarReport(BaseModel):
    """What a sidecar says of itself: `PUT /v1/sidecars/ID`, after every change that it has put to use.

    appliedRevision: the `id:` of the last event that is in force there; 0 before the first.
    version:         of the sidecar; absent from old ones.
    waiting:         routing keys for whose shadow, which sleeps, a request waits there.

    Other fields are accepted and ignored: sidecars are updated later than the registry, or earlier.
    """

    model_config = ConfigDict(
        extra="ignore", frozen=True, alias_generator=to_camel, validate_by_alias=True, validate_by_name=True
    )

    workload: WorkloadName
    applied_revision: Annotated[int, Field(ge=0, le=MAX_REVISION), IsNumber]
    version: Annotated[str, StringConstraints(max_length=64)] = ""
    waiting: Annotated[tuple[Key, ...], Field(max_length=MAX_WAITING)] = ()


class Sidecar(Reported):
    """One sidecar. `inSync`: it is connected and has acknowledged all that was sent to it."""

    id: SidecarId
    workload: str
    connected: bool
    in_sync: bool
    sent_revision: int = Field(description="the id of the last event that was sent to it")
    applied_revision: int = Field(description="the id of the last event that it said is in force")
    last_seen: Timestamp
    version: str | None = Field(default=None, description="of the sidecar, as far as it has said so")
