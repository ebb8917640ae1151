"""A route group: several sandboxes under one further routing key, to try their changes together.

A request with the group's key is led to the shadows of all its members, each where it forks a workload. The members
keep their own keys, and live as they lived before. Where two of them fork the same workload nobody can say which is
meant: requests with the group's key are refused there, and the status says who is in whose way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from controlplane.model.desired import Part
from controlplane.model.fields import misspelt
from controlplane.model.problem import invalid, refused, show
from controlplane.model.sandbox import Key, Metadata, Name, Phase, Reported, Resource, Timestamp
from proxy.contract.routes import OnUnavailable, Route, State, decode_route, encode_route

MAX_MEMBERS = 32
"""Of one group: a change of more teams than this is a release."""

ENDED = "it was deleted"
EMPTY = "its last sandbox has ended"


def _different(members: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in members if members.count(name) > 1})
    if twice:
        raise ValueError(f"names {', '.join(map(show, twice))} more than once")
    return members


class GroupSpec(Resource):
    routing_key: Key | None = Field(default=None, description="by default the group's name")
    members: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_MEMBERS), AfterValidator(_different)] = (
        Field(description="names of sandboxes; one that there is not yet is taken in as soon as it is made")
    )


class GroupPhase(Enum):
    """Ready: each workload that a member forks has one that serves, or is about to. Incomplete: a member is missing, or
    one of its forks serves nothing. Conflict: two members fork the same workload.
    """

    READY = "Ready"
    INCOMPLETE = "Incomplete"
    CONFLICT = "Conflict"


class Member(Reported):
    """phase: of the sandbox; absent: there is none of that name."""

    sandbox: str
    phase: Phase | None = None
    workloads: tuple[str, ...] = ()


class GroupConflict(Reported):
    """A workload that several members fork: requests with the group's key are refused there."""

    workload: str
    sandboxes: tuple[str, ...]
    message: str


class GroupRoute(Reported):
    """Where requests with the group's key are led."""

    workload: str
    sandbox: str
    revision: int
    state: State


class GroupStatus(Reported):
    phase: GroupPhase
    message: str = ""
    created: Timestamp
    updated: Timestamp
    members: tuple[Member, ...] = ()
    conflicts: tuple[GroupConflict, ...] = ()
    routes: tuple[GroupRoute, ...] = ()


class _Document(Resource):
    api_version: Literal["skycap.dev/v1alpha1"]
    kind: Literal["RouteGroup"]
    metadata: Metadata
    spec: GroupSpec


class GroupManifest(_Document):
    """A group as it is sent."""

    status: dict[str, Any] | None = Field(default=None, description="that of an answer: ignored, whatever it says")


class RouteGroup(_Document):
    """A group as it is answered."""

    status: GroupStatus | None = None

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def routing_key(self) -> str:
        return self.spec.routing_key or self.metadata.name

    def document(self) -> dict[str, Any]:
        """The JSON form, without what was not said."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class GroupRecord(Part):
    """A group as it is stored.

    routes: what was told to the sidecars; a group whose sandboxes change tells what differs from it.
    ended:  when, and then its routes are tombstones.
    """

    group: RouteGroup
    created: datetime
    updated: datetime
    routes: tuple[dict[str, Any], ...] = ()
    ended: datetime | None = None

    @property
    def name(self) -> str:
        return self.group.metadata.name

    @property
    def routing_key(self) -> str:
        return self.group.routing_key

    def told(self) -> list[Route]:
        return [decode_route(route, lenient=True) for route in self.routes]

    def telling(self, routes: Iterable[Route]) -> GroupRecord:
        return self.model_copy(update={"routes": tuple(map(encode_route, routes))})

    def over(self, now: datetime, why: str) -> GroupRecord:
        """Its key is remembered: a test that goes on with it is not to be served by the baseline in silence."""
        since = now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        tombstones = [
            Route(one.workload, one.key, (), self.name, one.revision, State.ENDED, one.on_unavailable, since,
                  f"route group {self.name}: {why}")
            for one in self.told()
        ]  # fmt: skip
        return self.model_copy(update={"ended": now}).telling(tombstones)


def parse_group(document: object, name: str) -> RouteGroup:
    """A group from its JSON form. Raises DocumentError with every problem. name: what the request's path says."""
    try:
        manifest = GroupManifest.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise refused(error, partial(misspelt, GroupManifest)) from None
    if manifest.metadata.name != name:
        raise invalid("metadata.name", f"{show(manifest.metadata.name)} is not {name!r}, as the path says")
    return RouteGroup(
        api_version=manifest.api_version, kind=manifest.kind, metadata=manifest.metadata, spec=manifest.spec
    )


def conflicts(members: Sequence[str], routes: Mapping[str, Sequence[Route]]) -> list[GroupConflict]:
    """routes: of each member that there is, with its own key."""
    forking: dict[str, list[str]] = {}
    for member in members:
        for route in routes.get(member, ()):
            if route.state is not State.ENDED:
                forking.setdefault(route.workload, []).append(member)
    return [
        GroupConflict(
            workload=workload,
            sandboxes=tuple(both),
            message=f"{' and '.join(both)} both fork {workload}, and nobody can say which is meant: take one of them "
            "out of the group, or the fork out of one of them",
        )
        for workload, both in forking.items()
        if len(both) > 1
    ]


def routes_of_group(group: RouteGroup, routes: Mapping[str, Sequence[Route]]) -> list[Route]:
    """What follows from the routes of its members. A workload that several of them fork has failed, by name."""
    key = group.routing_key
    found: dict[str, Route] = {}
    disputed = {conflict.workload for conflict in conflicts(group.spec.members, routes)}
    for member in group.spec.members:
        for one in routes.get(member, ()):
            if one.workload in disputed or (one.workload in found and one.state is State.ENDED):
                continue
            found[one.workload] = Route(
                one.workload, key, one.endpoints, one.sandbox, one.revision, one.state, one.on_unavailable, one.since,
                one.why, one.asleep, one.ports,
            )  # fmt: skip
    for workload in disputed:
        found[workload] = Route(workload, key, (), group.name, 1, State.FAILED, OnUnavailable.ERROR)
    return sorted(found.values(), key=lambda route: route.workload)


def answer(record: GroupRecord, phases: Mapping[str, Phase], routes: Mapping[str, Sequence[Route]]) -> RouteGroup:
    """The answer to a person. phases: of the members that there are."""
    members = tuple(
        Member(
            sandbox=name,
            phase=phases.get(name),
            workloads=tuple(route.workload for route in routes.get(name, ()) if route.state is not State.ENDED),
        )
        for name in record.group.spec.members
    )
    found = conflicts(record.group.spec.members, routes)
    missing = [member.sandbox for member in members if member.phase is None]
    failed = [member.sandbox for member in members if member.phase is Phase.FAILED]
    told = [conflict.message for conflict in found]
    told += [f"there is no sandbox {name!r}" for name in missing] + [f"sandbox {name!r} has failed" for name in failed]
    phase = GroupPhase.CONFLICT if found else GroupPhase.INCOMPLETE if missing or failed else GroupPhase.READY
    status = GroupStatus(
        phase=phase,
        message="; ".join(told),
        created=record.created,
        updated=record.updated,
        members=members,
        conflicts=tuple(found),
        routes=tuple(
            GroupRoute(workload=route.workload, sandbox=route.sandbox, revision=route.revision, state=route.state)
            for route in record.told()
        ),
    )
    return record.group.model_copy(update={"status": status})
