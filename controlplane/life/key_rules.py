"""The rules of all routing keys, as the sidecars are told them: what follows from the stubs of sandboxes."""

from __future__ import annotations

import json
from collections.abc import Iterable

from controlplane.life.watchers import Watchers
from controlplane.model.explanation import near
from controlplane.model.problem import FieldProblem
from controlplane.model.record import Record
from controlplane.model.sandbox import Spec
from controlplane.model.stub import rules_of
from controlplane.model.workload import Workload
from proxy.contract.rules import Rule, encode_rule
from proxy.contract.watch import RULES, Event, encode_event

MAX_FORGOTTEN = 10_000
"""Keys remembered that have no rules any more: for streams that begin while they change."""


class KeyRules:
    """version: grows with every change."""

    def __init__(self, watchers: Watchers) -> None:
        self.version = 0
        self._watchers = watchers
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._changed: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<KeyRules of {len(self._rules)} keys, version {self.version}>"

    def observe(self, record: Record) -> None:
        """A record was stored: tell everybody what is new in it."""
        self.put(record.routing_key, rules_of_record(record))

    def put(self, key: str, rules: tuple[Rule, ...]) -> None:
        """A key has these rules from now on."""
        if rules == self._rules.get(key, ()):
            return
        self.version += 1
        self._changed.pop(key, None)
        self._changed[key] = self.version
        if rules:
            self._rules[key] = rules
        else:
            del self._rules[key]
        while len(self._changed) > len(self._rules) + MAX_FORGOTTEN:
            del self._changed[next(iter(self._changed))]
        self._watchers.tell_all([self._event(key)])

    def told(self) -> list[bytes]:
        """All of them, as the watch writes them."""
        return [self._event(key) for key in self._rules]

    def since(self, version: int) -> list[bytes]:
        """What has changed after a version."""
        return [self._event(key) for key, at in self._changed.items() if at > version]

    def _event(self, key: str) -> bytes:
        told = {"key": key, "rules": [encode_rule(rule) for rule in self._rules.get(key, ())]}
        return encode_event(Event(RULES, json.dumps(told, separators=(",", ":"))))


def rules_of_record(record: Record) -> tuple[Rule, ...]:
    """Of a sandbox, as long as it is there."""
    return () if record.deleting else rules_of(record.desired.spec.stubs)


def unmatched(spec: Spec, known: Iterable[str], definitions: Iterable[Workload]) -> list[FieldProblem]:
    """Stubs of a workload that nobody knows, or of a host that is a workload's: no request can match them."""
    problems = []
    names = sorted({*known, *(fork.workload for fork in spec.forks)})
    addresses = {definition.address: definition.workload for definition in definitions}
    for index, stub in enumerate(spec.stubs or ()):
        if stub.workload is not None and stub.workload not in names:
            likely = near(stub.workload, names)
            meant = f" (did you mean {likely[0]}?)" if likely else ""
            message = f"no request can match stub {stub.name}: nobody knows a workload {stub.workload}{meant}"
            problems.append(FieldProblem(path=f"spec.stubs[{index}].workload", message=message))
        if stub.host in addresses:
            message = f"stub {stub.name}: there listens the sidecar of {addresses[stub.host]}: say workload instead"
            problems.append(FieldProblem(path=f"spec.stubs[{index}].host", message=message))
    return problems
