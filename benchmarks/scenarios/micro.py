"""The steps of a request without sockets, timed by pyperf in CPU time, and the Python-level calls that each makes.

The calls are a property of the code and the same everywhere; the times are those of this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.errors import BenchmarkError, ToolMissing
from benchmarks.load import micro
from benchmarks.process import confined, environment
from benchmarks.run import Run
from benchmarks.scenario import Metric, Scenario
from proxy import BUILD

_SECONDS = 120


def run(run: Run) -> None:
    """One pyperf run; its values stand for rounds. Raises ToolMissing."""
    if find_spec("pyperf") is None:
        raise ToolMissing("pyperf not found; install with: pip install pyperf")
    run.steps(1)
    run.step("pyperf", "all cases")
    # A profiler sees no call of a compiled function: nothing is said about them rather than 0.
    seen = micro.cases() if BUILD == "interpreted" else {}
    calls = {title: {"calls": micro.python_calls(case)} for title, case in seen.items()}
    for title, values in _time(run).items():
        for number, seconds in enumerate(values):
            run.record("steps", title, number, {"ns": seconds * 1e9, **calls.get(title, {})})


def _time(run: Run) -> dict[str, list[float]]:
    """Seconds per execution of every case, in several processes. Raises BenchmarkError."""
    output = run.folder / "micro.json"
    command = [
        sys.executable, "-m", "benchmarks.load.micro", "--output", str(output), "--quiet",
        "--processes", str(max(2, run.rounds)), "--values", "3", "--warmups", "1", "--min-time", "0.05",
        "--inherit-environ", "PYTHONPATH",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            confined(command, run.cores.proxy),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            start_new_session=True,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"pyperf did not end within {_SECONDS} s") from None
    if done.returncode:
        raise BenchmarkError(f"pyperf failed: {' / '.join(done.stderr.strip().splitlines()[-2:])}")
    return parse(output)


def parse(path: Path) -> dict[str, list[float]]:
    """Name -> values in seconds, from pyperf's JSON."""
    document = json.loads(path.read_text())
    shared = document.get("metadata", {}).get("name", "")
    return {
        benchmark.get("metadata", {}).get("name", shared): [
            value for one in benchmark["runs"] for value in one.get("values", ())
        ]
        for benchmark in document["benchmarks"]
    }


SCENARIO = Scenario(
    name="micro",
    summary="steps of a request without sockets: time and number of Python-level calls (pyperf)",
    cases={"steps": "one at a time"},
    metrics=(Metric("ns", "CPU time", "ns", 0), Metric("calls", "Python calls", "", 0)),
    run=run,
    rounds=3,
)
