"""One scenario being run: the means it works with and the samples it leaves.

Everything that a scenario starts is put on `stack` and has ended when the scenario has, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import probe
from benchmarks.figures import Sample
from benchmarks.machine import Cores, free_ports
from benchmarks.origin import Origin
from benchmarks.peers import Hop, Peer, Site
from benchmarks.process import POLL_SECONDS, Process
from benchmarks.progress import Progress
from benchmarks.scenario import DIRECT, Scenario


@dataclass(frozen=True, slots=True)
class Candidate:
    """A peer that is installed, and where."""

    peer: Peer
    program: Path


@dataclass(frozen=True, slots=True)
class Running:
    """A row of the tables, ready to be asked: a peer's processes behind `port`; none of them for `direct`."""

    name: str
    port: int
    processes: tuple[Process, ...] = ()

    @property
    def direct(self) -> bool:
        return not self.processes

    def cpu_seconds(self) -> float:
        """Of all its processes since they began."""
        return sum(process.cpu_seconds() for process in self.processes)

    def expected(self, role: str) -> str:
        """Who answers when a request is meant for `role`: without a proxy nobody decides, so the baseline."""
        return "baseline" if self.direct else role


@dataclass(frozen=True, slots=True)
class Origins:
    """The two services."""

    baseline: Origin
    shadow: Origin

    def __iter__(self) -> Iterator[Origin]:
        yield self.baseline
        yield self.shadow


@dataclass(slots=True)
class Run:
    """The means and the harvest of one scenario.

    rounds, duration: as asked for, or the scenario's own; duration in seconds per turn.
    """

    scenario: Scenario
    rounds: int
    duration: float
    candidates: Sequence[Candidate]
    tools: Mapping[str, Path]
    cores: Cores
    folder: Path
    progress: Progress
    stack: ExitStack
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def steps(self, count: int) -> None:
        """How many `step`s will follow."""
        self.progress.begin(self.scenario.name, count)

    def step(self, group: str, detail: str) -> None:
        self.progress.step(group, detail)

    def record(self, case: str, peer: str, number: int, values: Mapping[str, float]) -> None:
        """Keep a sample. The case must be one of the scenario's."""
        assert case in self.scenario.cases, case
        self.samples.append(Sample(case, peer, number, dict(values)))

    def note(self, text: str) -> None:
        """Something that a reader of the figures must know. Once."""
        if text not in self.notes:
            self.notes.append(text)

    def candidate(self, name: str) -> Candidate | None:
        """The peer of that name, if it takes part."""
        return next((candidate for candidate in self.candidates if candidate.peer.name == name), None)

    def start_origins(self) -> Origins:
        """Baseline and shadow."""
        first, second, first_http2, second_http2 = free_ports(4)
        nginx, cores = self.tools["nginx"], self.cores.origin
        return Origins(
            Origin("baseline", first, first_http2, nginx, cores, self.folder, self.stack),
            Origin("shadow", second, second_http2, nginx, cores, self.folder, self.stack),
        )

    def start(
        self,
        candidate: Candidate,
        hops: Sequence[Hop],
        suffix: str = "",
        answers: Callable[[int], bool] = probe.answers,
        poll: float = POLL_SECONDS,
        **site: Any,
    ) -> Process:
        """A peer's process with these hops, serving. What lies behind them must be running.

        suffix: tells several processes of one peer apart. answers: how a hop is asked whether it serves, every `poll`
        seconds. site: further fields of its Site.
        """
        peer = candidate.peer
        name = f"{peer.name}{suffix}"
        folder = self.folder / name
        folder.mkdir()
        (admin,) = free_ports(1)
        command = peer.command(Site(folder, hops, admin, **site), candidate.program)
        process = self.stack.enter_context(Process(name, command, self.cores.proxy, folder))
        path = peer.ready_path()
        if path:
            process.await_ready(lambda: probe.ready(admin, path), poll=poll)
        for hop in hops:
            process.await_ready(partial(answers, hop.listen), poll=poll)
        return process

    def single_hop_fleet(self, origins: Origins) -> list[Running]:
        """Every candidate as the inbound side of one service, and `direct` beside them, routing checked."""
        fleet = []
        for candidate in self.candidates:
            (listen,) = free_ports(1)
            hop = Hop(listen, origins.baseline.port, origins.shadow.port)
            fleet.append(Running(candidate.peer.name, listen, (self.start(candidate, [hop]),)))
        fleet.append(Running(DIRECT, origins.baseline.port))
        self.check(fleet)
        return fleet

    def check(self, fleet: Sequence[Running]) -> None:
        """Every peer decides rightly about every kind of key. Raises WrongAnswer."""
        for running in fleet:
            probe.check_routing(running.name, running.port, running.expected("shadow"))

    def turns(self, fleet: Sequence[Running], number: int) -> list[Running]:
        """The order of a round: rotated, so that nobody always follows the same peer."""
        shift = number % len(fleet)
        return [*fleet[shift:], *fleet[:shift]]
