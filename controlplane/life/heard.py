"""Which workloads anybody has heard of, apart from the sandboxes that fork them.

A fork of a workload that has no baseline and no sidecar can be ready and green, and no request ever reaches it: most
often its name is misspelt. So it is a condition of the sandbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from controlplane.life.definitions import Definitions
from controlplane.life.sidecars import Sidecars
from controlplane.model.explanation import near

MAX_GUESSES = 20
"""Names that are compared with others for one answer: each costs up to 20 ms."""

Verdict = tuple[Literal["True", "False", "Unknown"], str, str]


class Heard:
    """Made for one answer, which may hold thousands of sandboxes."""

    def __init__(self, definitions: Definitions, sidecars: Sidecars) -> None:
        self._names = {baseline.workload for baseline in definitions.all()} | sidecars.workloads()
        self._returning = sidecars.returning
        self._meant: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Heard of {len(self._names)} workloads>"

    def verdict(self, workloads: Iterable[str]) -> Verdict:
        """The condition `WorkloadsKnown` of a sandbox that forks these."""
        missing = [workload for workload in workloads if workload not in self._names]
        if not missing:
            return "True", "Known", ""
        if self._returning:
            named = ", ".join(missing)
            return "Unknown", "SidecarsReturn", f"sidecars of {named} may still come back after the registry's restart"
        told = ", ".join(f"{workload}{self._guess(workload)}" for workload in missing)
        return (
            "False",
            "UnknownWorkloads",
            f"nobody knows {told}: no baseline and no sidecar, so no request is led there",
        )

    def _guess(self, workload: str) -> str:
        if workload not in self._meant and len(self._meant) < MAX_GUESSES:
            found = near(workload, sorted(self._names))
            self._meant[workload] = f" (did you mean {' or '.join(found)}?)" if found else ""
        return self._meant.get(workload, "")
