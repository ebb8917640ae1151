"""Route groups: what follows from their members is told again whenever one of these has changed.

    a sandbox was stored -> its groups are looked at -> what differs from what was told is stored and told

A group's routes are told after those of its member, in a change of their own. Until then the member does not stop the
copy that they lead to (`Groups.caught_up`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from controlplane.life.journal import Change
from controlplane.life.key_rules import rules_of_record
from controlplane.life.refusals import Closing, Conflict, NotFound, TooMany
from controlplane.life.sandboxes import Sandboxes
from controlplane.life.surroundings import Surroundings
from controlplane.model.group import EMPTY, ENDED, GroupRecord, RouteGroup, answer, conflicts, routes_of_group
from controlplane.model.problem import FieldProblem
from controlplane.model.routes import RouteEvent, changes
from controlplane.model.sandbox import Phase
from controlplane.model.tombstone import KEPT_SECONDS
from controlplane.store.port import StoreError
from proxy.contract.routes import Route
from proxy.contract.rules import MAX_RULES, Rule

log = logging.getLogger(__name__)

MAX_GROUPS = 10_000
RETRY_SECONDS = 1.0
"""Until what could not be stored is tried again."""
AGE_SECONDS = 60.0
"""Between two looks at what is remembered of groups that have ended."""


class Groups:
    """All of them. `run` is their life."""

    def __init__(self, around: Surroundings, sandboxes: Sandboxes, stored: Iterable[GroupRecord]) -> None:
        self._around = around
        self._sandboxes = sandboxes
        self._records = {record.name: record for record in stored}
        self._of_member: dict[str, set[str]] = {}
        self._keys: dict[str, str] = {}
        self._turn = asyncio.Lock()
        self._stale: set[str] = set(self._records)
        self._news = asyncio.Event()
        self._told = asyncio.Event()
        self._aged = around.clock.monotonic()
        around.handoffs.groups = self
        for record in self._records.values():
            self._index(record)
        around.published.key_events()  # nobody watches yet
        around.groups = self

    def __repr__(self) -> str:
        return f"<Groups {len(self.names())}, {len(self._stale)} to be looked at>"

    def names(self) -> list[str]:
        """Sorted."""
        return sorted(name for name, record in self._records.items() if record.ended is None)

    def get(self, name: str) -> RouteGroup | None:
        record = self.record(name)
        if record is None:
            return None
        found = answer(record, self._phases(record.group), self._routes(record.group))
        stubs = len(self._rules(record))
        if found.status is None or stubs <= MAX_RULES:
            return found
        told = f"of the {stubs} stubs of its sandboxes the first {MAX_RULES} are heeded under its key"
        message = "; ".join(filter(None, (found.status.message, told)))
        return found.model_copy(update={"status": found.status.model_copy(update={"message": message})})

    def record(self, name: str) -> GroupRecord | None:
        """As it is stored; None where there is none that lives."""
        record = self._records.get(name)
        record = self._records.get(name)
        return record if record is not None and record.ended is None else None

    def of_member(self, sandbox: str) -> list[str]:
        """The groups of a sandbox, by name."""
        return sorted(self._of_member.get(sandbox, ()))

    def key(self, name: str) -> str:
        """Its routing key. Raises NotFound."""
        record = self.record(name)
        if record is None:
            raise NotFound(f"there is no route group {name!r}")
        return record.routing_key

    def owner(self, key: str) -> str | None:
        """Whose routing key it is."""
        return self._keys.get(key)

    async def apply(self, group: RouteGroup) -> tuple[RouteGroup, bool]:
        """Create or update; True: it is new. Raises Conflict, TooMany, Closing, StoreError."""
        async with self._turn:
            self._check_open()
            known = self._records.get(group.name)
            living = known if known is not None and known.ended is None else None
            self._check(group, living)
            now = self._around.clock.now()
            await self._sandboxes.unbury(group.routing_key)
            if living is None and known is None and len(self._records) >= MAX_GROUPS:
                raise TooMany(f"there are {MAX_GROUPS} route groups, which is the limit")
            before = known.told() if known is not None else []
            record = GroupRecord(group=group, created=living.created if living else now, updated=now)
            await self._commit(record, before, self._wanted(record))
            found = self.get(group.name)
            assert found is not None
            return found, living is None

    async def delete(self, name: str) -> None:
        """Raises NotFound, Closing, StoreError."""
        async with self._turn:
            self._check_open()
            record = self._records.get(name)
            if record is None or record.ended is not None:
                raise NotFound(f"there is no route group {name!r}")
            await self._end(record, ENDED)

    def members(self, key: str) -> list[str]:
        """The routing keys of the sandboxes behind the key of a group; none for any other key."""
        record = self._records.get(self._keys.get(key, ""))
        routes = self._routes(record.group) if record is not None else {}
        return [route.key for of_member in routes.values() for route in of_member[:1]]

    def living(self, key: str) -> list[str]:
        """The sandboxes behind the key of a group, as far as there are any; none for any other key."""
        record = self._records.get(self._keys.get(key, ""))
        members = record.group.spec.members if record is not None else ()
        return [name for name in members if self._sandboxes.phase(name) is not None]

    def dispute(self, key: str, workload: str) -> str:
        """Why requests with the key of a group are refused at a workload that several members fork, else ""."""
        record = self._records.get(self._keys.get(key, ""))
        found = conflicts(record.group.spec.members, self._routes(record.group)) if record is not None else []
        return next((item.message for item in found if item.workload == workload), "")

    def of(self, sandbox: str) -> list[str]:
        """Those that a sandbox is a member of, sorted."""
        return sorted(self._of_member.get(sandbox, ()))

    def keys_of(self, sandbox: str) -> list[str]:
        """The routing keys of the groups of a sandbox."""
        return [self._records[name].routing_key for name in self.of(sandbox)]

    def key_of(self, group: str, sandbox: str) -> str:
        """The routing key of one that a sandbox is a member of, "" when it is not, or there is none."""
        return self._records[group].routing_key if group in self._of_member.get(sandbox, ()) else ""

    def changed(self, sandbox: str) -> None:
        """A sandbox was stored."""
        if groups := self._of_member.get(sandbox):
            self._stale |= groups
            self._news.set()

    async def release(self, key: str) -> None:
        """A sandbox takes a key that is remembered of a group that has ended. Raises StoreError."""
        async with self._turn:
            for record in [one for one in self._records.values() if one.ended is not None and one.routing_key == key]:
                await self._forget(record)

    async def caught_up(self, sandbox: str) -> int:
        """Wait until the groups of a sandbox lead where it does; the revision at which they do."""
        while not self._around.closing.is_set() and self._stale & self._of_member.get(sandbox, set()):
            told = self._told.wait()
            await self._around.tasks.first(told, self._around.closing.wait(), name=f"groups of {sandbox}")
        return self._around.published.revision if sandbox in self._of_member else 0

    async def run(self) -> None:
        while True:
            wait = self._around.clock.sleep(RETRY_SECONDS if self._stale else AGE_SECONDS)
            if not self._stale or not await self._look():
                await self._around.tasks.first(self._news.wait(), wait, name="groups: news")
            else:
                wait.close()
            self._news.clear()
            await self._age()

    async def _look(self) -> bool:
        """Tell what differs, group by group. False: the store cannot be written, and it is to be tried again."""
        async with self._turn:
            for name in sorted(self._stale):
                record = self._records.get(name)
                self._stale.discard(name)
                if record is None or record.ended is not None:
                    continue
                try:
                    if any(self._sandboxes.known(member) for member in record.group.spec.members):
                        await self._commit(record, record.told(), self._wanted(record))
                    elif record.routes:
                        log.info("route group %s: %s", name, EMPTY)
                        await self._end(record, EMPTY)
                except StoreError as error:
                    log.warning("route group %s: its routes are not told: %s", name, error)
                    self._stale.add(name)
                    return False
                self._tell_rules(self._records[name])
        self._told.set()
        self._told = asyncio.Event()
        return True

    async def _age(self) -> None:
        if self._around.clock.monotonic() - self._aged < AGE_SECONDS:
            return
        self._aged = self._around.clock.monotonic()
        now = self._around.clock.now()
        async with self._turn:
            for record in list(self._records.values()):
                if record.ended is not None and (now - record.ended).total_seconds() >= KEPT_SECONDS:
                    try:
                        await self._forget(record)
                    except StoreError as error:
                        log.warning("route group %s: its old key is not forgotten yet: %s", record.name, error)
                        return

    def _check_open(self) -> None:
        if self._around.closing.is_set():
            raise Closing("the registry is shutting down")

    def _check(self, group: RouteGroup, living: GroupRecord | None) -> None:
        key = group.routing_key
        if living is not None and living.routing_key != key:
            message = f"is {living.routing_key!r} and cannot change: traffic carries it. Delete the group first"
            raise Conflict(FieldProblem(path="spec.routingKey", message=message))
        sandbox, other = self._sandboxes.owner(key), self._keys.get(key)
        if sandbox is not None:
            message = f"{key!r} is the routing key of sandbox {sandbox!r}"
            raise Conflict(FieldProblem(path="spec.routingKey", message=message))
        if other is not None and other != group.name:
            message = f"{key!r} is the routing key of route group {other!r}"
            raise Conflict(FieldProblem(path="spec.routingKey", message=message))
        found = conflicts(group.spec.members, self._routes(group))
        if found:
            raise Conflict(FieldProblem(path="spec.members", message="; ".join(item.message for item in found)))

    async def _end(self, record: GroupRecord, why: str) -> None:
        over = record.over(self._around.clock.now(), why)
        await self._commit(over, record.told(), over.told())
        await self._around.hops.forget(record.routing_key)

    async def _forget(self, record: GroupRecord) -> None:
        def applied(_: Sequence[RouteEvent]) -> None:
            self._records.pop(record.name, None)

        await self._around.journal.commit(Change("group", record.name, None, applied, changes(record.told(), ())))

    async def _commit(self, record: GroupRecord, before: Sequence[Route], after: Sequence[Route]) -> None:
        record = record.telling(after)
        if record == self._records.get(record.name):
            return

        def applied(_: Sequence[RouteEvent]) -> None:
            self._index(record)

        await self._around.journal.commit(Change("group", record.name, record, applied, changes(before, after)))

    def _index(self, record: GroupRecord) -> None:
        old = self._records.get(record.name)
        before = old.group.spec.members if old is not None else ()
        for member in before:
            groups = self._of_member.get(member, set())
            groups.discard(record.name)
            if not groups:
                self._of_member.pop(member, None)
        self._records[record.name] = record
        self._tell_rules(record)
        if record.ended is None:
            self._keys[record.routing_key] = record.name
            self._around.published.has_key(record.routing_key, True)
            for member in record.group.spec.members:
                self._of_member.setdefault(member, set()).add(record.name)
        elif self._keys.get(record.routing_key) == record.name:
            del self._keys[record.routing_key]
            self._around.published.has_key(record.routing_key, False)
        for member in {*before, *record.group.spec.members}:
            self._around.handoffs.regrouped(member)

    def _tell_rules(self, record: GroupRecord) -> None:
        """Stubs of its members are heeded under its key too, in the order of the members."""
        self._around.rules.put(record.routing_key, self._rules(record)[:MAX_RULES])

    def _rules(self, record: GroupRecord) -> tuple[Rule, ...]:
        members = record.group.spec.members if record.ended is None else ()
        living = [self._sandboxes.record(name) for name in members if self._sandboxes.phase(name) is not None]
        return tuple(rule for each in living for rule in rules_of_record(each))

    def _wanted(self, record: GroupRecord) -> list[Route]:
        return routes_of_group(record.group, self._routes(record.group))

    def _routes(self, group: RouteGroup) -> dict[str, list[Route]]:
        return {member: self._sandboxes.routes(member) for member in group.spec.members}

    def _phases(self, group: RouteGroup) -> dict[str, Phase]:
        found = {member: self._sandboxes.phase(member) for member in group.spec.members}
        return {member: phase for member, phase in found.items() if phase is not None}
