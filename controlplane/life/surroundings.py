"""What the life of every sandbox needs from outside, in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.hops.port import HopStore
from controlplane.life.changes import Changes
from controlplane.life.clock import Clock
from controlplane.life.definitions import Definitions
from controlplane.life.followers import Followers, Nobody
from controlplane.life.forkers import Forkers
from controlplane.life.handoffs import Handoffs
from controlplane.life.heard import Heard
from controlplane.life.installation import Installation
from controlplane.life.journal import Journal
from controlplane.life.key_rules import KeyRules, unmatched
from controlplane.life.published import PublishedRoutes
from controlplane.life.sidecars import Sidecars
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Fork, Spec
from proxy.base.tasks import Tasks


@dataclass(slots=True)
class LifeCounters:
    """Totals since start."""

    started: int = 0
    not_started: int = 0
    died: int = 0
    adopted: int = 0
    expired: int = 0


@dataclass(slots=True)
class Surroundings:
    """hops:    what the sidecars tell of keyed requests; a key's are forgotten with its sandbox.
    groups:  the route groups, which follow what sandboxes do.
    closing: the registry ends: nobody waits for anything any more.
    """

    clock: Clock
    tasks: Tasks
    journal: Journal
    published: PublishedRoutes
    sidecars: Sidecars
    definitions: Definitions
    installation: Installation
    hops: HopStore
    handoffs: Handoffs
    rules: KeyRules
    forkers: Forkers = field(default_factory=Forkers)
    groups: Followers = field(default_factory=Nobody)
    changes: Changes = field(default_factory=Changes)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    counters: LifeCounters = field(default_factory=LifeCounters)

    def known(self) -> set[str]:
        """Every workload that anybody has named: baselines, those with a sidecar, those that some sandbox forks."""
        baselines = {baseline.workload for baseline in self.definitions.all()}
        return baselines | self.sidecars.workloads() | self.published.workloads()

    def check(self, spec: Spec, unchanged: Callable[[Fork], bool]) -> list[FieldProblem]:
        """Why a sandbox cannot be run here; unchanged: as `Installation.check` has it."""
        problems = self.installation.check(spec, self.definitions.get, unchanged)
        return problems + (unmatched(spec, self.known(), self.definitions.all()) if spec.stubs else [])

    def heard(self) -> Heard:
        return Heard(self.definitions, self.sidecars)
