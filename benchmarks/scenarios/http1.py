"""CPU per request and throughput of one core over 64 keep-alive connections."""

from __future__ import annotations

from benchmarks import measure
from benchmarks.run import Run
from benchmarks.scenario import SKYCAP_INTERPRETED, Bound, Metric, Scenario, Target
from benchmarks.traffic import FORKED, UNFORKED, Traffic

CONNECTIONS = 64

_CASES = {
    "shadow": (Traffic(FORKED), "shadow", "keyed, to a shadow"),
    "no-fork": (Traffic(UNFORKED), "baseline", "keyed, nothing forked: baseline"),
    "unkeyed": (Traffic(), "baseline", "no key: baseline"),
}

_KEYED, _UNKEYED = ("shadow", "no-fork"), ("unkeyed",)


def run(run: Run) -> None:
    """Every case in every round, every peer in every case."""
    origins = run.start_origins()
    fleet = run.single_hop_fleet(origins)
    run.steps(run.rounds * len(_CASES) * len(fleet))
    for running in fleet:
        measure.warm_up(running, Traffic(FORKED))
    for number in range(run.rounds):
        for case, (traffic, role, title) in _CASES.items():
            for running in run.turns(fleet, number):
                run.step(f"round {number + 1} of {run.rounds}: {title}", running.name)
                values = measure.closed_loop(run, origins, running, traffic, role, CONNECTIONS)
                run.record(case, running.name, number, values)
    run.check(fleet)


SCENARIO = Scenario(
    name="http1",
    summary="64 keep-alive connections, ten headers, 100-byte answers: CPU per request and throughput",
    cases={case: title for case, (_, _, title) in _CASES.items()},
    metrics=(
        Metric("cpu_us", "CPU per request", "us"),
        Metric("rps", "requests/s", "", 0),
        Metric("busy", "core used", "%", 0),
    ),
    targets=(
        Target("cpu_us", Bound.AT_MOST, 0.36, "envoy", _KEYED),
        Target("cpu_us", Bound.AT_MOST, 1.4, "haproxy", _KEYED),
        Target("cpu_us", Bound.AT_MOST, 0.60, "envoy", _KEYED, SKYCAP_INTERPRETED),
        Target("cpu_us", Bound.AT_MOST, 0.30, "envoy", _UNKEYED),
        Target("cpu_us", Bound.AT_MOST, 1.1, "haproxy", _UNKEYED),
        Target("cpu_us", Bound.AT_MOST, 0.50, "envoy", _UNKEYED, SKYCAP_INTERPRETED),
        Target("rps", Bound.AT_LEAST, 2.5, "envoy", _KEYED),
    ),
    run=run,
    rounds=3,
    duration=2.0,
)
