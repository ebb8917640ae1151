"""What a proxy adds to the time of a request when it is far from busy: an open loop at a constant rate."""

from __future__ import annotations

from benchmarks import measure
from benchmarks.errors import WrongAnswer
from benchmarks.figures import quantile
from benchmarks.load import paced
from benchmarks.run import Run, Running
from benchmarks.scenario import Bound, Metric, Scenario, Target
from benchmarks.traffic import FORKED, Traffic

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}

_CASES = {
    "1000": (1000.0, 16, "1,000 requests/s on 16 connections"),
    "2000": (2000.0, 100, "2,000 requests/s on 100 connections"),
}


def run(run: Run) -> None:
    """Every peer in turn, `direct` last in its round because the others are reported in relation to it."""
    origins = run.start_origins()
    fleet = run.single_hop_fleet(origins)
    run.steps(run.rounds * len(_CASES) * len(fleet))
    for running in fleet:
        measure.warm_up(running, Traffic(FORKED, "/1k"))
    for number in range(run.rounds):
        for case, (rate, connections, title) in _CASES.items():
            measured: dict[str, dict[str, float]] = {}
            for running in run.turns(fleet, number):
                run.step(f"round {number + 1} of {run.rounds}: {title}", running.name)
                measured[running.name] = _turn(run, running, rate, connections)
            direct = next(measured[running.name] for running in fleet if running.direct)
            for name, values in measured.items():
                added = {f"added_{q}_us": values[f"{q}_us"] - direct[f"{q}_us"] for q in QUANTILES}
                run.record(case, name, number, values if values is direct else values | added)
    run.check(fleet)


def _turn(run: Run, running: Running, rate: float, connections: int) -> dict[str, float]:
    """Quantiles of the latency in microseconds, and CPU per request. Raises WrongAnswer for any lost answer."""
    order = paced.Order(running.port, rate, connections, run.duration, running.expected("shadow"), FORKED, "/1k")
    cpu = running.cpu_seconds()
    outcome = paced.finish(paced.start(order, run.cores.load, run.stack))
    used = running.cpu_seconds() - cpu
    if outcome.wrong or outcome.lost:
        raise WrongAnswer(
            f"{running.name}, {rate:.0f} requests/s: {outcome.wrong} wrong answers, {outcome.lost} without answer"
        )
    ordered = sorted(outcome.latencies_us)
    values = {f"{name}_us": quantile(ordered, share) for name, share in QUANTILES.items()}
    if not running.direct:
        values["cpu_us"] = used / (rate * (run.duration + order.warm_up)) * 1e6
    return values


SCENARIO = Scenario(
    name="latency",
    summary="constant rate, 1 KB answers, latency from the moment a request was due: what is added over direct",
    cases={case: title for case, (_, _, title) in _CASES.items()},
    metrics=(
        Metric("added_p50_us", "+p50", "us", 0),
        Metric("added_p90_us", "+p90", "us", 0),
        Metric("added_p99_us", "+p99", "us", 0),
        Metric("added_p999_us", "+p99.9", "us", 0),
        Metric("p50_us", "p50", "us", 0),
        Metric("p99_us", "p99", "us", 0),
        Metric("cpu_us", "CPU", "us", 0),
    ),
    # "Adds no more than Envoy" is "takes no longer than Envoy": `direct` is the same on both sides of the
    # comparison, and its noise with it.
    targets=(
        Target("p50_us", Bound.AT_MOST, 1.0, against="envoy", cases=("1000",)),
        Target("p99_us", Bound.AT_MOST, 1.0, against="envoy", cases=("1000",)),
    ),
    run=run,
    rounds=3,
    duration=1.5,
)
