"""wrk in a closed loop: as many requests as the connections take. For CPU per request and throughput.

Its latencies are not used: a closed loop waits for slow answers before it asks again, so that it measures least
where it hurts most (coordinated omission). `benchmarks.load.paced` is for latency.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.process import confined, environment
from benchmarks.template import render
from benchmarks.traffic import Traffic, lua_expression

_MARK = "skycap-benchmark "
_GRACE_SECONDS = 20
_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Driven:
    """What wrk counted. errors: kind -> number, without the kinds that did not occur."""

    requests: int
    seconds: float
    errors: dict[str, int]


def script(traffic: Traffic, seed: str = "") -> str:
    """The Lua program that makes the requests of `traffic`."""
    keys = ", ".join(json.dumps(key) for key in traffic.keys or ("",))
    expression = lua_expression(traffic.template(seed))
    return render(_SCRIPT.read_text(), {"KEYS": keys, "EXPRESSION": expression, "MARK": _MARK})


def parse(output: str) -> Driven:
    """What the script's `done` printed. Raises BenchmarkError when it did not get that far."""
    for line in output.splitlines():
        if line.startswith(_MARK):
            figures = json.loads(line.removeprefix(_MARK))
            kinds = ("connect", "read", "write", "status", "timeout")
            errors = {kind: figures[kind] for kind in kinds if figures[kind]}
            return Driven(figures["requests"], figures["microseconds"] / 1e6, errors)
    raise BenchmarkError(f"wrk printed no result: {' / '.join(output.strip().splitlines()[-3:]) or 'nothing'}")


def drive(
    wrk: Path, port: int, traffic: Traffic, connections: int, seconds: float, cores: Iterable[int], folder: Path
) -> Driven:
    """Load `port` of 127.0.0.1 for `seconds` (whole seconds, at least one: wrk knows no others)."""
    path = folder / "wrk-load.lua"
    path.write_text(script(traffic))
    whole = max(1, round(seconds))
    command = [str(wrk), "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "5s", "-s", str(path)]
    try:
        done = subprocess.run(
            confined([*command, f"http://127.0.0.1:{port}/"], cores),
            capture_output=True,
            text=True,
            timeout=whole + _GRACE_SECONDS,
            check=False,
            start_new_session=True,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"wrk did not end {_GRACE_SECONDS} s after its time") from None
    return parse(done.stdout + done.stderr)
