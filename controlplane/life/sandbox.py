"""The life of one sandbox: its record, the tasks of its forks, and the copies that have retired.

Every change of the record is a step: the next record is computed from the current one, stored together with the
routes that follow from it, and only then taken over. Steps of one sandbox run one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from controlplane.launch.port import LaunchRequest, Running
from controlplane.life.fork import Death, ForkLife
from controlplane.life.heard import Heard
from controlplane.life.journal import Change
from controlplane.life.surroundings import Surroundings
from controlplane.model.observed import Copy
from controlplane.model.record import Record
from controlplane.model.routes import RouteChange, RouteEvent, changes, routes_left
from controlplane.model.sandbox import Condition, Fork, Sandbox
from controlplane.model.stub import rules_of_hosts
from controlplane.store.port import StoreError
from proxy.contract.routes import Route

log = logging.getLogger(__name__)

KNOWN = "WorkloadsKnown"
LIMITS = "LimitsInForce"

Step = Callable[[Record, datetime], Record | None]
Observer = Callable[["SandboxLife", Record], None]

STORE_PAUSE_SECONDS = 1.0
STORE_LONGEST_PAUSE_SECONDS = 30.0
"""Between two attempts to store what has happened anyway, while the store cannot be written."""


class SandboxLife:
    """One sandbox.

    running: by (workload, revision): what the launchers gave us, for stopping it and for its output.
    deaths:  by workload: the last one of a copy, which the next copy's good start does not undo.
    changed: is set, and replaced by a new one, with every change of the record.
    observe: is called with every record that was stored, and the one before.
    """

    def __init__(self, record: Record, around: Surroundings, observe: Observer) -> None:
        self.record = record
        self.running: dict[tuple[str, int], Running] = {}
        self.deaths: dict[str, Death] = {}
        self.changed = asyncio.Event()
        self._around = around
        self._observe = observe
        self._lock = asyncio.Lock()
        self._forks: dict[str, ForkLife] = {}
        self._told: dict[str, int] = {}
        """By workload: the id of the event that last changed its route."""
        self._settling: dict[str, int] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._retirements: set[asyncio.Task[None]] = set()
        self._found: list[asyncio.Event] = []
        self._trouble: Condition | None = None
        self._heard: tuple[str, datetime] | None = None

    def __repr__(self) -> str:
        return f"<SandboxLife {self.name} {self.record.phase.value} revision {self.record.desired.revision}>"

    @property
    def name(self) -> str:
        return self.record.name

    def sandbox(self, heard: Heard | None = None) -> Sandbox:
        """The answer to a person: with what could not be stored, and who knows and who else forks what it forks."""
        sandbox = self.record.sandbox()
        if sandbox.status is None or self.record.deleting:
            return sandbox
        heard = heard or self._around.heard()
        more = (self._known(heard), *self._limits(), *((self._trouble,) if self._trouble else ()))
        conditions = (*sandbox.status.conditions, *more)
        others = self._around.forkers.others
        forks = tuple(
            fork.model_copy(update={"also_forked_by": others(self.name, fork.workload)})
            for fork in sandbox.status.forks
        )
        links = self._around.handoffs.previews(self.name)
        previews = tuple(link.model_dump(mode="json", by_alias=True, exclude_none=True) for link in links)
        status = sandbox.status.model_copy(update={"conditions": conditions, "forks": forks, "previews": previews})
        return sandbox.model_copy(update={"status": status})

    def _limits(self) -> tuple[Condition, ...]:
        """Of the processes that we start, where they were to have any."""
        there = self._around.installation
        if not there.limits or not any(fork.launcher == "process" for fork in self.record.desired.spec.forks):
            return ()
        since = self.record.desired.created
        if there.unlimited:
            message = f"{there.limits} of each shadow are not limited, for this machine allows no control groups"
            message = f"{message}: {there.unlimited}"
            return (Condition(
                type=LIMITS, status="False", reason="NoControlGroups", message=message, last_transition_time=since,
            ),)  # fmt: skip
        return (Condition(type=LIMITS, status="True", reason="Limited", message="", last_transition_time=since),)

    def _known(self, heard: Heard) -> Condition:
        status, reason, message = heard.verdict(fork.workload for fork in self.record.desired.spec.forks)
        if self._heard is None or self._heard[0] != status:
            self._heard = status, self._around.clock.now()
        since = self._heard[1]
        return Condition(type=KNOWN, status=status, reason=reason, message=message, last_transition_time=since)

    def request(self, revision: int, fork: Fork) -> LaunchRequest:
        return LaunchRequest(
            sandbox=self.name,
            routing_key=self.record.routing_key,
            revision=revision,
            fork=fork,
            definition=self._around.definitions.get(fork.workload),
            rules=rules_of_hosts(self.record.desired.spec.stubs),
        )

    async def create(self, instead_of: Sequence[Route] = ()) -> None:
        """Store and tell the first record. Raises StoreError: then there is no sandbox.

        instead_of: tombstones of its key, and what was left of an earlier sandbox of its name.
        """
        await self._commit(self.record, changes(instead_of, self.routes(self.record)))

    def routes(self, record: Record) -> list[Route]:
        return routes_left(record, self._around.installation.ended)

    def restore(self) -> None:
        """Take up the life of a stored record: its routes are published already, unchanged."""
        at = self._around.published.revision
        self._told = {fork.fork.workload: at for fork in self.record.forks}
        for copy in self.record.retiring:
            found = asyncio.Event()
            self._found.append(found)
            self._spawn(partial(self._retire_stored, copy, at, found), f"retire {_called(copy)}", self._retirements)
        self._attend()

    async def adopted(self) -> None:
        """Wait until every shadow that was running has been found again or found gone."""
        for found in [fork.adopted for fork in self._forks.values()] + self._found:
            await found.wait()

    async def step(self, step: Step, instead_of: Sequence[Route] = ()) -> bool:
        """Take one step. False: it has been overtaken. Raises StoreError: nothing has changed.

        instead_of: tombstones of others that end with it.

        Cancelling the caller does not interrupt it: half a step would leave the lock and the store apart.
        """
        return await asyncio.shield(self._around.tasks.begin(self._step(step, instead_of), f"step of {self.name}"))

    async def persist(self, step: Step) -> bool:
        """Take a step that says what has happened already: as often as it takes. False: overtaken, or too late."""
        pause = STORE_PAUSE_SECONDS
        while True:
            try:
                done = await self.step(step)
            except StoreError as error:
                self._note(str(error))
                if self._around.closing.is_set():
                    return False
                wait = self._around.clock.sleep(pause)
                await self._around.tasks.first(self._around.closing.wait(), wait, name=f"{self.name}: store")
                pause = min(pause * 2, STORE_LONGEST_PAUSE_SECONDS)
            else:
                self._trouble = None
                return done

    async def adopt(self, copy: Copy) -> Running | None:
        """The stored copy as its launcher finds it, or None when it is gone."""
        launcher = self._around.installation.launcher(copy.fork.launcher)
        try:
            return await launcher.adopt(self.request(copy.revision, copy.fork), copy.handle)
        except Exception:
            log.exception("%s: the launcher failed to adopt %s", self.name, copy.fork.workload)
            return None

    async def stop(self, copy: Copy) -> None:
        """Stop a copy that runs, or clear away what is left of one that has died."""
        running = self.running.pop((copy.fork.workload, copy.revision), None)
        if running is None:
            return
        try:
            await self._around.installation.launcher(copy.fork.launcher).stop(running)
        except Exception:
            log.exception("%s: the launcher failed to stop %s", self.name, copy.fork.workload)

    async def end(self) -> None:
        """No more starts; returns when none is under way."""
        for fork in self._forks.values():
            fork.end()
        while self._lives:
            await asyncio.wait(set(self._lives))

    async def suspend(self) -> None:
        """The registry ends and takes its shadows along: no route leads to them, and they are being stopped."""
        try:
            await self.step(lambda record, now: record.suspended(now))
        except StoreError as error:
            # They are stopped all the same. The next registry finds them gone and starts them again.
            log.error("%s: %s", self.name, error)
            for fork in self.record.forks:
                if fork.serving is not None:
                    await self.stop(fork.serving)

    async def rest(self) -> None:
        """Wait until every copy that has retired is stopped."""
        while self._retirements:
            await asyncio.wait(set(self._retirements))

    def retry(self) -> None:
        """Somebody asked again: what failed is tried again at once."""
        for fork in self._forks.values():
            fork.news(retry=True)

    async def forget(self, key: str) -> None:
        """Another sandbox has the key, and has told what became of its routes. Raises StoreError."""
        async with self._lock:
            await self._commit(self.record.without(key), (), own=False)

    async def discard(self, key: str) -> None:
        """Forget a key before its time, for others. Raises StoreError."""
        async with self._lock:
            record = self.record.without(key)
            await self._commit(record, changes(self.routes(self.record), self.routes(record)), own=False)

    async def age(self) -> None:
        """Forget the keys that have been remembered for long enough. Raises StoreError."""
        async with self._lock:
            record = self.record.aged(self._around.clock.now())
            if record is not None:
                routes = changes(self.routes(self.record), self.routes(record))
                await self._commit(record, routes, own=False)

    async def _step(self, step: Step, instead_of: Sequence[Route] = ()) -> bool:
        async with self._lock:
            record = step(self.record, self._around.clock.now())
            if record is None:
                return False
            routes = changes([*instead_of, *self.routes(self.record)], self.routes(record))
            await self._commit(record, routes)
            return True

    async def _commit(self, record: Record, routes: Sequence[RouteChange], *, own: bool = True) -> None:
        """own: they are changes of its own shadows, which sidecars are to acknowledge."""
        if routes and own:
            record = record.unsettled(self._around.clock.now())
        if record.finished:
            record = record.buried()
        stored = None if record.forgotten else record
        change = Change("sandbox", self.name, stored, partial(self._applied, record, own), routes)
        await self._around.journal.commit(change)

    def _applied(self, record: Record, own: bool, events: Sequence[RouteEvent]) -> None:
        """The record is stored and its routes are being told: act on what is new."""
        before, self.record = self.record, record
        if own:
            self._told |= {event.workload: event.id for event in events}
        for copy in record.retiring:
            if copy not in before.retiring:
                at = self._told.get(copy.fork.workload, self._around.published.revision)
                self._spawn(partial(self._retire, copy, at), f"retire {_called(copy)}", self._retirements)
        self._attend()
        self.changed.set()
        self.changed = asyncio.Event()
        self._observe(self, before)
        self._around.changes.tell(self.name)

    def _attend(self) -> None:
        """One task for every fork that is wanted, none for others; and one that waits for the sidecars."""
        wanted = () if self.record.deleting else tuple(fork.fork.workload for fork in self.record.forks)
        for workload in [workload for workload in self._forks if workload not in wanted]:
            self._forks.pop(workload).end()
        for workload in wanted:
            if workload in self._forks:
                self._forks[workload].news()
                continue
            fork = self._forks[workload] = ForkLife(self, workload, self._around)
            self._spawn(fork.run, f"fork {workload}", self._lives)
        undecided = self.record.deleting or any(fork.starting for fork in self.record.forks)
        if not self.record.observed.settled and not undecided and self._settling != self._told:
            self._settling = dict(self._told)
            self._spawn(partial(self._settle, self._settling), "settle", set())

    async def _settle(self, told: Mapping[str, int]) -> None:
        """Wait for the sidecars, and say how many have the routes. A later change of them overtakes this."""
        sidecars = self._around.sidecars
        late = await asyncio.gather(*(sidecars.in_force(workload, at) for workload, at in told.items()))
        lagging = tuple(sorted({sidecar for of_workload in late for sidecar in of_workload}))
        unwatched = tuple(workload for workload in told if not sidecars.watched(workload))

        def settled(lagging: tuple[str, ...]) -> Step:
            return lambda record, now: record.in_force(lagging, unwatched, now) if self._told == told else None

        if await self.persist(settled(lagging)) and lagging:
            await asyncio.gather(*(sidecars.caught_up(workload, at) for workload, at in told.items()))
            await self.persist(settled(()))

    async def _retire(self, copy: Copy, at: int) -> None:
        """Stop a copy as soon as no sidecar leads there: `at` is the event that took its route away."""
        at = max(at, await self._around.groups.caught_up(self.name))
        await self._around.sidecars.abandoned(copy.fork.workload, at)
        await self.stop(copy)
        await self.persist(lambda record, now: record.retired(copy, now))

    async def _retire_stored(self, copy: Copy, at: int, found: asyncio.Event) -> None:
        """The same for one that was retiring when the registry was killed."""
        try:
            running = await self.adopt(copy)
            if running is not None:
                self.running[copy.fork.workload, copy.revision] = running
        finally:
            found.set()
        await self._retire(copy, at)

    def _note(self, message: str) -> None:
        """The store cannot be written: visible to whoever asks, logged once."""
        if self._trouble is None:
            log.error("%s: %s", self.name, message)
            self._trouble = Condition(
                type="Stored",
                status="False",
                reason="StoreUnavailable",
                message=message,
                last_transition_time=self._around.clock.now(),
            )

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]], name: str, kept: set[asyncio.Task[None]]) -> None:
        """A fault of our own in one step of one sandbox is tried again, and stops nobody else."""
        task = self._around.tasks.keep(work, f"{self.name}: {name}", told=False)
        kept.add(task)
        task.add_done_callback(kept.discard)


def _called(copy: Copy) -> str:
    return f"{copy.fork.workload} revision {copy.revision}"
