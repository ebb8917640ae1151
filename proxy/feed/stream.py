"""One connection of the route watch, as its events are applied. No sockets.

Rules, beside those of `proxy.contract.watch`:

- A snapshot is swapped in at `synced`, as a whole. Its id may be older than what was in force: the registry was
  restored from an older store, and it is the authority.
- `put` and `delete` between the pieces of a snapshot belong to the snapshot.
- A `put` or `delete` older than what is in force is skipped and counted.
- `keys`, `capture` and `rules` are collected until `synced`, which puts them in force; after it they are changes.
- So are `previews`, where somebody wants them.
- `synced` without a snapshot says that a resumed table is complete. It cannot be older than what is in force.
- Anything else is nonsense: ContractError, and the connection is dropped. What was in force stays.
"""

from __future__ import annotations

import re

from proxy.contract.names import ROUTING_KEY
from proxy.contract.previews import HASH, LINKS_IN_EVENT, MAX_LINKS, PREVIEWS, Link, decode_link
from proxy.contract.routes import Route, decode_tombstone
from proxy.contract.rules import Rule, decode_rules
from proxy.contract.watch import CAPTURE, DELETE, KEYS, KEYS_IN_EVENT, PUT, RULES, SNAPSHOT, SYNCED, Event
from proxy.errors import ContractError
from proxy.feed.holder import FeedState
from proxy.feed.snapshot import Snapshot, check_size, check_workload, decode, discard, parse
from proxy.routing.captures import FLOORS
from proxy.routing.links import LinkTable
from proxy.routing.table import RouteTable

_ID = re.compile(r"[0-9]{1,16}")


class WatchStream:
    """Applies events to a table.

    resumed: the connection asked for the changes since `state.applied`; otherwise it asked for everything, and
             `synced` without a snapshot means that there are no routes.
    links:   of a gateway, None of others.
    synced:  `synced` has come on this connection.
    """

    def __init__(self, table: RouteTable, state: FeedState, resumed: bool, links: LinkTable | None = None) -> None:
        self.synced = False
        self._table = table
        self._state = state
        self._snapshot = None if resumed else Snapshot(table)
        self._keys: set[str] = set()
        self._floors: dict[str, int] = {}
        self._links = links
        self._told_links: dict[str, Link] = {}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._last = 0
        """Of this stream."""

    async def apply(self, event: Event) -> bool:
        """True when what is in force has changed or was confirmed. Raises ContractError."""
        if event.name not in (SNAPSHOT, SYNCED, PUT, DELETE, KEYS, CAPTURE, PREVIEWS, RULES):
            return False
        if event.name == CAPTURE:
            self._change_captures(event.data)
            return False
        if event.name == RULES:
            self._change_rules(event.data)
            return False
        if event.name == KEYS:
            self._change_keys(event.data)
            return False
        if event.name == PREVIEWS:
            if self._links is not None:
                self._change_links(self._links, event.data)
            return False
        if not _ID.fullmatch(event.id):
            raise ContractError([("", f"{event.name} without a whole number as id")])
        revision = int(event.id)
        if event.name == SNAPSHOT:
            if self._snapshot is None:
                self._snapshot = Snapshot(self._table)
            await self._snapshot.add(event.data)
        elif event.name == SYNCED:
            await self._sync(revision, event.data)
        elif not self._change(event, revision):
            return False
        self._last = max(self._last, revision)
        return self._snapshot is None

    async def _sync(self, revision: int, data: str) -> None:
        old: dict[str, Route] = {}
        told = parse(data)
        self._table.replace_keys(self._keys if isinstance(told, dict) and told.get("keys") is True else None)
        self._keys = set()
        self._table.captures.replace(self._floors)
        self._floors = {}
        if self._links is not None:
            whole = isinstance(told, dict) and told.get(PREVIEWS) is True
            self._links.replace(self._told_links.values() if whole else ())  # nobody vouches for them otherwise
            self._told_links = {}
        self._table.replace_rules(self._rules)
        self._rules = {}
        if self._snapshot is not None:
            old = self._snapshot.swap()
            self._snapshot = None
        elif revision < self._state.applied:
            raise ContractError([("", f"synced at {revision} without a snapshot, after {self._state.applied}")])
        self._state.applied = revision
        self._state.confirm()
        self.synced = True
        await discard(old)

    def _change(self, event: Event, revision: int) -> bool:
        target = self._table if self._snapshot is None else self._snapshot
        route: Route | None
        if event.name == PUT:
            route = decode(parse(event.data), self._table.workload)
            key = route.key
        else:
            key, route = self._deleted(event.data)
        if revision < (self._state.applied if self._snapshot is None else self._last):
            self._state.ignored += 1
            return False
        if route is not None:
            target.put(route)
            check_size(target)
        else:
            target.delete(key)
        if self._snapshot is None:
            self._state.applied = revision
            if self.synced:
                self._state.confirm()
        return True

    def _change_keys(self, data: str) -> None:
        document = parse(data)
        document = document if isinstance(document, dict) else {}
        add, remove = document.get("add", []), document.get("remove", [])
        for listed in (add, remove):
            if not isinstance(listed, list) or len(listed) > KEYS_IN_EVENT:
                raise ContractError(
                    [("", f"keys are an object with up to {KEYS_IN_EVENT} names to `add` and `remove`")]
                )
            if not all(isinstance(key, str) and ROUTING_KEY.fullmatch(key) for key in listed):
                raise ContractError([("", "keys with one that is no legal key")])
        if self.synced:
            self._table.change_keys(add, remove)
            return
        self._keys.update(add)
        self._keys.difference_update(remove)
        check_size(self._keys)

    def _change_captures(self, data: str) -> None:
        document = parse(data)
        document = document if isinstance(document, dict) else {}
        for name, floor in FLOORS.items():
            keys = document.get(name, [])
            if not isinstance(keys, list) or len(keys) > KEYS_IN_EVENT:
                raise ContractError([(name, f"a capture is an object with up to {KEYS_IN_EVENT} keys by name")])
            if not all(isinstance(key, str) and ROUTING_KEY.fullmatch(key) for key in keys):
                raise ContractError([(name, "a capture with a key that is no legal one")])
            if self.synced:
                self._table.captures.change(keys, floor)
            else:
                self._floors.update(dict.fromkeys(keys, floor))
        check_size(self._floors)

    def _change_links(self, links: LinkTable, data: str) -> None:
        document = parse(data)
        document = document if isinstance(document, dict) else {}
        put, remove = document.get("put", []), document.get("remove", [])
        for listed in (put, remove):
            if not isinstance(listed, list) or len(listed) > LINKS_IN_EVENT:
                raise ContractError(
                    [("", f"previews are an object with up to {LINKS_IN_EVENT} links to `put` and `remove`")]
                )
        if not all(isinstance(hashed, str) and HASH.fullmatch(hashed) for hashed in remove):
            raise ContractError([("", "previews with one to remove that is no hash")])
        found = [decode_link(link) for link in put]
        if self.synced:
            links.change(found, remove)
            return
        self._told_links.update({link.hash: link for link in found})
        for hashed in remove:
            self._told_links.pop(hashed, None)
        if len(self._told_links) > MAX_LINKS:
            raise ContractError([("", f"more than {MAX_LINKS} previews")])

    def _change_rules(self, data: str) -> None:
        document = parse(data)
        if not isinstance(document, dict) or "key" not in document:
            return  # of a later version
        key, rules = decode_rules(document)
        if self.synced:
            self._table.put_rules(key, rules)
        else:
            self._rules[key] = rules
            check_size(self._rules)

    def _deleted(self, data: str) -> tuple[str, Route | None]:
        """The key, and its tombstone when there is one."""
        document = parse(data)
        if not isinstance(document, dict) or document.get("workload") != self._table.workload:
            raise ContractError([("", f"a delete that is not of {self._table.workload}")])
        key = document.get("key")
        if not isinstance(key, str) or not ROUTING_KEY.fullmatch(key):
            raise ContractError([("key", "a delete without a legal key")])
        ended = document.get("ended")
        if ended is None:
            return key, None
        tombstone = check_workload(decode_tombstone(ended, "ended"), self._table.workload, "ended")
        if tombstone.key != key:
            raise ContractError([("ended.key", f"is not that of the route, {key}")])
        return key, tombstone
