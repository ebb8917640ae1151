"""Who forks what: two agents that fork the same workload are told of each other. Neither is in the other's way."""

from __future__ import annotations

from controlplane.model.record import Record
from controlplane.model.sandbox import AlsoForkedBy

MAX_TOLD = 20
"""Named for one fork: whoever wants all of them asks for the list of sandboxes that fork the workload."""


class Forkers:
    """Of all sandboxes that are not being deleted."""

    def __init__(self) -> None:
        self._of_workload: dict[str, dict[str, str | None]] = {}
        self._of_sandbox: dict[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"<Forkers {len(self._of_sandbox)} sandboxes, {len(self._of_workload)} workloads>"

    def note(self, record: Record) -> None:
        """A sandbox was stored: it forks these now, and no others."""
        wanted, sandbox = record.desired, record.name
        owner = wanted.metadata.owner if wanted.metadata else None
        for workload in self._of_sandbox.pop(sandbox, ()):
            of_workload = self._of_workload[workload]
            del of_workload[sandbox]
            if not of_workload:
                del self._of_workload[workload]
        if forked := tuple(fork.workload for fork in wanted.spec.forks if not wanted.deleting):
            self._of_sandbox[sandbox] = forked
            for workload in forked:
                self._of_workload.setdefault(workload, {})[sandbox] = owner

    def others(self, sandbox: str, workload: str) -> tuple[AlsoForkedBy, ...] | None:
        """Some of the other sandboxes that fork it, by name; None when there are none."""
        found = sorted(name for name in self._of_workload.get(workload, ()) if name != sandbox)[:MAX_TOLD]
        told = self._of_workload.get(workload, {})
        return tuple(AlsoForkedBy(sandbox=name, owner=told[name]) for name in found) or None
