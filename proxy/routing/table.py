"""The routes of one workload, as the sidecar beside it needs them.

The table is changed in place: a `put` or `delete` costs the same with ten routes and with 100,000. A whole new
table is built aside by the feed, piece by piece, and swapped in by one assignment (`replace`). Whoever keeps
something that was derived from the table (the decision cache, requests held up for a pending shadow) registers
in `watchers` and is told after every change. The other way round, `callers` are told of a key whose shadow sleeps when
a request waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from proxy.contract.routes import Route
from proxy.contract.rules import Rule
from proxy.routing.captures import Captures
from proxy.routing.rules import RuleTable


class RouteTable:
    """key -> Route for one workload.

    workload: `namespace/name`; routes of other workloads must not be put here.
    captures: of which keys other messages are kept than of most.
    rules:    what keys have of rules; changed by `put_rules` and `replace_rules`.
    synced:   a whole table has been received at least once (from a file or a registry). It never goes back:
              the last good table serves until a better one comes.
    """

    __slots__ = ("_keys", "_routes", "callers", "captures", "rules", "synced", "watchers", "workload")

    def __init__(self, workload: str) -> None:
        self.workload = workload
        self.rules = RuleTable(workload)
        self.synced = False
        self.watchers: list[Callable[[], None]] = []
        self.callers: list[Callable[[str], None]] = []
        self.captures = Captures()
        self._routes: dict[str, Route] = {}
        self._keys: set[str] | None = None

    def __repr__(self) -> str:
        return f"<RouteTable {self.workload} {len(self)} routes{'' if self.synced else ' never synced'}>"

    def __len__(self) -> int:
        return len(self._routes)

    def routes(self) -> list[Route]:
        """A copy, in the order of arrival."""
        return list(self._routes.values())

    def lookup(self, key: str) -> Route | None:
        return self._routes.get(key)

    def nobody_has(self, key: str) -> bool:
        """No sandbox has this key, whichever workloads it forks. False when nobody has told."""
        return self._keys is not None and key not in self._keys and key not in self._routes

    def replace(self, routes: dict[str, Route]) -> dict[str, Route]:
        """Take over `routes` (key -> Route) as the whole table; the caller must not touch it again.

        Returns what it was before, which the caller may take to pieces: freeing 100,000 routes at once is a pause."""
        old, self._routes = self._routes, routes
        self.synced = True
        self._changed()
        return old

    def put(self, route: Route) -> None:
        self._routes[route.key] = route
        self._changed()

    def delete(self, key: str) -> None:
        """Forget a key; one that is not there is no error, since a delete may be sent twice."""
        if self._routes.pop(key, None) is not None:
            self._changed()

    def replace_keys(self, keys: set[str] | None) -> None:
        """Take over the keys of all sandboxes; None when nobody tells them."""
        if keys != self._keys:
            self._keys = keys
            self._changed()

    def change_keys(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Sandboxes with these keys have come and gone."""
        if self._keys is not None:
            self._keys.update(add)
            self._keys.difference_update(remove)
            self._changed()

    def call(self, key: str) -> None:
        """A request waits for a shadow that sleeps."""
        for caller in self.callers:
            caller(key)

    def put_rules(self, key: str, rules: Sequence[Rule]) -> None:
        """Take over all rules of a key."""
        if self.rules.put(key, rules):
            self._changed()

    def replace_rules(self, said: Mapping[str, Sequence[Rule]]) -> None:
        """Take over the rules of all keys."""
        if self.rules.replace(said):
            self._changed()

    def _changed(self) -> None:
        for watcher in self.watchers:
            watcher()
