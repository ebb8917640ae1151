"""A sandbox as the registry stores it: what is wanted, what runs, and every step from one to the other.

A record is never changed. Each thing that can happen to a sandbox is a method that returns the next record:

    created -> updated* -> deleted -> (gone)      what people ask for
    started | not_started | died | lost | retired what becomes of the shadows
    in_force                                      what the sidecars acknowledged
    suspended                                     the registry stops, and its shadows with it

so that the whole life is testable without a process, a clock or a database. The answer to a person
(`Record.sandbox`) and the routes (`controlplane.model.routes`) follow from the record alone: after a restart
both are what they were.

A fork has a revision that is *wanted* and a copy that is *good*, the last one that ever answered. An update
changes what is wanted; only an answer changes what is good, so a failed update leaves the good copy serving.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from controlplane.model.sandbox import (
    Condition,
    Fork,
    ForkStatus,
    Metadata,
    Phase,
    Sandbox,
    Spec,
    Status,
    ttl_seconds,
)
from controlplane.rest import API_VERSION, SANDBOX
from proxy.contract.routes import State

MESSAGE_LINES = 20
"""Lines of output quoted in a fork's message: a Python traceback of the usual depth."""

MESSAGE_CHARACTERS = 4000

LOG_CHARACTERS = 65536
"""Kept of the output of a copy that failed."""

NAMED_SIDECARS = 5
"""Sidecars named in one message; the rest is a number."""


class Part(BaseModel):
    """A part of a stored record. A field that this version does not know means a newer store: an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Copy(Part):
    """A shadow that answered: which revision of which fork, where, and how its launcher finds it again."""

    revision: int
    fork: Fork
    endpoints: tuple[str, ...]
    handle: dict[str, Any]


class Setback(Part):
    """Why a revision does not serve. `message` is one sentence, `log` the last lines of its output."""

    revision: int
    message: str
    log: str = ""

    def told(self) -> str:
        """For a person: the sentence and the last lines."""
        tail = "\n".join(self.log.splitlines()[-MESSAGE_LINES:])[-MESSAGE_CHARACTERS:]
        said = f"revision {self.revision}: {self.message}"
        return f"{said}\n{tail}" if tail else said


class ForkRecord(Part):
    """One fork.

    fork, revision: what is wanted.
    good, alive:    the last copy that answered, and whether it still does.
    setback:        why what is wanted was given up. It stays so until somebody asks again.
    ended:          why the good copy is no longer alive. It is started again, with back-off.
    """

    fork: Fork
    revision: int
    good: Copy | None = None
    alive: bool = False
    setback: Setback | None = None
    ended: Setback | None = None

    @property
    def serving(self) -> Copy | None:
        return self.good if self.alive else None

    @property
    def current(self) -> bool:
        """What serves is what is wanted."""
        return self.alive and self.good is not None and self.good.revision == self.revision

    @property
    def target(self) -> tuple[int, Fork] | None:
        """The revision that should run: what is wanted, or the good one when that was given up."""
        if self.setback is None:
            return self.revision, self.fork
        return (self.good.revision, self.good.fork) if self.good else None

    @property
    def broken(self) -> Setback | None:
        """Why the target does not answer, as far as it has been tried."""
        if self.good is None:
            return self.setback
        return self.ended if self.setback is not None or self.good.revision == self.revision else None

    @property
    def starting(self) -> bool:
        """Something is under way whose outcome is not known."""
        return (not self.current and self.setback is None) if self.alive else self.broken is None

    def status(self) -> ForkStatus:
        message = "\n".join(setback.told() for setback in (self.setback, self.ended) if setback)
        serving = self.serving
        if serving is not None:
            return ForkStatus(
                workload=self.fork.workload,
                state=State.READY,
                revision=serving.revision,
                endpoints=serving.endpoints,
                message=message,
            )
        state = State.FAILED if self.broken else State.PENDING
        return ForkStatus(workload=self.fork.workload, state=state, revision=self.revision, message=message)


class Record(Part):
    """One sandbox.

    revision:  grows with every change of the spec.
    retiring:  copies that no route leads to any more and that are not known to have ended.
    settled:   the sidecars have acknowledged the routes, or had their time to.
    lagging:   sidecars that have not.
    unwatched: workloads no sidecar of which was connected when the routes changed.
    """

    name: str
    spec: Spec
    revision: int
    created: datetime
    updated: datetime
    expires: datetime
    deleting: bool = False
    forks: tuple[ForkRecord, ...]
    retiring: tuple[Copy, ...] = ()
    settled: bool = False
    lagging: tuple[str, ...] = ()
    unwatched: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def routing_key(self) -> str:
        return self.spec.routing_key or self.name

    @property
    def phase(self) -> Phase:
        if self.deleting:
            return Phase.DELETING
        if any(fork.starting for fork in self.forks):
            return Phase.PENDING
        if not all(fork.alive for fork in self.forks):
            return Phase.FAILED
        if not all(fork.current for fork in self.forks):
            return Phase.DEGRADED
        return Phase.READY if self.settled else Phase.PENDING

    @property
    def finished(self) -> bool:
        """Nothing of it is left to stop: the record may be forgotten."""
        return self.deleting and not self.retiring

    def fork(self, workload: str) -> ForkRecord | None:
        return next((fork for fork in self.forks if fork.fork.workload == workload), None)

    def sandbox(self) -> Sandbox:
        """The answer to a person."""
        status = Status(
            phase=self.phase,
            revision=self.revision,
            created=self.created,
            updated=self.updated,
            expires=self.expires,
            conditions=self.conditions,
            forks=tuple(fork.status() for fork in self.forks),
        )
        return Sandbox(
            api_version=API_VERSION, kind=SANDBOX, metadata=Metadata(name=self.name), spec=self.spec, status=status
        )

    # What people ask for.

    def updated_to(self, spec: Spec, now: datetime, default_ttl: int) -> Record:
        """The same spec again restarts the TTL and tries again what failed; another one makes a revision.

        A fork that the update does not touch keeps its revision and its shadow.
        """
        spec = resolved(spec, self.name)
        times = {"updated": now, "expires": expiry(spec, now, default_ttl)}
        if not self.deleting and spec == self.spec:
            return self._next(now, forks=tuple(_tried_again(fork) for fork in self.forks), **times)
        revision = self.revision + 1
        known = {} if self.deleting else {fork.fork.workload: fork for fork in self.forks}
        forks = tuple(_wanted(known.get(fork.workload), fork, revision) for fork in spec.forks)
        kept = {fork.workload for fork in spec.forks}
        dropped = [fork.serving for workload, fork in known.items() if workload not in kept]
        return self._next(
            now,
            spec=spec,
            revision=revision,
            deleting=False,
            created=now if self.deleting else self.created,
            forks=forks,
            retiring=self.retiring + tuple(copy for copy in dropped if copy is not None),
            **times,
        )

    def deleted(self, now: datetime) -> Record:
        """No routes any more; what runs is to be stopped."""
        running = tuple(fork.serving for fork in self.forks)
        return self._next(
            now,
            deleting=True,
            forks=tuple(_changed(fork, alive=False) for fork in self.forks),
            retiring=self.retiring + tuple(copy for copy in running if copy is not None),
        )

    # What becomes of the shadows. A step that has been overtaken returns None.

    def started(self, copy: Copy, now: datetime) -> Record | None:
        """A copy answers: it serves from now on, and the one before it retires.

        Overtaken when another revision is wanted by now, unless it is the good one coming back.
        """
        fork = self.fork(copy.fork.workload)
        if fork is None or self.deleting:
            return None
        comes_back = fork.good is not None and not fork.alive and fork.good.revision == copy.revision
        if copy.revision != fork.revision and not comes_back:
            return None
        setback = fork.setback if copy.revision != fork.revision else None
        retiring = self.retiring if fork.serving is None else (*self.retiring, fork.serving)
        new = _changed(fork, good=copy, alive=True, setback=setback, ended=None)
        return self._next(now, forks=self._with(new), retiring=retiring)

    def not_started(self, workload: str, setback: Setback, now: datetime) -> Record | None:
        """A start failed. What served before goes on serving; what served once is tried again."""
        fork = self.fork(workload)
        if fork is None or self.deleting:
            return None
        if fork.good is not None and fork.good.revision == setback.revision:
            return self._next(now, forks=self._with(_changed(fork, ended=_bounded(setback))))
        if fork.revision != setback.revision:
            return None
        return self._next(now, forks=self._with(_changed(fork, setback=_bounded(setback))))

    def died(self, workload: str, setback: Setback, now: datetime) -> Record | None:
        """The copy that served has ended by itself."""
        fork = self.fork(workload)
        if fork is None or fork.serving is None or fork.serving.revision != setback.revision:
            return None
        return self._next(now, forks=self._with(_changed(fork, alive=False, ended=_bounded(setback))))

    def lost(self, workload: str, now: datetime) -> Record | None:
        """After a restart of the registry the copy is no longer there: it will be started again at once."""
        fork = self.fork(workload)
        if fork is None or not fork.alive:
            return None
        return self._next(now, forks=self._with(_changed(fork, alive=False, ended=None)))

    def retired(self, copy: Copy, now: datetime) -> Record | None:
        """A copy that no route leads to has ended."""
        if copy not in self.retiring:
            return None
        index = self.retiring.index(copy)
        return self._next(now, retiring=self.retiring[:index] + self.retiring[index + 1 :])

    def suspended(self, now: datetime) -> Record | None:
        """The registry stops its shadows with itself; it will start them again."""
        running = tuple(fork.serving for fork in self.forks if fork.serving is not None)
        if not running or self.deleting:
            return None
        forks = tuple(_changed(fork, alive=False, ended=None) if fork.alive else fork for fork in self.forks)
        return self._next(now, forks=forks, retiring=self.retiring + running)

    # What the sidecars acknowledged.

    def in_force(self, lagging: tuple[str, ...], unwatched: tuple[str, ...], now: datetime) -> Record | None:
        if (self.settled, self.lagging, self.unwatched) == (True, lagging, unwatched):
            return None
        return self._next(now, settled=True, lagging=lagging, unwatched=unwatched)

    def unsettled(self, now: datetime) -> Record:
        """The routes have changed: sidecars are to acknowledge it."""
        return self._next(now, settled=False, lagging=(), unwatched=())

    def _with(self, new: ForkRecord) -> tuple[ForkRecord, ...]:
        return tuple(new if fork.fork.workload == new.fork.workload else fork for fork in self.forks)

    def _next(self, now: datetime, **changed: Any) -> Record:
        record = self.model_copy(update=changed)
        return record.model_copy(update={"conditions": _conditions(record, now)})


def created(name: str, spec: Spec, now: datetime, default_ttl: int) -> Record:
    """A new sandbox, revision 1, nothing of which runs yet."""
    spec = resolved(spec, name)
    record = Record(
        name=name,
        spec=spec,
        revision=1,
        created=now,
        updated=now,
        expires=expiry(spec, now, default_ttl),
        forks=tuple(ForkRecord(fork=fork, revision=1) for fork in spec.forks),
    )
    return record.unsettled(now)


def resolved(spec: Spec, name: str) -> Spec:
    """The spec with its routing key written out, so that two ways to say the same compare equal."""
    return spec.model_copy(update={"routing_key": spec.routing_key or name})


def expiry(spec: Spec, now: datetime, default_ttl: int) -> datetime:
    return now + timedelta(seconds=ttl_seconds(spec.ttl) if spec.ttl else default_ttl)


def _changed(record: ForkRecord, **changed: Any) -> ForkRecord:
    return record.model_copy(update=changed)


def _tried_again(record: ForkRecord) -> ForkRecord:
    return _changed(record, setback=None, ended=None)


def _wanted(old: ForkRecord | None, fork: Fork, revision: int) -> ForkRecord:
    if old is None:
        return ForkRecord(fork=fork, revision=revision)
    if old.fork == fork:
        return _tried_again(old)
    return old.model_copy(update={"fork": fork, "revision": revision, "setback": None})


def _bounded(setback: Setback) -> Setback:
    return setback.model_copy(update={"log": setback.log[-LOG_CHARACTERS:]})


def _conditions(record: Record, now: datetime) -> tuple[Condition, ...]:
    """Those of the record, each with the time at which its status last became another."""
    before = {condition.type: condition for condition in record.conditions}
    made = []
    for kind, judge in _JUDGES.items():
        status, reason, message = judge(record)
        old = before.get(kind)
        since = old.last_transition_time if old is not None and old.status == status else now
        made.append(Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since))
    return tuple(made)


_Verdict = tuple[Literal["True", "False", "Unknown"], str, str]


def _ready(record: Record) -> _Verdict:
    phase = record.phase
    if phase is Phase.READY:
        return "True", "ShadowsServe", ""
    if phase is Phase.DELETING:
        return "False", "Deleting", "the routes are gone, the shadows are being stopped"
    starting = [fork for fork in record.forks if fork.starting]
    if phase is Phase.PENDING and starting:
        return "False", "Starting", "; ".join(map(_starting, starting))
    if phase is Phase.PENDING:
        return "False", "WaitingForSidecars", "the shadows serve; not every sidecar has the routes yet"
    setbacks = [(fork, setback) for fork in record.forks for setback in (fork.setback, fork.ended) if setback]
    told = "\n".join(f"{fork.fork.workload} {setback.told()}" for fork, setback in setbacks)
    return "False", "UpdateFailed" if phase is Phase.DEGRADED else "ShadowFailed", told


def _starting(fork: ForkRecord) -> str:
    serving = fork.serving
    meanwhile = f", revision {serving.revision} serves until then" if serving else ""
    return f"{fork.fork.workload}: revision {fork.revision} is being started{meanwhile}"


def _in_force(record: Record) -> _Verdict:
    if record.deleting:
        return "False", "Deleting", "the routes are gone"
    if not record.settled:
        return "Unknown", "WaitingForSidecars", "sidecars are being told"
    if record.lagging:
        named = ", ".join(record.lagging[:NAMED_SIDECARS])
        more = len(record.lagging) - NAMED_SIDECARS
        return "False", "SidecarsLag", f"not acknowledged by {named}{f' and {more} more' if more > 0 else ''}"
    if record.unwatched:
        where = ", ".join(record.unwatched)
        return "Unknown", "NoSidecars", f"no sidecar was connected when the routes changed: {where}"
    return "True", "Acknowledged", ""


_JUDGES: dict[str, Callable[[Record], _Verdict]] = {"Ready": _ready, "RoutesInForce": _in_force}
