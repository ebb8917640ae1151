"""The full path of a call: the caller's outbound side, then the callee's inbound side, each in its own process.

Two shapes. `call` is the call by itself. `chain` is what it is for: the request enters the caller's sidecar, its
application (an nginx that proxies) calls on through the outbound side, and the callee's sidecar decides. Beside
Skycap stands an application that drops `baggage` and passes on tracing headers only, so that the outbound side has
to carry the key by trace id. The other proxies cannot do that; their applications forward the baggage.
"""

from __future__ import annotations

from benchmarks import apps, measure
from benchmarks.apps import App
from benchmarks.machine import free_ports
from benchmarks.peers import Hop
from benchmarks.peers.known import Skycap
from benchmarks.run import Candidate, Origins, Run, Running
from benchmarks.scenario import DIRECT, Bound, Metric, Scenario, Target
from benchmarks.traffic import FORKED, Traffic

CONNECTIONS = 64

_TITLES = {
    "call": "caller's outbound side -> callee's inbound side",
    "chain": "caller's inbound side -> application -> outbound side -> callee's inbound side",
}


def run(run: Run) -> None:
    """Both shapes for every peer, through one pair of processes per peer."""
    origins = run.start_origins()
    chains = [_Chain(candidate) for candidate in run.candidates]
    direct_app = App(free_ports(1)[0], origins.baseline.port, True)
    apps.start(
        [*(chain.app for chain in chains), direct_app], run.tools["nginx"], run.cores.origin, run.folder, run.stack
    )
    fleets: dict[str, list[Running]] = {"call": [], "chain": []}
    for chain in chains:
        call, whole = chain.start(run, origins)
        fleets["call"].append(call)
        fleets["chain"].append(whole)
    fleets["call"].append(Running(DIRECT, origins.baseline.port))
    fleets["chain"].append(Running(DIRECT, direct_app.listen))
    run.steps(run.rounds * sum(len(fleet) for fleet in fleets.values()))
    for fleet in fleets.values():
        run.check(fleet)
        for running in fleet:
            measure.warm_up(running, Traffic(FORKED))
    for number in range(run.rounds):
        for case, fleet in fleets.items():
            for running in run.turns(fleet, number):
                run.step(f"round {number + 1} of {run.rounds}: {_TITLES[case]}", running.name)
                values = measure.closed_loop(run, origins, running, Traffic(FORKED), "shadow", CONNECTIONS)
                run.record(case, running.name, number, values)
    for fleet in fleets.values():
        run.check(fleet)


class _Chain:
    """One peer's caller, its application, and its callee, on ports chosen in advance."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.entry, self.outbound, self.callee, listen = free_ports(4)
        self.app = App(listen, self.outbound, carries_baggage=not isinstance(candidate.peer, Skycap))

    def start(self, run: Run, origins: Origins) -> tuple[Running, Running]:
        """The rows of `call` and of `chain`: two entrances to the same processes."""
        peer = self.candidate.peer.name
        routed = Hop(self.callee, origins.baseline.port, origins.shadow.port)
        callee = run.start(self.candidate, [routed], "-callee")
        # The outbound hop first: the inbound one is ready when the application behind it can call through.
        hops = [Hop(self.outbound, self.callee, inbound=False), Hop(self.entry, self.app.listen)]
        caller = run.start(self.candidate, hops, "-caller", workload="shop/frontend")
        both = (caller, callee)
        return Running(peer, self.outbound, both), Running(peer, self.entry, both)


SCENARIO = Scenario(
    name="outbound",
    summary="the two-sided path of a call, and the whole chain with an application that drops the baggage",
    cases=_TITLES,
    metrics=(
        Metric("cpu_us", "CPU per request, both processes", "us"),
        Metric("rps", "requests/s", "", 0),
        Metric("busy", "core used", "%", 0),
    ),
    targets=(
        Target("cpu_us", Bound.AT_MOST, 0.55, against="envoy", cases=("call",)),
        Target("cpu_us", Bound.AT_MOST, 0.6, against="envoy", cases=("chain",)),
        Target("cpu_us", Bound.AT_MOST, 1.4, against="haproxy"),
    ),
    run=run,
    rounds=3,
    duration=1.0,
)
