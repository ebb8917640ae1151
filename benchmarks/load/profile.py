"""Where a request's CPU goes, without sockets: what `micro` measures, looked into.

    python -m benchmarks.load.profile [CASE]                   # Python functions, dearest first
    python -m benchmarks.load.profile [CASE] --instructions    # user instructions per request

Instructions are counted by valgrind, which runs the case twice, for more and for fewer requests; the difference is what
a request costs. A busy machine does not change it, and it sees compiled code as well.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.load.micro import Case, cases
from benchmarks.tools import find
from proxy import BUILD

WARM_UP = 1_000
"""Requests before anything is counted: what is decided once per key has been."""

FEWER, MORE = 1_000, 3_000
SHOWN = 25


def repeat(case: Case, times: int) -> None:
    """So many requests."""
    for number in range(times):
        case(number)


def functions(case: Case) -> None:
    """Print what Python called."""
    repeat(case, WARM_UP)
    profile = cProfile.Profile()
    profile.runcall(repeat, case, 20_000)
    pstats.Stats(profile).sort_stats("tottime").print_stats(SHOWN)


def instructions(name: str, valgrind: str) -> float:
    """User instructions per request. Raises CalledProcessError."""
    fewer, more = (_counted(name, times, valgrind) for times in (FEWER, MORE))
    return (more - fewer) / (MORE - FEWER)


def _counted(name: str, times: int, valgrind: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                valgrind, "--tool=callgrind", f"--callgrind-out-file={folder}/out", sys.executable, "-m",
                "benchmarks.load.profile", name, "--times", str(times),
            ],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "0"},
        )  # fmt: skip
    found = re.search(r"Collected : ([0-9]+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 when it cannot be told here."""
    listed = cases()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load.profile", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("case", nargs="?", default="exchange, keyed", choices=list(listed), metavar="CASE")
    parser.add_argument("--instructions", action="store_true", help="count by valgrind instead")
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)  # what valgrind looks at
    options = parser.parse_args(arguments)
    case = listed[options.case]
    if options.times is not None:
        repeat(case, WARM_UP + options.times)
        return 0
    if not options.instructions:
        if BUILD == "compiled":
            print("compiled functions cannot be seen from Python: --instructions, or make decompile", file=sys.stderr)
            return 2
        functions(case)
        return 0
    valgrind = find("valgrind")
    if valgrind is None:
        print("instructions are counted by valgrind: sudo apt-get install valgrind", file=sys.stderr)
        return 2
    print("the case runs twice under valgrind, which takes a while", file=sys.stderr)
    print(f"{options.case}, {BUILD}: {instructions(options.case, str(valgrind)):,.0f} instructions per request")
    return 0


if __name__ == "__main__":
    sys.exit(main())
