"""A sandbox as the registry stores it, and every step from what is wanted to what runs.

A record has two halves, as a Kubernetes resource has its spec and its status:

    desired     what people want; only their documents change it       controlplane.model.desired
    observed    what is so; only what happens changes it               controlplane.model.observed

A record is never changed. Each thing that can happen to a sandbox is a method that returns the next record:

    created -> updated* -> deleted -> (gone)      what people ask for
    started | not_started | died | lost | retired what becomes of the shadows
    in_force                                      what the sidecars acknowledged
    suspended                                     the registry stops, and its shadows with it
    slept | woken                                 nobody has called for long; somebody calls
    outdated | rebuilt                            a baseline has become another

so that the whole life is testable without a process, a clock or a database. The answer to a person
(`Record.sandbox`) and the routes (`controlplane.model.routes`) follow from the record alone: after a restart
both are what they were.

A fork has a revision that is *wanted* and a copy that is *good*, the last one that ever answered. An update
changes what is wanted; only an answer changes what is good, so a failed update leaves the good copy serving.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from controlplane.model.conditions import conditions
from controlplane.model.desired import Desired, Part, desired, resolved
from controlplane.model.observed import Copy, ForkState, Observed, ObservedFork, Setback, sleeps
from controlplane.model.sandbox import Metadata, Phase, Sandbox, Spec, Status
from controlplane.model.tombstone import KEPT_SECONDS, MAX_OF_ONE, Tombstone
from controlplane.rest import API_VERSION, SANDBOX


class Record(Part):
    """One sandbox.

    tombstones: of keys that it once had. A record may consist of nothing else.
    """

    name: str
    desired: Desired
    observed: Observed
    tombstones: tuple[Tombstone, ...] = ()

    @property
    def routing_key(self) -> str:
        return self.desired.spec.routing_key or self.name

    @property
    def deleting(self) -> bool:
        return self.desired.deleting

    @property
    def retiring(self) -> tuple[Copy, ...]:
        return self.observed.retiring

    @property
    def forks(self) -> tuple[ForkState, ...]:
        """Those that are wanted, each with what is so."""
        found = {fork.workload: fork for fork in self.observed.forks}
        asleep = self.observed.asleep
        return tuple(ForkState(wanted, found[wanted.fork.workload], asleep=asleep) for wanted in self.desired.forks)

    def fork(self, workload: str) -> ForkState | None:
        return next((fork for fork in self.forks if fork.fork.workload == workload), None)

    @property
    def phase(self) -> Phase:
        forks = self.forks
        if self.deleting:
            return Phase.DELETING
        if any(fork.starting for fork in forks):
            return Phase.PENDING
        if self.observed.asleep:
            return Phase.SLEEPING
        if not all(fork.alive for fork in forks):
            return Phase.FAILED
        if not all(fork.current for fork in forks):
            return Phase.DEGRADED
        return Phase.READY if self.observed.settled else Phase.PENDING

    @property
    def finished(self) -> bool:
        """Nothing of it is left to stop: there is no such sandbox any more."""
        return self.deleting and not self.retiring

    @property
    def forgotten(self) -> bool:
        """Not even a key of it is remembered."""
        return self.finished and not self.tombstones

    def sandbox(self) -> Sandbox:
        """The answer to a person."""
        wanted = self.desired
        status = Status(
            phase=self.phase,
            revision=wanted.revision,
            created=wanted.created,
            updated=wanted.updated,
            expires=wanted.expires,
            conditions=self.observed.conditions,
            forks=tuple(fork.status() for fork in self.forks),
        )
        return Sandbox(
            api_version=API_VERSION,
            kind=SANDBOX,
            metadata=wanted.metadata or Metadata(name=self.name),
            spec=wanted.spec,
            status=status,
        )

    # What people ask for.

    def updated_to(
        self,
        spec: Spec,
        now: datetime,
        default_ttl: int,
        metadata: Metadata | None = None,
        restart: frozenset[str] = frozenset(),
    ) -> Record:
        """The same spec again restarts the TTL and tries again what failed; another one makes a revision.

        A fork that the update does not touch keeps its revision and its shadow, unless it is to `restart`.
        """
        to = resolved(spec, self.name)
        wanted = self.desired.updated_to(to, now, default_ttl, metadata, restart, served=self.served)
        known = {} if self.deleting else {fork.workload: fork for fork in self.observed.forks}
        same = {fork.fork.workload: fork.revision for fork in self.desired.forks}

        def observed(workload: str, revision: int) -> ObservedFork:
            old = known.get(workload)
            if old is None:
                return ObservedFork(workload=workload)
            # Asking for the same again tries again at once; a new revision of it says nothing about the good copy.
            return old.changed(setback=None, ended=None) if same[workload] == revision else old.changed(setback=None)

        forks = tuple(observed(fork.fork.workload, fork.revision) for fork in wanted.forks)
        kept = {fork.workload for fork in forks}
        dropped = (fork.serving for workload, fork in known.items() if workload not in kept)
        retiring = self.retiring + tuple(copy for copy in dropped if copy is not None)
        record = self._next(now, desired=wanted, forks=forks, retiring=retiring, asleep=False)
        return record.without(record.routing_key)

    @property
    def served(self) -> bool:
        """Every fork has answered at the revision that is wanted."""
        return all(fork.good is not None and fork.good.revision == fork.revision for fork in self.forks)

    def extended(self, seconds: int, now: datetime) -> Record | None:
        """It lives so much longer. None: it is being deleted."""
        return None if self.deleting else self._next(now, desired=self.desired.prolonged(seconds))

    def deleted(self, now: datetime, why: str = "it was deleted") -> Record:
        """No routes any more; what runs is to be stopped, and its key is remembered."""
        tombstone = Tombstone(
            key=self.routing_key,
            forks=tuple((fork.fork.workload, fork.revision) for fork in self.desired.forks),
            ended=now,
            why=why,
            on_unavailable=self.desired.spec.on_unavailable,
        )
        record = self._next(
            now,
            desired=self.desired.deleted(),
            forks=tuple(fork.changed(alive=False) for fork in self.observed.forks),
            retiring=self.retiring + self._serving(),
            asleep=False,
        )
        return record.model_copy(update={"tombstones": (*self.tombstones, tombstone)[-MAX_OF_ONE:]})

    # What is forgotten.

    def buried(self) -> Record:
        """Of what has ended the keys are remembered; its secrets and its output are not."""
        spec = self.desired.spec
        forks = tuple(fork.model_copy(update={"env": None}) for fork in spec.forks)
        wanted = tuple(
            one.model_copy(update={"fork": fork}) for one, fork in zip(self.desired.forks, forks, strict=True)
        )
        bare = {"spec": spec.model_copy(update={"forks": forks}), "forks": wanted, "past": ()}
        empty = Observed(forks=tuple(ObservedFork(workload=fork.workload) for fork in forks))
        return self.model_copy(update={"desired": self.desired.model_copy(update=bare), "observed": empty})

    def without(self, key: str) -> Record:
        """Somebody has the key again."""
        return self.model_copy(update={"tombstones": tuple(one for one in self.tombstones if one.key != key)})

    def aged(self, now: datetime) -> Record | None:
        """Without the keys that have been remembered for long enough. None: there are none."""
        kept = tuple(one for one in self.tombstones if (now - one.ended).total_seconds() < KEPT_SECONDS)
        return self.model_copy(update={"tombstones": kept}) if kept != self.tombstones else None

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
        new = fork.observed.changed(good=copy, alive=True, setback=setback, ended=None)
        outdated = tuple(workload for workload in self.observed.outdated if workload != copy.fork.workload)
        return self._next(now, forks=self._with(new), retiring=retiring, outdated=outdated)

    def not_started(self, workload: str, setback: Setback, now: datetime) -> Record | None:
        """A start failed. What served before goes on serving; what served once is tried again."""
        fork = self.fork(workload)
        if fork is None or self.deleting:
            return None
        if fork.good is not None and fork.good.revision == setback.revision:
            return self._next(now, forks=self._with(fork.observed.changed(ended=setback.bounded())))
        if fork.revision != setback.revision:
            return None
        return self._next(now, forks=self._with(fork.observed.changed(setback=setback.bounded())))

    def died(self, workload: str, setback: Setback, now: datetime) -> Record | None:
        """The copy that served has ended by itself."""
        fork = self.fork(workload)
        if fork is None or fork.serving is None or fork.serving.revision != setback.revision:
            return None
        return self._next(now, forks=self._with(fork.observed.changed(alive=False, ended=setback.bounded())))

    def lost(self, workload: str, now: datetime) -> Record | None:
        """After a restart of the registry the copy is no longer there: it will be started again at once."""
        fork = self.fork(workload)
        if fork is None or not fork.alive:
            return None
        return self._next(now, forks=self._with(fork.observed.changed(alive=False, ended=None)))

    def retired(self, copy: Copy, now: datetime) -> Record | None:
        """A copy that no route leads to has ended."""
        if copy not in self.retiring:
            return None
        index = self.retiring.index(copy)
        return self._next(now, retiring=self.retiring[:index] + self.retiring[index + 1 :])

    def suspended(self, now: datetime) -> Record | None:
        """The registry stops its shadows with itself; it will start them again."""
        running = self._serving()
        if not running or self.deleting:
            return None
        found = self.observed.forks
        forks = tuple(fork.changed(alive=False, ended=None) if fork.alive else fork for fork in found)
        return self._next(now, forks=forks, retiring=self.retiring + running)

    def slept(self, now: datetime) -> Record | None:
        """Nobody has called for long enough: what we have started is stopped, and comes back when somebody calls."""
        resting = [fork for fork in self.forks if sleeps(fork.fork)]
        if self.deleting or self.phase is not Phase.READY or not resting:
            return None
        stopped = {fork.fork.workload for fork in resting}
        forks = tuple(
            fork.changed(alive=False, ended=None) if fork.workload in stopped else fork for fork in self.observed.forks
        )
        copies = tuple(fork.serving for fork in resting if fork.serving is not None)
        return self._next(now, forks=forks, retiring=self.retiring + copies, asleep=True)

    def woken(self, now: datetime) -> Record | None:
        """Somebody calls."""
        return self._next(now, asleep=False) if self.observed.asleep and not self.deleting else None

    # What becomes of the baselines.

    def outdated(self, workloads: tuple[str, ...], now: datetime) -> Record | None:
        """The copies that serve were made from what these baselines no longer are."""
        return (
            self._next(now, outdated=workloads) if not self.deleting and workloads != self.observed.outdated else None
        )

    def rebuilt(self, workload: str, now: datetime) -> Record | None:
        """The fork is started anew, from what its baseline is now. Nobody has asked: its end stays where it is."""
        fork = self.fork(workload)
        if fork is None or self.deleting or self.observed.asleep:
            return None
        forks = self._with(fork.observed.changed(setback=None))
        return self._next(now, desired=self.desired.rebuilt(workload), forks=forks)

    # What the sidecars acknowledged.

    def in_force(self, lagging: tuple[str, ...], unwatched: tuple[str, ...], now: datetime) -> Record | None:
        found = self.observed
        if (found.settled, found.lagging, found.unwatched) == (True, lagging, unwatched):
            return None
        return self._next(now, settled=True, lagging=lagging, unwatched=unwatched)

    def unsettled(self, now: datetime) -> Record:
        """The routes have changed: sidecars are to acknowledge it."""
        return self._next(now, settled=False, lagging=(), unwatched=())

    def _serving(self) -> tuple[Copy, ...]:
        return tuple(fork.serving for fork in self.observed.forks if fork.serving is not None)

    def _with(self, new: ObservedFork) -> tuple[ObservedFork, ...]:
        return tuple(new if fork.workload == new.workload else fork for fork in self.observed.forks)

    def _next(self, now: datetime, desired: Desired | None = None, **observed: Any) -> Record:
        found = self.observed.model_copy(update=observed)
        record = self.model_copy(update={"desired": desired or self.desired, "observed": found})
        told = found.model_copy(update={"conditions": conditions(record, now)})
        return record.model_copy(update={"observed": told})


def created(name: str, spec: Spec, now: datetime, default_ttl: int, metadata: Metadata | None = None) -> Record:
    """A new sandbox, revision 1, nothing of which runs yet."""
    wanted = desired(name, spec, now, default_ttl, metadata)
    forks = tuple(ObservedFork(workload=fork.workload) for fork in wanted.spec.forks)
    return Record(name=name, desired=wanted, observed=Observed(forks=forks)).unsettled(now)
