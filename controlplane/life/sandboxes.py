"""All sandboxes: what people ask for, and when it ends by itself.

A routing key belongs to one sandbox at a time. It is claimed before the sandbox is stored and free again when
its routes are gone, so two sandboxes that are created at once cannot both get it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from controlplane.life.expiry import Expiry
from controlplane.life.idle import Idle
from controlplane.life.output import copies
from controlplane.life.published import DEFAULT_CAPTURE
from controlplane.life.refusals import Closing, Conflict, NotFound
from controlplane.life.sandbox import SandboxLife, Step
from controlplane.life.surroundings import Surroundings
from controlplane.model.copy_log import ALWAYS, CopyLog, Window
from controlplane.model.problem import FieldProblem, bounded, invalid
from controlplane.model.record import Record, created
from controlplane.model.sandbox import MAX_TTL_SECONDS, SETTLED, Fork, Metadata, Phase, Sandbox
from controlplane.model.selection import Selection
from controlplane.model.tombstone import KEPT_SECONDS
from controlplane.store.port import StoreError
from proxy.contract.routes import Route, State

log = logging.getLogger(__name__)

MAX_TOMBSTONES = 100_000
"""Keys that are remembered, as many as there may be sandboxes; the oldest is forgotten for the newest."""

CLOSE_ACKNOWLEDGE_SECONDS = 1.0
"""For sidecars to hear that shadows are about to be stopped with the registry."""


class Sandboxes:
    """default_ttl: seconds, for sandboxes that name none."""

    def __init__(self, around: Surroundings, default_ttl: int, stored: Iterable[Record] = ()) -> None:
        self._around = around
        self._default_ttl = default_ttl
        lives = [SandboxLife(record, around, self._observe) for record in stored]
        self._lives = {life.name: life for life in lives if not life.record.finished}
        self._graves = {life.name: life for life in lives if life.record.finished}
        """What is left of sandboxes that are gone: keys that are remembered."""
        self._owners = {life.record.routing_key: life.name for life in self._lives.values() if not life.record.deleting}
        for key, name in self._owners.items():
            around.published.has_key(key, True)
            around.published.has_capture(key, self._lives[name].record.desired.spec.capture.value)
        around.published.key_events()  # nobody watches yet
        for life in self._lives.values():
            around.forkers.note(life.record)
        buried = [(one.ended, one.key, life.name) for life in lives for one in life.record.tombstones]
        self._buried = {key: (name, ended) for ended, key, name in sorted(buried) if key not in self._owners}
        """By key: whose tombstone it is, and since when; the oldest first."""
        self.ended = asyncio.Event()
        """Set whenever nothing is left of one: who cares takes it back."""
        self._making: dict[str, Metadata | None] = {}
        """Those that are being stored."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._expiry = Expiry(around, self._lives.values, self._age)
        self._idle = Idle(around, self._lives.values)

    def __repr__(self) -> str:
        return f"<Sandboxes {len(self._lives)}, {len(self._owners)} keys>"

    def __len__(self) -> int:
        return len(self._lives)

    def restore(self) -> None:
        """Take up the life of everything that was stored, and begin to watch for what expires."""
        self._around.handoffs.restore(life.record for life in self._lives.values())
        for life in self._lives.values():
            self._around.rules.observe(life.record)
            life.restore()
        self._around.tasks.keep(self._expiry.run, "expiry")
        self._around.tasks.keep(self._idle.run, "idle sandboxes")

    async def adopted(self) -> None:
        """Wait until every shadow that was running has been found again or found gone."""
        for life in tuple(self._lives.values()):
            await life.adopted()

    def all(self) -> list[Sandbox]:
        """By name."""
        find = self.finder()
        return [found for name in self.names() if (found := find(name)) is not None]

    def names(self, selection: Selection | None = None) -> list[str]:
        """Sorted; those of a selection."""
        return sorted(name for name, one in self._lives.items() if not selection or selection.takes(one.record.desired))

    def finder(self) -> Callable[[str], Sandbox | None]:
        """For one answer about many: gives each by its name, None when there is none (any more)."""
        heard = self._around.heard()

        def find(name: str) -> Sandbox | None:
            life = self._lives.get(name)
            return life.sandbox(heard) if life is not None else None

        return find

    def get(self, name: str) -> Sandbox:
        return self._life(name).sandbox()

    def record(self, name: str) -> Record:
        """As it is stored. Raises NotFound."""
        return self._life(name).record

    def known(self, name: str) -> bool:
        """There is one of that name, or its key is remembered."""
        return name in self._lives or name in self._graves

    def phase(self, name: str) -> Phase | None:
        """None: there is none."""
        life = self._lives.get(name)
        return life.record.phase if life is not None and not life.record.deleting else None

    def routes(self, name: str) -> list[Route]:
        """What was told of its key, or is remembered of it; of a name that nobody has, nothing."""
        life = self._lives.get(name) or self._graves.get(name)
        key = life.record.routing_key if life is not None else ""
        return [route for route in life.routes(life.record) if route.key == key] if life is not None else []

    async def unbury(self, key: str) -> None:
        """Somebody else takes a key that one had before: it is not remembered any more. Raises StoreError."""
        name, _ = self._buried.get(key, ("", None))
        life = self._lives.get(name) or self._graves.get(name)
        if life is not None:
            await life.discard(key)

    def owner(self, key: str) -> str | None:
        """Whose routing key it is."""
        return self._owners.get(key)

    def records(self) -> list[Record]:
        """Of all that are, or are being deleted."""
        return [life.record for life in self._lives.values()]

    def phases(self) -> dict[Phase, int]:
        count = dict.fromkeys(Phase, 0)
        for life in self._lives.values():
            count[life.record.phase] += 1
        return count

    async def apply(self, sandbox: Sandbox, restart: frozenset[str] = frozenset()) -> tuple[Sandbox, bool]:
        """Create or update; True: it is new. Returns when it is stored and the sidecars are being told.

        restart: workloads whose forks are started anew, also when nothing in them has changed.

        Raises Conflict (the key is taken), DocumentError (what cannot be changed or started), TooMany, Closing,
        StoreError; then nothing has changed.
        """
        return await asyncio.shield(self._around.tasks.begin(self._apply(sandbox, restart), f"apply {sandbox.name}"))

    async def extend(self, name: str, seconds: int) -> Sandbox:
        """Let it live so much longer. Raises NotFound, DocumentError, Closing, StoreError."""
        if self._around.closing.is_set():
            raise Closing("the registry is shutting down")
        life = self._life(name)
        until = life.record.desired.expires + timedelta(seconds=seconds)
        if (until - self._around.clock.now()).total_seconds() > MAX_TTL_SECONDS:
            raise invalid("ttl", f"it would live for more than {MAX_TTL_SECONDS // 86400}d from now")
        if not await life.step(lambda record, now: record.extended(seconds, now)):
            raise NotFound(f"sandbox {name!r} is being deleted")
        return life.sandbox()

    async def change(self, name: str, make: Callable[[Sandbox | None], Awaitable[Sandbox]]) -> Sandbox:
        """Apply what `make` makes of the sandbox as it is, None when there is none; nobody else applies meanwhile.

        Raises what `apply` raises, and what `make` does.
        """
        return await asyncio.shield(self._around.tasks.begin(self._change(name, make), f"change {name}"))

    async def delete(self, name: str) -> None:
        """Remove the routes and begin to stop the shadows. Raises NotFound, Closing, StoreError."""
        if self._around.closing.is_set():
            raise Closing("the registry is shutting down")
        await self._life(name).step(lambda record, now: None if record.deleting else record.deleted(now))

    async def settled(self, name: str, seconds: float) -> Sandbox:
        """The sandbox as soon as its phase is settled, or as it is after so long. Raises NotFound."""
        await self._until(name, seconds, lambda life: life.record.phase in SETTLED)
        return self.get(name)

    async def gone(self, name: str, seconds: float) -> Sandbox | None:
        """None as soon as nothing is left of it, or the sandbox as it is after so long."""
        try:
            await self._until(name, seconds, lambda life: not life.record.deleting)
            return self.get(name)
        except NotFound:
            return None

    async def output(self, name: str, workload: str, lines: int, window: Window = ALWAYS) -> list[CopyLog]:
        """What its shadows of a workload, or of any, wrote in a window, at most so many lines each. Raises NotFound."""
        return await copies(self._around.installation, self._life(name), workload, lines, window)

    async def wake(self, keys: Iterable[str]) -> None:
        """Requests with these keys wait for shadows that sleep. Raises StoreError."""
        for key in keys:
            life = self._lives.get(self._owners.get(key, ""))
            if life is not None and life.record.observed.asleep and not self._around.closing.is_set():
                log.info("%s: a request wakes its shadows", life.name)
                await life.step(lambda record, now: record.woken(now))

    async def happened(self, name: str, step: Step) -> bool:
        """Something has become of it. False: that has been overtaken. Raises NotFound, StoreError."""
        return await self._life(name).step(step)

    async def close(self, stop_shadows: bool) -> None:
        """No more starts. Stop what runs, or leave all of it, what is retiring too, to the next registry."""
        around = self._around
        around.closing.set()
        lives = tuple(self._lives.values())
        await asyncio.gather(*(life.end() for life in lives))
        if stop_shadows:
            await asyncio.gather(*(life.suspend() for life in lives))
            heard = around.clock.sleep(CLOSE_ACKNOWLEDGE_SECONDS)
            await around.tasks.first(self._rest(lives), heard, name="shadows stop")
            around.sidecars.hurry()
            await self._rest(lives)

    async def _apply(self, sandbox: Sandbox, restart: frozenset[str]) -> tuple[Sandbox, bool]:
        async with self._turns.setdefault(sandbox.name, asyncio.Lock()):
            return await self._apply_in_turn(sandbox, restart)

    async def _change(self, name: str, make: Callable[[Sandbox | None], Awaitable[Sandbox]]) -> Sandbox:
        async with self._turns.setdefault(name, asyncio.Lock()):
            life = self._lives.get(name)
            sandbox = await make(life.sandbox() if life is not None and not life.record.deleting else None)
            return (await self._apply_in_turn(sandbox, frozenset()))[0]

    async def _apply_in_turn(self, sandbox: Sandbox, restart: frozenset[str]) -> tuple[Sandbox, bool]:
        if self._around.closing.is_set():
            raise Closing("the registry is shutting down")
        life = self._lives.get(sandbox.name)
        living = life if life is not None and not life.record.deleting else None
        self._check(sandbox, living.record if living else None)
        claimed = self._claim(sandbox)
        self._making[sandbox.name] = sandbox.metadata
        before = self._tombstone_elsewhere(sandbox)
        left = before.routes(before.record) if before else []
        taken = [route for route in left if route.state is State.ENDED and route.key == sandbox.routing_key]
        try:
            await self._around.groups.release(sandbox.routing_key)
            if life is None or not await self._update(life, sandbox, restart, taken):
                life = await self._create(sandbox, taken)
        except BaseException:
            if claimed:
                del self._owners[sandbox.routing_key]
            raise
        finally:
            self._making.pop(sandbox.name, None)
        if before is not None:
            await self._forget(before, sandbox.routing_key)
        await self._around.handoffs.declare(sandbox)
        self._expiry.look_at(life)
        self._idle.look_at(life)
        return life.sandbox(), living is None

    async def _create(self, sandbox: Sandbox, instead_of: Sequence[Route]) -> SandboxLife:
        record = created(sandbox.name, sandbox.spec, self._around.clock.now(), self._default_ttl, sandbox.metadata)
        grave = self._graves.get(sandbox.name)
        if grave is not None:
            record = record.model_copy(update={"tombstones": grave.record.without(sandbox.routing_key).tombstones})
            instead_of = [*instead_of, *grave.routes(grave.record)]
        life = SandboxLife(record, self._around, self._observe)
        await life.create(instead_of)
        return life

    def _tombstone_elsewhere(self, sandbox: Sandbox) -> SandboxLife | None:
        """Another sandbox, or what is left of it, that had the key before."""
        name, _ = self._buried.get(sandbox.routing_key, ("", None))
        return None if name == sandbox.name else self._lives.get(name) or self._graves.get(name)

    async def _forget(self, before: SandboxLife, key: str) -> None:
        try:
            await before.forget(key)
        except StoreError as error:
            log.warning("%s: its old routing key %s is not forgotten yet: %s", before.name, key, error)

    async def _update(
        self, life: SandboxLife, sandbox: Sandbox, restart: frozenset[str], instead_of: Sequence[Route]
    ) -> bool:
        """False: the last trace of it has gone meanwhile, so it has to be created."""

        def step(record: Record, now: datetime) -> Record | None:
            if record.finished:
                return None
            return record.updated_to(sandbox.spec, now, self._default_ttl, sandbox.metadata, restart)

        if not await life.step(step, instead_of):
            return False
        life.retry()
        return True

    def _observe(self, life: SandboxLife, before: Record) -> None:
        """A record of a sandbox was stored."""
        record = life.record
        self._around.handoffs.observe(record)
        self._around.rules.observe(record)
        published = self._around.published
        self._around.forkers.note(record)
        self._around.groups.changed(life.name)
        if not record.deleting:
            self._lives[life.name] = life
            self._graves.pop(life.name, None)
            published.has_key(record.routing_key, True)
            published.has_capture(record.routing_key, record.desired.spec.capture.value)
        elif not before.deleting:
            self._owners.pop(before.routing_key, None)
            published.has_key(before.routing_key, False)
            published.has_capture(before.routing_key, DEFAULT_CAPTURE)
            self._around.tasks.spawn(self._around.hops.forget(before.routing_key), f"forget the hops of {life.name}")
        for gone in {one.key for one in before.tombstones} - {one.key for one in record.tombstones}:
            if self._buried.get(gone, ("",))[0] == life.name:
                del self._buried[gone]
        for one in record.tombstones:
            if one.key not in self._owners or self._owners[one.key] == life.name:
                self._buried.setdefault(one.key, (life.name, one.ended))
        if record.finished:
            self._lives.pop(life.name, None)
            self._graves.pop(life.name, None)
            if not record.forgotten:
                self._graves[life.name] = life
            self._expiry.forget(life.name)
            self.ended.set()

    def _check(self, sandbox: Sandbox, record: Record | None) -> None:
        """What only the registry can know about a document. Raises DocumentError, TooMany."""
        quota = self._around.installation.quota
        problems = quota.missing(sandbox.metadata)
        if record is None or (record.desired.metadata or Metadata(name=record.name)).owner != sandbox.metadata.owner:
            others = {name: life.record.desired.metadata for name, life in self._lives.items()} | self._making
            others.pop(sandbox.name, None)
            quota.check(sandbox.metadata, others.values())
        if record is not None and record.routing_key != sandbox.routing_key:
            message = f"is {record.routing_key!r} and cannot change: traffic carries it. Delete the sandbox first"
            problems.append(FieldProblem(path="spec.routingKey", message=message))

        def unchanged(fork: Fork) -> bool:
            known = record.fork(fork.workload) if record is not None else None
            return known is not None and known.fork == fork

        problems += self._around.check(sandbox.spec, unchanged)
        if problems:
            raise bounded(problems)

    def _claim(self, sandbox: Sandbox) -> bool:
        """Reserve the routing key. True: it was free until now. Raises Conflict."""
        elsewhere = self._around.groups.owner(sandbox.routing_key)
        if elsewhere is not None:
            message = f"{sandbox.routing_key!r} is the routing key of route group {elsewhere!r}"
            raise Conflict(FieldProblem(path="spec.routingKey", message=message))
        owner = self._owners.setdefault(sandbox.routing_key, sandbox.name)
        if owner != sandbox.name:
            message = f"{sandbox.routing_key!r} is the routing key of sandbox {owner!r}"
            raise Conflict(FieldProblem(path="spec.routingKey", message=message))
        life = self._lives.get(sandbox.name)
        return life is None or life.record.deleting

    async def _age(self) -> None:
        """Forget keys whose sandboxes ended long ago, and the oldest of too many."""
        now = self._around.clock.now()
        surplus = len(self._buried) - MAX_TOMBSTONES
        for number, (key, (name, ended)) in enumerate(list(self._buried.items())):
            if number >= surplus and (now - ended).total_seconds() < KEPT_SECONDS:
                return
            async with self._turns.setdefault(name, asyncio.Lock()):
                life = self._lives.get(name) or self._graves.get(name)
                if life is not None:
                    try:
                        await (life.discard(key) if number < surplus else life.age())
                    except StoreError as error:
                        log.warning("%s: its old routing key %s is not forgotten yet: %s", name, key, error)
                        return

    async def _until(self, name: str, seconds: float, reached: Callable[[SandboxLife], bool]) -> None:
        around = self._around
        deadline = around.clock.monotonic() + seconds
        while not reached(life := self._life(name)):
            left = deadline - around.clock.monotonic()
            if left <= 0 or around.closing.is_set():
                return
            wait = around.clock.sleep(left)
            changed = life.changed.wait()
            await around.tasks.first(changed, around.closing.wait(), wait, name=f"wait for {name}")

    async def _rest(self, lives: Sequence[SandboxLife]) -> None:
        await asyncio.gather(*(life.rest() for life in lives))

    def _life(self, name: str) -> SandboxLife:
        life = self._lives.get(name)
        if life is None:
            raise NotFound(f"there is no sandbox {name!r}")
        return life
