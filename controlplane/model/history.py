"""The specs that a sandbox had, what differs between two of them, and what goes back to one.

The last KEPT_SPECS before the one that is wanted are kept in its record. A restart makes a revision of the same spec,
so one spec may have several revisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from controlplane.model.desired import Desired, Past
from controlplane.model.problem import written_path
from controlplane.model.sandbox import Reported, Resource, Spec, Timestamp, Ttl
from controlplane.model.workload import IsNumber

_NAMES = ("workload", "name")
"""By which the entries of a list are told apart, in this order: their place in it means nothing."""

_MISSING = object()

Revision = Annotated[int, Field(ge=1, le=2**53 - 1), IsNumber]


class Rollback(Resource):
    """Go back to a spec that the sandbox had."""

    revision: Revision | None = Field(
        default=None, description="that had it; absent: the newest before this one that has served"
    )


class Extension(Resource):
    """Let a sandbox live longer."""

    ttl: Ttl = Field(description="by so much, counted from when it would expire")


class SpecRevision(Reported):
    """A spec that a sandbox has or had.

    revision: the last one that had it; first: the one that it made.
    current:  it is the one that is wanted.
    served:   every fork of it has answered.
    changed:  the paths at which it differs from the one before, as far as that is kept.
    """

    revision: Annotated[int, IsNumber]
    first: Annotated[int, IsNumber]
    applied: Timestamp
    current: bool
    served: bool
    changed: tuple[str, ...] = ()
    spec: Spec


class Difference(Reported):
    """One value that differs. path: `spec.forks[shop/users].command`; before, after: absent where there is none."""

    path: str
    before: Any = None
    after: Any = None


class Differences(Reported):
    """What differs between the specs of two revisions, nothing where they have the same."""

    from_revision: Annotated[int, IsNumber]
    to_revision: Annotated[int, IsNumber]
    changes: tuple[Difference, ...] = ()


def specs(wanted: Desired, served: bool) -> tuple[Past, ...]:
    """All that are kept, the one that is wanted last. served: whether that one has."""
    applied = wanted.applied or wanted.created
    current = Past(spec=wanted.spec, first=wanted.since, last=wanted.revision, applied=applied, served=served)
    return (*wanted.past, current)


def history(wanted: Desired, served: bool) -> list[SpecRevision]:
    """The newest first."""
    kept = specs(wanted, served)
    told = []
    for place, one in enumerate(kept):
        changed = differences(kept[place - 1].spec, one.spec) if place else ()
        told.append(SpecRevision(
            revision=one.last, first=one.first, applied=one.applied, current=one is kept[-1], served=one.served,
            changed=tuple(item.path for item in changed), spec=one.spec,
        ))  # fmt: skip
    return told[::-1]


def differences(before: Spec, after: Spec) -> tuple[Difference, ...]:
    """By path. A fork is the same one when its workload is."""
    told = (spec.model_dump(mode="json", by_alias=True, exclude_none=True) for spec in (before, after))
    return tuple(_differ("spec", *told))


def _differ(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if before == after:
        return
    old, new = _parts(before), _parts(after)
    if old is None or new is None:
        known = {"before": before, "after": after}
        yield Difference(path=path, **{side: value for side, value in known.items() if value is not _MISSING})
        return
    for part in dict.fromkeys((*old, *new)):
        yield from _differ(path + part, old.get(part, _MISSING), new.get(part, _MISSING))


def _parts(value: Any) -> dict[str, Any] | None:
    """What can be compared by itself, by what stands behind the path. None: the value is compared as a whole."""
    if isinstance(value, Mapping):
        return {written_path(("spec", str(name))).removeprefix("spec"): part for name, part in value.items()}
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        for name in _NAMES:
            if all(isinstance(part.get(name), str) for part in value):
                return {f"[{part[name]}]": part for part in value}
    return None
