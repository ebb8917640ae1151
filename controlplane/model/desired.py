"""What people want of a sandbox. Only they change it: they apply a document, delete the sandbox, or let it expire."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from controlplane.model.sandbox import Fork, Metadata, Spec, ttl_seconds


class Part(BaseModel):
    """A part of a stored record. A field that this version does not know means a newer store: an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


KEPT_SPECS = 5
"""Before the one that is wanted: as far as one goes back by hand."""


class Past(Part):
    """A spec that was wanted before.

    first, last: the revisions that had it; more than one where its forks were started anew.
    applied:     when it was first.
    served:      every fork of it has answered.
    """

    spec: Spec
    first: int
    last: int
    applied: datetime
    served: bool


class DesiredFork(Part):
    """revision: of the sandbox, when this fork last became another."""

    fork: Fork
    revision: int


class Desired(Part):
    """metadata: as it was last applied; it makes no revision.
    revision: grows with every change of the spec, and when a fork is started anew.
    forks:    those of the spec, each with the revision that is wanted.
    first:    the revision that the spec made, 0 where an older version stored it; applied: when that was.
    extended: it lives at least until then.
    past:     the specs before, the oldest first.
    """

    spec: Spec
    metadata: Metadata | None = None
    revision: int
    created: datetime
    updated: datetime
    expires: datetime
    deleting: bool = False
    forks: tuple[DesiredFork, ...]
    first: int = 0
    applied: datetime | None = None
    extended: datetime | None = None
    past: tuple[Past, ...] = ()

    def updated_to(
        self,
        spec: Spec,
        now: datetime,
        default_ttl: int,
        metadata: Metadata | None = None,
        restart: frozenset[str] = frozenset(),
        *,
        served: bool = False,
    ) -> Desired:
        """The same spec again restarts the TTL; another one makes a revision, and so do workloads to `restart`.

        A fork that the update does not touch keeps its revision. What is being deleted begins anew.

        served: every fork of the spec that is wanted until now has answered.
        """
        times = {"updated": now, "metadata": metadata, **self._expiry(spec, now, default_ttl)}
        if not self.deleting and spec == self.spec and not restart:
            return self.model_copy(update=times)
        revision = self.revision + 1
        known = {} if self.deleting else {wanted.fork.workload: wanted for wanted in self.forks}

        def kept(fork: Fork) -> DesiredFork:
            old = known.get(fork.workload)
            same = old is not None and old.fork == fork and fork.workload not in restart
            return old if old is not None and same else DesiredFork(fork=fork, revision=revision)

        forks = tuple(map(kept, spec.forks))
        created = now if self.deleting else self.created
        changed = {"spec": spec, "revision": revision, "deleting": False, "created": created, "forks": forks}
        if self.deleting or spec != self.spec:
            changed |= {"first": revision, "applied": now, "past": self._past(served)}
        return self.model_copy(update=changed | times)

    def _expiry(self, spec: Spec, now: datetime, default_ttl: int) -> dict[str, datetime | None]:
        """Another TTL is what somebody wants now; with the same one, what was extended stays so."""
        end = expiry(spec, now, default_ttl)
        extended = None if self.deleting or spec.ttl != self.spec.ttl else self.extended
        return {"expires": max(end, extended) if extended is not None else end, "extended": extended}

    def _past(self, served: bool) -> tuple[Past, ...]:
        if self.deleting:
            return ()
        applied = self.applied or self.created
        last = Past(spec=self.spec, first=self.since, last=self.revision, applied=applied, served=served)
        return (*self.past, last)[-KEPT_SPECS:]

    @property
    def since(self) -> int:
        """The revision that the spec made."""
        return self.first or self.revision

    def rebuilt(self, workload: str) -> Desired:
        """The same, with one fork started anew."""
        revision = self.revision + 1
        forks = tuple(
            DesiredFork(fork=one.fork, revision=revision) if one.fork.workload == workload else one
            for one in self.forks
        )
        return self.model_copy(update={"revision": revision, "first": self.since, "forks": forks})

    def prolonged(self, seconds: int) -> Desired:
        """It lives so much longer than it would."""
        until = self.expires + timedelta(seconds=seconds)
        return self.model_copy(update={"expires": until, "extended": until})

    def deleted(self) -> Desired:
        return self.model_copy(update={"deleting": True})


def desired(name: str, spec: Spec, now: datetime, default_ttl: int, metadata: Metadata | None = None) -> Desired:
    """What is wanted of a new sandbox, revision 1."""
    spec = resolved(spec, name)
    return Desired(
        spec=spec,
        metadata=metadata,
        revision=1,
        created=now,
        updated=now,
        expires=expiry(spec, now, default_ttl),
        forks=tuple(DesiredFork(fork=fork, revision=1) for fork in spec.forks),
        first=1,
        applied=now,
    )


def lived(wanted: Desired) -> str:
    """How long it was to live, to stand behind "it expired, as ": as its document says it or would say it."""
    if wanted.extended is not None and wanted.expires <= wanted.extended:
        return "the time by which it was extended is over"
    return f"its ttl was {wanted.spec.ttl or _span(round((wanted.expires - wanted.updated).total_seconds()))}"


def _span(seconds: int) -> str:
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    unit, size = next((unit, size) for unit, size in units if not seconds % size)
    return f"{seconds // size}{unit}"


def resolved(spec: Spec, name: str) -> Spec:
    """The spec with its routing key written out, so that two ways to say the same compare equal."""
    return spec.model_copy(update={"routing_key": spec.routing_key or name})


def expiry(spec: Spec, now: datetime, default_ttl: int) -> datetime:
    return now + timedelta(seconds=ttl_seconds(spec.ttl) if spec.ttl else default_ttl)
