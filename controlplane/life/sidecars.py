"""Which sidecars there are, and what they have put to use.

A change is *in force* when every sidecar of its workload has acknowledged an event with its id or a later one.
Two things wait for that, and they differ in whom they wait for:

* `in_force`, before a sandbox is called Ready: the sidecars that are connected. One that disconnects has to
  fetch the table anew before it says it is in sync, so nobody waits for it.
* `abandoned`, before an old shadow is stopped: also those that were connected a moment ago. They may still
  send requests to it while they reconnect. So may all sidecars after the registry itself has been away, which
  is why it waits `grace` seconds after a restart whatever anybody acknowledges.

Both are bounded: one hung sidecar must not keep old shadows alive. Nor may it delay every sandbox by the bound: who
has let a wait for `in_force` run out is named as lagging from then on and waited for no more, until it acknowledges
again. Nor is one waited for that has never said anything: until it has its table a sidecar holds keyed requests, so
nothing goes wrong meanwhile; one that comes back after a restart of the registry has an old table, and is.

A wait costs its workload's sidecars once, at its beginning; after that each report touches only the waits of its own
workload.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from controlplane.life.clock import Clock
from controlplane.life.watchers import Watcher
from controlplane.model.sidecar import Sidecar
from proxy.base.tasks import Tasks

ACKNOWLEDGE_SECONDS = 5.0
"""For every connected sidecar to acknowledge. One takes milliseconds; five seconds is one that hangs."""

RECONNECT_SECONDS = 3.0
"""How long a sidecar that has gone counts as one that may come back and still has the old table."""

RESTART_GRACE_SECONDS = 10.0
"""After a restart: until every living sidecar has reconnected, its back-off included."""

FORGET_SECONDS = 600.0
"""How long a sidecar that has gone is still listed."""

MAX_SIDECARS = 20_000
"""Known at once; the longest gone are forgotten first."""

_FIRST_BACK = ""
"""Among the missing: the first sidecar to come back after a restart, whichever it is."""

_GRACE = "\n"
"""Among the missing: all who may come back until the grace is over."""


@dataclass(slots=True)
class _Known:
    """What is known of one sidecar.

    gone:   when its stream ended, on the monotonic clock.
    heard:  it has acknowledged something, or may do so with an old table.
    deaf:   it has let a wait run out since.
    """

    id: str
    workload: str
    applied: int
    seen: datetime
    gone: float
    watcher: Watcher | None = None
    heard: bool = False
    deaf: bool = False
    version: str = ""

    @property
    def connected(self) -> bool:
        return self.watcher is not None

    @property
    def sent(self) -> int:
        return self.watcher.sent if self.watcher is not None else 0


class _Wait:
    """For one change to be acknowledged by everybody in `missing`."""

    __slots__ = ("done", "missing", "patient", "revision")

    def __init__(self, revision: int, missing: set[str], patient: bool) -> None:
        self.revision = revision
        self.missing = missing
        self.patient = patient
        """Disconnecting is no acknowledgement."""
        self.done = asyncio.Event()
        self.check()

    def check(self) -> None:
        if not self.missing:
            self.done.set()


class Sidecars:
    """All sidecars that watch, or have just stopped to.

    restarted: there were routes before this registry started, so sidecars may still have them.
    """

    def __init__(self, clock: Clock, tasks: Tasks, restarted: bool) -> None:
        self._clock = clock
        self._tasks = tasks
        self._known: dict[str, _Known] = {}
        self._of_workload: dict[str, set[str]] = {}
        self._waits: dict[str, set[_Wait]] = {}
        self._grace_ends = clock.monotonic() + RESTART_GRACE_SECONDS if restarted else 0.0
        self._hurried = False

    def __repr__(self) -> str:
        return f"<Sidecars {sum(known.connected for known in self._known.values())} connected of {len(self._known)}>"

    def connected(self, watcher: Watcher, applied: int) -> None:
        """A stream has its table. A second one of the same id replaces the first, which is cut.

        applied: what the sidecar had before, when the stream resumes; 0 when it got a snapshot.
        """
        known = self._find(watcher.sidecar, watcher.workload)
        if known.watcher is not None and known.watcher is not watcher:
            known.watcher.cut()
        known.watcher = watcher
        known.applied = applied
        known.heard = known.heard or (applied > 0 and self.returning)

    def disconnected(self, watcher: Watcher) -> None:
        known = self._known.get(watcher.sidecar)
        if known is None or known.watcher is not watcher:
            return
        known.watcher = None
        known.seen, known.gone = self._clock.now(), self._clock.monotonic()
        for wait in tuple(self._waits.get(known.workload, ())):
            if not wait.patient:
                wait.missing.discard(known.id)
                wait.check()

    def reported(self, sidecar: str, workload: str, applied: int, version: str = "") -> None:
        """A sidecar says what it has put to use. version: its own, "" when it does not say."""
        known = self._find(sidecar, workload)
        known.version = version or known.version
        known.applied = applied
        known.heard, known.deaf = True, False
        for wait in tuple(self._waits.get(workload, ())):
            if applied >= wait.revision:
                wait.missing.discard(sidecar)
                wait.missing.discard(_FIRST_BACK)
                wait.check()

    def of(self, workload: str) -> list[Sidecar]:
        """Those of one workload, by id."""
        return [_shown(self._known[ident]) for ident in sorted(self._of_workload.get(workload, ()))]

    def ids(self) -> list[str]:
        """Sorted."""
        return sorted(self._known)

    def get(self, ident: str) -> Sidecar | None:
        known = self._known.get(ident)
        return _shown(known) if known is not None else None

    def all(self) -> list[Sidecar]:
        return [_shown(known) for _, known in sorted(self._known.items())]

    @property
    def returning(self) -> bool:
        """After a restart of the registry: sidecars may still have to reconnect."""
        return self._clock.monotonic() < self._grace_ends

    def workloads(self) -> set[str]:
        """Those of whose sidecars anything is known."""
        return {workload for workload, idents in self._of_workload.items() if idents}

    def watched(self, workload: str) -> bool:
        return any(self._known[ident].connected for ident in self._of_workload.get(workload, ()))

    async def in_force(self, workload: str, revision: int, seconds: float = ACKNOWLEDGE_SECONDS) -> list[str]:
        """Wait until every connected sidecar has acknowledged, at most so long. Returns those that have not."""
        behind = [known for known in self._behind(workload, revision) if known.connected]
        missing = {known.id for known in behind if known.heard and not known.deaf}
        if not self.watched(workload) and self.returning:
            missing.add(_FIRST_BACK)
        wait = _Wait(revision, missing, patient=False)
        await self._until(workload, wait, seconds)
        for known in behind:
            known.deaf = known.deaf or (known.id in missing and not self._hurried)
        return sorted(known.id for known in behind if known.connected and known.applied < revision)

    async def caught_up(self, workload: str, revision: int) -> None:
        """Wait, however long, until every connected sidecar has acknowledged or gone."""
        missing = {known.id for known in self._behind(workload, revision) if known.connected}
        await self._until(workload, _Wait(revision, missing, patient=False), None)

    async def abandoned(self, workload: str, revision: int) -> None:
        """Wait until no sidecar sends requests by a table older than `revision`, at most ACKNOWLEDGE_SECONDS.

        After a restart of the registry: not before its grace is over.
        """
        now = self._clock.monotonic()
        recently = now - RECONNECT_SECONDS
        missing = {known.id for known in self._behind(workload, revision) if known.connected or known.gone > recently}
        seconds = max((self._known[ident].gone - recently for ident in missing), default=0.0)
        if any(self._known[ident].connected for ident in missing):
            seconds = ACKNOWLEDGE_SECONDS
        if now < self._grace_ends:
            missing.add(_GRACE)
            seconds = max(seconds, self._grace_ends - now)
        await self._until(workload, _Wait(revision, missing, patient=True), seconds)

    def hurry(self) -> None:
        """The registry ends: nobody waits any more."""
        self._hurried = True
        for waits in self._waits.values():
            for wait in waits:
                wait.done.set()

    def forget_gone(self) -> None:
        """Drop who has been gone for FORGET_SECONDS: a list of sidecars is not a history."""
        before = self._clock.monotonic() - FORGET_SECONDS
        for known in [known for known in self._known.values() if not known.connected and known.gone < before]:
            self._forget(known)

    def _behind(self, workload: str, revision: int) -> list[_Known]:
        of_workload = (self._known[ident] for ident in self._of_workload.get(workload, ()))
        return [known for known in of_workload if known.applied < revision]

    async def _until(self, workload: str, wait: _Wait, seconds: float | None) -> None:
        if wait.done.is_set() or self._hurried:
            return
        self._waits.setdefault(workload, set()).add(wait)
        try:
            if seconds is None:
                await wait.done.wait()
            else:
                bound = self._clock.sleep(seconds)
                await self._tasks.first(wait.done.wait(), bound, name=f"{workload} in force at {wait.revision}")
        finally:
            self._waits[workload].discard(wait)
            if not self._waits[workload]:
                del self._waits[workload]

    def _find(self, ident: str, workload: str) -> _Known:
        now, moment = self._clock.now(), self._clock.monotonic()
        known = self._known.get(ident)
        if known is not None and known.workload != workload:
            self._forget(known)
            known = None
        if known is None:
            self._make_room()
            known = self._known[ident] = _Known(ident, workload, 0, now, moment)
            self._of_workload.setdefault(workload, set()).add(ident)
        known.seen = now
        return known

    def _make_room(self) -> None:
        """Under pressure forget half of those who are gone, the longest gone first."""
        if len(self._known) < MAX_SIDECARS:
            return
        gone = sorted((known for known in self._known.values() if not known.connected), key=lambda known: known.gone)
        for known in gone[: max(len(gone) // 2, 1)]:
            self._forget(known)

    def _forget(self, known: _Known) -> None:
        del self._known[known.id]
        of_workload = self._of_workload[known.workload]
        of_workload.discard(known.id)
        if not of_workload:
            del self._of_workload[known.workload]


def _shown(known: _Known) -> Sidecar:
    return Sidecar(
        id=known.id,
        workload=known.workload,
        connected=known.connected,
        in_sync=known.connected and known.applied >= known.sent,
        sent_revision=known.sent,
        applied_revision=known.applied,
        version=known.version or None,
        last_seen=known.seen,
    )
