"""Large answers and uploads over HTTP/2: what `bodies` measures, with HTTP/2 on both sides."""

from __future__ import annotations

from functools import partial

from benchmarks.http2 import bodies
from benchmarks.http2 import fleet as http2
from benchmarks.http2.requests import Kind
from benchmarks.origin import MIB, UPLOAD_REQUESTS
from benchmarks.run import Run
from benchmarks.scenario import Bound, Scenario, Target
from benchmarks.scenarios.bodies import CASES, METRICS, turn
from benchmarks.traffic import FORKED


def kind_of(mib: int, upload: bool) -> Kind:
    """A download or upload of `mib` MiB, keyed."""
    return Kind(FORKED, "/upload", grpc=False, body=mib * MIB) if upload else Kind(FORKED, f"/files/{mib}m", grpc=False)


def run(run: Run) -> None:
    """Keyed, to the shadow."""
    origins = run.start_origins()
    fleet = http2.start(run, origins.baseline.http2, origins.shadow.http2, grpc=False)
    run.steps(run.rounds * len(CASES) * len(fleet))
    for running in fleet:
        bodies.move(running.port, kind_of(1, upload=False), MIB, running.expected("shadow"), 1, 0.0)
    for number in range(run.rounds):
        for case, (mib, upload, connections, title) in CASES.items():
            for running in run.turns(fleet, number):
                run.step(f"round {number + 1} of {run.rounds}: {title}", running.name)
                role = running.expected("shadow")
                move = partial(
                    bodies.move, running.port, kind_of(mib, upload), mib * MIB, role, connections, run.duration
                )
                requests = UPLOAD_REQUESTS if upload else 1
                run.record(case, running.name, number, turn(origins, running, role, mib, requests, move))
    http2.check(fleet, grpc=False)


SCENARIO = Scenario(
    name="http2",
    summary="answers and uploads of 1 MiB and 64 MiB over HTTP/2: CPU per MiB and memory",
    cases={case: title for case, (_, _, _, title) in CASES.items()},
    metrics=METRICS,
    targets=(Target("cpu_us_per_mib", Bound.AT_MOST, 0.75, against="envoy"),),
    run=run,
    rounds=2,
    duration=1.0,
)
