"""Ten keys and a hundred thousand: what a request costs, what the table weighs, and how a new one comes into force.

The table is swapped under load: requests at a constant rate go on while the routes file is replaced by one that has
a further key, and that key is asked for until it is answered by the shadow. The stall is the most CPU time that the
sidecar spent while one request waited for its answer: what a busy machine adds is not in it. The longest latency
of that time and of an equal time without a swap stand beside it, and they are as noisy as the machine.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import accounting, measure, probe
from benchmarks.errors import BenchmarkError, WrongAnswer
from benchmarks.load import paced
from benchmarks.machine import free_ports
from benchmarks.origin import MIB
from benchmarks.peers import Hop, Site
from benchmarks.peers.known import routes
from benchmarks.run import Origins, Run, Running
from benchmarks.scenario import SKYCAP, Bound, Metric, Scenario, Target
from benchmarks.traffic import KEY_PREFIX, Traffic

SIZES = (10, 1_000, 100_000)

_FEW = 10
"""Keys in the traffic that is the same for every size."""

_CONNECTIONS = 64
_RATE = 1_000.0
_RATE_CONNECTIONS = 16
_SWAP_SECONDS = 30.0
"""Within which a new table must be in force."""

_AROUND_SECONDS = 0.3
"""Of load before the file is replaced and after its table is in force."""

_POLL_SECONDS = 0.01


def run(run: Run) -> None:
    """One sidecar per size; sizes take turns like peers do."""
    candidate = run.candidate(SKYCAP)
    if candidate is None:
        run.note("only Skycap takes part in this scenario")
        return
    origins = run.start_origins()
    tables = []
    for size in SIZES:
        (listen,) = free_ports(1)
        site_keys = tuple(f"{KEY_PREFIX}{number:03}" for number in range(size))
        hop = Hop(listen, origins.baseline.port, origins.shadow.port)
        process = run.start(candidate, [hop], f"-{size}", keys=site_keys)
        folder = run.folder / f"{SKYCAP}-{size}"
        tables.append(_Table(size, site_keys, hop, Running(f"{SKYCAP} with {size} keys", listen, (process,)), folder))
    smallest = accounting.resident_bytes(tables[0].running.processes[0].pid)
    run.steps(run.rounds * len(tables) * 4)
    for table in tables:
        _check(table)
        measure.warm_up(table.running, Traffic(table.keys[:_FEW]))
    for number in range(run.rounds):
        few: dict[int, float] = {}
        for table in tables:
            run.step(f"round {number + 1} of {run.rounds}: ten keys in turn", f"{table.size:,} routes")
            few[table.size] = _cpu(run, origins, table, table.keys[:_FEW])
        for table in tables:
            values = {"cpu_us": few[table.size]}
            if table.size > _FEW:
                values["against_ten"] = few[table.size] / few[_FEW]
                if number == 0:
                    weight = accounting.resident_bytes(table.running.processes[0].pid) - smallest
                    values["table_mib"] = weight / MIB
            run.step(f"round {number + 1} of {run.rounds}: all keys in turn", f"{table.size:,} routes")
            values["cpu_all_us"] = _cpu(run, origins, table, table.keys)
            run.step(f"round {number + 1} of {run.rounds}: a swap at a constant rate", f"{table.size:,} routes")
            values |= _swap(run, table, number)
            run.step(f"round {number + 1} of {run.rounds}: as long without a swap", f"{table.size:,} routes")
            quiet = values["swap_ms"] / 1000 + 2 * _AROUND_SECONDS
            values["quiet_ms"] = max(_outcome(_start_load(run, table, quiet), table).latencies_us) / 1000
            run.record(str(table.size), SKYCAP, number, values)
    for table in tables:
        _check(table)


class _Table:
    """A sidecar with a table of one size, and the file that it reads."""

    def __init__(self, size: int, keys: tuple[str, ...], hop: Hop, running: Running, folder: Path) -> None:
        self.size = size
        self.keys = keys
        self.running = running
        self._site = Site(folder, [hop], admin=0, keys=keys)

    def replace_file(self, further: str) -> None:
        """Put a new file in the place of the old one, with one key more, in one step."""
        path = self._site.folder / "routes.json"
        aside = path.with_suffix(".new")
        aside.write_text(routes(replace(self._site, keys=(*self.keys, further))))
        aside.replace(path)


def _check(table: _Table) -> None:
    keys = (table.keys[0], table.keys[len(table.keys) // 2], table.keys[-1])
    probe.check_routing(table.running.name, table.running.port, forked_keys=keys)


def _cpu(run: Run, origins: Origins, table: _Table, keys: tuple[str, ...]) -> float:
    traffic = Traffic(keys)
    return measure.closed_loop(run, origins, table.running, traffic, "shadow", _CONNECTIONS)["cpu_us"]


def _start_load(run: Run, table: _Table, seconds: float) -> subprocess.Popen[str]:
    order = paced.Order(
        port=table.running.port,
        rate=_RATE,
        connections=_RATE_CONNECTIONS,
        seconds=seconds,
        expect="shadow",
        keys=table.keys[:_FEW],
        path="/1k",
        watch=table.running.processes[0].pid,
    )
    return paced.start(order, run.cores.load, run.stack)


def _outcome(load: subprocess.Popen[str], table: _Table) -> paced.Outcome:
    """Raises WrongAnswer when one answer was lost or came from elsewhere."""
    outcome = paced.finish(load)
    if outcome.wrong or outcome.lost:
        raise WrongAnswer(f"{table.running.name}: {outcome.wrong} wrong answers, {outcome.lost} without answer")
    return outcome


def _swap(run: Run, table: _Table, number: int) -> dict[str, float]:
    """Replace the file under load. Returns how long the new table took and the longest latency meanwhile."""
    further = f"{KEY_PREFIX}swapped-{number}"
    load = _start_load(run, table, _SWAP_SECONDS + 2 * _AROUND_SECONDS)
    time.sleep(paced.WARM_UP_SECONDS + _AROUND_SECONDS)
    table.replace_file(further)
    began = time.perf_counter()
    traffic = Traffic((further,))
    template = traffic.template()
    with probe.connect(table.running.port) as connection:
        while not probe.exchange(connection, traffic.head(0, template)).body.startswith(b"shadow"):
            if time.perf_counter() - began > _SWAP_SECONDS:
                raise BenchmarkError(f"{table.running.name}: a new table is not in force after {_SWAP_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
    took = time.perf_counter() - began
    time.sleep(_AROUND_SECONDS)
    load.terminate()
    outcome = _outcome(load, table)
    return {
        "swap_ms": took * 1000,
        "stall_ms": outcome.worst_cpu_us / 1000,
        "longest_ms": max(outcome.latencies_us) / 1000,
    }


SCENARIO = Scenario(
    name="routes",
    summary="10, 1,000 and 100,000 keys: CPU per request, memory, and a table swapped under load",
    cases={str(size): f"{size:,} routes" for size in SIZES},
    metrics=(
        Metric("cpu_us", "CPU per request", "us"),
        Metric("against_ten", "as with ten routes", "x", 2),
        Metric("cpu_all_us", "all keys in turn", "us"),
        Metric("table_mib", "memory", "MiB"),
        Metric("swap_ms", "file read", "ms", 0),
        Metric("stall_ms", "stall by a swap", "ms"),
        Metric("longest_ms", "longest latency", "ms"),
        Metric("quiet_ms", "without a swap", "ms"),
    ),
    targets=(
        Target("against_ten", Bound.AT_MOST, 1.1, cases=("100000",)),
        Target("table_mib", Bound.AT_MOST, 60, cases=("100000",)),
        Target("stall_ms", Bound.AT_MOST, 5, cases=("100000",)),
    ),
    run=run,
    rounds=2,
    duration=1.0,
)
