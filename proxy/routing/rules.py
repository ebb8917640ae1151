"""The rules of routing keys, as a sidecar applies them (`proxy.contract.rules`). Pure.

A key without rules costs nothing: what is decided for it is decided once, when its plan is made
(`proxy.exchange.plan`), and then there is nothing to look at. A key with rules has a plan that asks them about every
request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from proxy.contract.rules import Rule

Values = Callable[[bytes], Sequence[bytes]]
"""The values of a request's fields, by their names in lower case."""

ANY: Final = "*"


class Applied:
    """A rule at work. seen: requests that matched; used: those of them that it was applied to.

    by_host: a request has to name the rule's host itself, for the place where it is applied does not tell.
    """

    __slots__ = ("_headers", "_hosts", "_method", "_path", "rule", "seen", "used")

    def __init__(self, rule: Rule, *, by_host: bool = False) -> None:
        self.rule = rule
        self.seen = 0
        self.used = 0
        host = rule.host.encode()
        self._hosts = frozenset((host, host + b":80") if by_host else ())
        self._method = rule.method.encode()
        pattern = ".*".join(map(re.escape, rule.path.split(ANY)))
        self._path: re.Pattern[bytes] | None = re.compile(pattern.encode(), re.DOTALL) if rule.path else None
        self._headers = [
            (name.encode(), None if value == ANY else value.encode("latin-1")) for name, value in rule.headers
        ]

    def __repr__(self) -> str:
        return f"<Applied {self.rule.name} seen={self.seen} used={self.used}>"

    def takes(self, method: bytes, path: bytes, values: Values) -> bool:
        """Whether it is applied to this request, which is counted."""
        if self._method and method != self._method:
            return False
        if self._path is not None and self._path.fullmatch(path) is None:
            return False
        if self._hosts:
            named = values(b"host") or values(b":authority")
            if not named or named[0].lower() not in self._hosts:
                return False
        for name, wanted in self._headers:
            found = values(name)
            if not found or (wanted is not None and wanted not in found):
                return False
        times, percent = self.rule.times, self.rule.percent
        if times and self.used >= times:
            return False
        before, self.seen = self.seen, self.seen + 1
        # The share of whole requests that are due by now: of 30 percent the 1st, 4th, 7th, 11th, ...
        if (before * percent + 99) // 100 == (self.seen * percent + 99) // 100:
            return False
        self.used += 1
        return True


class Rules:
    """Those of one key at one place, in their order."""

    __slots__ = ("applied",)

    def __init__(self, rules: Sequence[Rule], *, by_host: bool = False) -> None:
        self.applied = [Applied(rule, by_host=by_host) for rule in rules]

    def __repr__(self) -> str:
        return f"<Rules {self.applied}>"

    def first(self, method: bytes, target: bytes, values: Values) -> int:
        """The index of the rule that is applied to a request, -1 for none. target: as in the request line."""
        path = path_of(target)
        for index, applied in enumerate(self.applied):
            if applied.takes(method, path, values):
                return index
        return -1


class RuleTable:
    """All rules that concern one sidecar.

    workload: its own.
    version:  grows with every change.
    """

    __slots__ = ("_calls", "_hosts", "_own", "_said", "version", "workload")

    def __init__(self, workload: str) -> None:
        self.workload = workload
        self.version = 0
        self._said: dict[str, tuple[Rule, ...]] = {}
        self._own: dict[str, Rules] = {}
        self._hosts: dict[str, dict[str, Rules]] = {}
        self._calls: dict[str, Rules] = {}

    def __repr__(self) -> str:
        return f"<RuleTable {self.workload} {len(self._said)} keys>"

    def of_workload(self, key: str) -> Rules | None:
        """Those of requests to our own application."""
        return self._own.get(key)

    def of_host(self, key: str, host: str, port: int) -> Rules | None:
        """Those of calls to a host."""
        hosts = self._hosts.get(key)
        if hosts is None:
            return None
        return hosts.get(f"{host.lower()}:{port}") or hosts.get(host.lower())

    def of_any_host(self, key: str) -> Rules | None:
        """Those of calls that name their host themselves."""
        return self._calls.get(key)

    def put(self, key: str, rules: Sequence[Rule]) -> bool:
        """Take over all rules of a key. False: they are as they were, and go on where they are."""
        own = tuple(rule for rule in rules if rule.host or rule.workload == self.workload)
        if self._said.get(key, ()) == own:
            return False
        self.version += 1
        self._said.pop(key, None)
        self._own.pop(key, None)
        self._hosts.pop(key, None)
        self._calls.pop(key, None)
        if own:
            self._said[key] = own
        here = [rule for rule in own if rule.workload]
        if here:
            self._own[key] = Rules(here)
        calls = [rule for rule in own if rule.host]
        if calls:
            self._calls[key] = Rules(calls, by_host=True)
        hosts: dict[str, list[Rule]] = {}
        for rule in calls:
            hosts.setdefault(rule.host, []).append(rule)
        if hosts:
            self._hosts[key] = {host: Rules(of_host) for host, of_host in hosts.items()}
        return True

    def replace(self, said: Mapping[str, Sequence[Rule]]) -> bool:
        """Take over the rules of all keys. False: nothing has changed."""
        changed = False
        for key in [key for key in self._said if key not in said]:
            changed = self.put(key, ()) or changed
        for key, rules in said.items():
            changed = self.put(key, rules) or changed
        return changed


def path_of(target: bytes) -> bytes:
    """The path in a request's target, without its query; of the absolute form behind its authority."""
    path = target.partition(b"?")[0]
    if path[:1] != b"/" and b"://" in path:
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    return path
