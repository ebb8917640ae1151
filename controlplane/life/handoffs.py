"""What is shared of the sandboxes: links are made, told to the gateways, revoked, and end with their sandbox; what
speaks for a sandbox and what reviewers say of it is kept for as long as it lives.

A link's token is told to whoever made it, and kept in memory for as long as the registry runs, so that a list can show
it; what is stored is its hash.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from controlplane.life.changes import Changes
from controlplane.life.clock import Clock
from controlplane.life.definitions import Definitions
from controlplane.life.followers import Followers, Nobody
from controlplane.life.journal import Change, Journal
from controlplane.life.refusals import NotFound, TooMany
from controlplane.life.watchers import Watchers
from controlplane.model.handoff import (
    MAX_EVIDENCE,
    MAX_LINK_SECONDS,
    MAX_LINKS_OF_ONE,
    MAX_REVIEWS,
    Evidence,
    EvidenceRequest,
    Handoff,
    PreviewRequest,
    PreviewStatus,
    Review,
    ReviewRequest,
    StoredLink,
)
from controlplane.model.problem import invalid, show
from controlplane.model.record import Record
from controlplane.model.sandbox import Sandbox, ttl_seconds
from controlplane.store.port import StoreError
from proxy.base.tasks import Tasks
from proxy.contract.previews import (
    LINKS_IN_EVENT,
    MAX_NAME,
    OWN_PATH,
    PREVIEWS,
    Link,
    encode_link,
    new_token,
    token_hash,
)
from proxy.contract.routes import parse_endpoint
from proxy.contract.watch import Event, encode_event

log = logging.getLogger(__name__)

FORGET_PAUSE_SECONDS = 1.0
"""Between two attempts to forget what is stored of a sandbox that has ended."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a link needs of its sandbox."""

    key: str
    revision: int
    expires: datetime


class Handoffs:
    """By sandbox.

    gateway: the URL at which links are served, "" where there is no gateway.
    groups:  the route groups, whose keys links may lead to.
    """

    def __init__(
        self,
        gateway: str,
        journal: Journal,
        watchers: Watchers,
        definitions: Definitions,
        clock: Clock,
        tasks: Tasks,
        changes: Changes,
        stored: Iterable[Handoff] = (),
    ) -> None:
        self.gateway = gateway
        self.groups: Followers = Nobody()
        self._journal = journal
        self._watchers = watchers
        self._definitions = definitions
        self._clock = clock
        self._tasks = tasks
        self._changes = changes
        self._handoffs = {one.sandbox: one for one in stored}
        self._shared: dict[str, Shared] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By sandbox: a change is made of what is there, and stored, before the next one."""
        self._tokens: dict[str, str] = {}
        """By hash, of those that were made since the start."""
        definitions.watchers.append(self._moved)

    def __repr__(self) -> str:
        return f"<Handoffs of {len(self._handoffs)} sandboxes>"

    def get(self, sandbox: str) -> Handoff:
        return self._handoffs.get(sandbox) or Handoff(sandbox=sandbox)

    # -- sandboxes come and go ------------------------------------------------------------------------------------

    def observe(self, record: Record) -> None:
        """A sandbox is there, or has changed, or has ended: links into it lead to what it is now."""
        sandbox, wanted = record.name, record.desired
        if record.deleting:
            self._end(sandbox)
            return
        before, now = self._shared.get(sandbox), Shared(record.routing_key, wanted.revision, wanted.expires)
        self._shared[sandbox] = now
        if before != now and sandbox in self._handoffs:
            self._tell(self._links(sandbox))

    def regrouped(self, sandbox: str) -> None:
        """A route group that it is in, or was, has changed: links by the key of one lead there, or nowhere."""
        links = [link.hash for link in self.get(sandbox).links if link.group]
        if links:
            told = list(self._links(sandbox))
            self._tell(told, set(links) - {link.hash for link in told})

    def restore(self, records: Iterable[Record]) -> None:
        """These are all sandboxes that there are. What was stored of others has no owner."""
        for record in records:
            self.observe(record)
        for name in [name for name in self._handoffs if name not in self._shared]:
            self._end(name)

    def _end(self, sandbox: str) -> None:
        self._shared.pop(sandbox, None)
        handoff = self._handoffs.pop(sandbox, None)
        if handoff is not None:
            self._tell((), [link.hash for link in handoff.links])
            self._tasks.spawn(self._forget(sandbox), f"forget the links of {sandbox}")

    async def _forget(self, sandbox: str) -> None:
        """What is stored of one that has ended, unless there is another one of its name by now."""
        while True:
            left = self._handoffs.get(sandbox)
            try:
                return await self._journal.commit(Change("handoff", sandbox, left, lambda _: None))
            except StoreError as error:
                log.warning("the links into sandbox %s are not forgotten yet: %s", sandbox, error)
                await self._clock.sleep(FORGET_PAUSE_SECONDS)

    # -- links ----------------------------------------------------------------------------------------------------

    async def declare(self, sandbox: Sandbox) -> None:
        """The links that its spec names, and none that it named before. Raises DocumentError, TooMany, StoreError."""
        wanted = {preview.name: preview for preview in sandbox.spec.previews or ()}
        for link in self.get(sandbox.name).links:
            if link.declared and (link.name not in wanted or wanted[link.name].workload != link.workload):
                await self.revoke(sandbox.name, link.id)
        have = {link.name for link in self.get(sandbox.name).links if link.declared and not self._is_over(link)}
        for preview in wanted.values():
            if preview.name not in have:
                request = PreviewRequest(name=preview.name, workload=preview.workload)
                await self.make(sandbox, request, declared=True)

    async def make(self, sandbox: Sandbox, wanted: PreviewRequest, *, declared: bool = False) -> PreviewStatus:
        """A new link. Raises DocumentError, TooMany, StoreError."""
        if not self.gateway:
            raise invalid("", "previews need a gateway, which this installation does not have: give it --gateway")
        workload = wanted.workload or self._entry(sandbox)
        if self._definitions.get(workload) is None:
            known = ", ".join(one.workload for one in self._definitions.all()[:10]) or "none"
            raise invalid("workload", f"no baseline of {workload} is registered, so nobody knows its address ({known})")
        if wanted.group and not self.groups.key_of(wanted.group, sandbox.name):
            raise invalid("group", f"sandbox {sandbox.name!r} is in no route group {wanted.group!r}")
        token, password = new_token(), new_token() if wanted.login else ""
        now = self._clock.now()
        seconds = min(ttl_seconds(wanted.ttl) if wanted.ttl else MAX_LINK_SECONDS, MAX_LINK_SECONDS)
        if wanted.ttl and ttl_seconds(wanted.ttl) > MAX_LINK_SECONDS:
            raise invalid("ttl", f"{show(wanted.ttl)} is longer than 7d")
        link = StoredLink(
            hash=token_hash(token),
            name=wanted.name or workload.partition("/")[2][:MAX_NAME].rstrip("-"),
            workload=workload,
            created=now,
            expires=now + timedelta(seconds=seconds),
            login=token_hash(password) if password else "",
            note=wanted.note or "",
            declared=declared,
            group=wanted.group or "",
        )
        self._tokens[link.hash] = token
        async with self._turn(sandbox.name):
            handoff = self.get(sandbox.name)
            links = tuple(other for other in handoff.links if not self._is_over(other))
            if len(links) >= MAX_LINKS_OF_ONE:
                raise TooMany(f"sandbox {sandbox.name!r} has {MAX_LINKS_OF_ONE} links, which is the limit: revoke some")
            await self._commit(handoff.model_copy(update={"links": (*links, link)}))
        return self._status(sandbox.name, link).model_copy(update={"password": password or None})

    async def revoke(self, sandbox: str, named: str) -> None:
        """By id, or all of a name. Raises NotFound, StoreError."""
        async with self._turn(sandbox):
            handoff = self.get(sandbox)
            gone = [link for link in handoff.links if named in (link.id, link.name)]
            if not gone:
                raise NotFound(f"sandbox {sandbox!r} has no link {named!r}")
            for link in gone:
                self._tokens.pop(link.hash, None)
            left = tuple(link for link in handoff.links if link not in gone)
            await self._commit(handoff.model_copy(update={"links": left}))

    def previews(self, sandbox: str) -> tuple[PreviewStatus, ...]:
        """The links that lead somewhere, the newest last."""
        handoff = self._handoffs.get(sandbox)
        if handoff is None:
            return ()
        return tuple(self._status(sandbox, link) for link in handoff.links if self._leads(sandbox, link))

    def followed(self, token: str) -> tuple[str, StoredLink] | None:
        """The sandbox and the link that a token stands for. None: it stands for nothing, or not any more."""
        hashed = token_hash(token)
        for name, handoff in self._handoffs.items():
            for link in handoff.links:
                if link.hash == hashed and name in self._shared and self._leads(name, link):
                    return name, link
        return None

    def told(self) -> list[bytes]:
        """All links, as the watch writes them."""
        return _events([link for name in self._handoffs for link in self._links(name)])

    # -- words and evidence ---------------------------------------------------------------------------------------

    async def review(self, sandbox: str, said: ReviewRequest, preview: str = "") -> Review:
        """Raises NotFound, TooMany, StoreError."""
        async with self._turn(sandbox):
            shared, handoff = self._of(sandbox), self.get(sandbox)
            if len(handoff.reviews) >= MAX_REVIEWS:
                raise TooMany(f"sandbox {sandbox!r} has {MAX_REVIEWS} reviews, which is the limit")
            review = Review(
                id=handoff.said + 1,
                time=self._clock.now(),
                revision=shared.revision,
                preview=preview,
                text=said.text,
                author=said.author,
                verdict=said.verdict,
            )
            more = {"reviews": (*handoff.reviews, review), "said": review.id}
            await self._commit(handoff.model_copy(update=more))
            return review

    async def keep(self, sandbox: str, kind: str, shown: EvidenceRequest) -> Evidence:
        """What was run and how it ended; the newest of each kind and title and revision counts. Raises NotFound,
        StoreError."""
        async with self._turn(sandbox):
            shared, handoff = self._of(sandbox), self.get(sandbox)
            evidence = Evidence.model_validate(
                {"kind": kind, "time": self._clock.now(), "revision": shared.revision, **shown.model_dump()}
            )

            def same(other: Evidence) -> bool:
                return (other.kind, other.title, other.revision) == (evidence.kind, evidence.title, evidence.revision)

            kept = [other for other in handoff.evidence if not same(other)][1 - MAX_EVIDENCE :]
            await self._commit(handoff.model_copy(update={"evidence": (*kept, evidence)}))
            return evidence

    # -- the rest -------------------------------------------------------------------------------------------------

    def _turn(self, sandbox: str) -> asyncio.Lock:
        return self._turns.setdefault(sandbox, asyncio.Lock())

    def _of(self, sandbox: str) -> Shared:
        shared = self._shared.get(sandbox)
        if shared is None:
            raise NotFound(f"there is no sandbox {sandbox!r}")
        return shared

    def _is_over(self, link: StoredLink) -> bool:
        return link.expires <= self._clock.now()

    def _leads(self, sandbox: str, link: StoredLink) -> bool:
        """Somewhere: it is not over, and neither is the route group whose key it stands for."""
        return not self._is_over(link) and (not link.group or bool(self.groups.key_of(link.group, sandbox)))

    def _entry(self, sandbox: Sandbox) -> str:
        """Where requests enter the environment: the workload of its namespace that no other calls."""
        forked = sandbox.spec.forks[0].workload
        namespace = forked.partition("/")[0]
        baselines = [one for one in self._definitions.all() if one.workload.partition("/")[0] == namespace]
        called = {upstream.workload for one in baselines for upstream in one.upstreams}
        entries = [one.workload for one in baselines if one.workload not in called and one.upstreams]
        return entries[0] if entries else forked

    def _status(self, sandbox: str, link: StoredLink) -> PreviewStatus:
        token = self._tokens.get(link.hash)
        shared = self._shared.get(sandbox)
        return PreviewStatus(
            id=link.id,
            name=link.name,
            workload=link.workload,
            created=link.created,
            expires=min(link.expires, shared.expires) if shared else link.expires,
            login=bool(link.login),
            note=link.note or None,
            group=link.group or None,
            url=_url(self.gateway, token, link.name, "/") if token else None,
            handoff=_url(self.gateway, token, link.name, OWN_PATH) if token else None,
        )

    def _links(self, sandbox: str) -> Iterator[Link]:
        """As gateways are told them. A link whose workload nobody knows any more is not told."""
        shared = self._shared.get(sandbox)
        for link in self.get(sandbox).links if shared is not None else ():
            baseline = self._definitions.get(link.workload)
            if shared is not None and baseline is not None and self._leads(sandbox, link):
                yield Link(
                    hash=link.hash,
                    preview=link.name,
                    workload=link.workload,
                    target=parse_endpoint(baseline.address),
                    sandbox=sandbox,
                    key=self.groups.key_of(link.group, sandbox) or shared.key,
                    revision=shared.revision,
                    expires=link.expires.timestamp(),
                    login=link.login,
                )

    def _moved(self, workload: str) -> None:
        """Its baseline has another address, or none."""
        for name, handoff in self._handoffs.items():
            gone = [link.hash for link in handoff.links if link.workload == workload]
            if gone:
                still = list(self._links(name))
                self._tell(still, set(gone) - {link.hash for link in still})

    async def _commit(self, handoff: Handoff) -> None:
        def applied(_: object) -> None:
            before = self._handoffs.get(handoff.sandbox)
            self._handoffs[handoff.sandbox] = handoff
            gone = {link.hash for link in before.links} - {link.hash for link in handoff.links} if before else ()
            self._tell(self._links(handoff.sandbox), gone)
            self._changes.tell(handoff.sandbox)

        await self._journal.commit(Change("handoff", handoff.sandbox, handoff, applied))

    def _tell(self, put: Iterable[Link], remove: Iterable[str] = ()) -> None:
        events = _events(list(put), list(remove))
        if events:
            self._watchers.tell_gateways(events)


def _events(put: list[Link], remove: list[str] | None = None) -> list[bytes]:
    found: list[tuple[str, list[object]]] = [("put", list(map(encode_link, put))), ("remove", list(remove or ()))]
    return [
        encode_event(Event(PREVIEWS, json.dumps({name: items[start : start + LINKS_IN_EVENT]}, separators=(",", ":"))))
        for name, items in found
        for start in range(0, len(items), LINKS_IN_EVENT)
    ]


def _url(gateway: str, token: str, name: str, path: str) -> str:
    """Of a link: a host below the gateway's, or a path where that is an address."""
    parts = urlsplit(gateway)
    host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return f"{parts.scheme}://{token}--{name}.{host}{port}{path}"
    return f"{parts.scheme}://{parts.netloc}{OWN_PATH}{token}{path}"
