"""Run a soak: `python -m tests.soak [--minutes N]`.

Exit codes: 0 nothing found, 1 something does not hold, 2 it cannot run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence

from tests.soak.run import soak

PLAIN_SECONDS = 15.0
"""Between two lines where nobody looks at a terminal."""


def progress() -> Callable[[str], None]:
    """One line that is written over on a terminal; elsewhere a line once in a while."""
    last = 0.0

    def say(line: str) -> None:
        nonlocal last
        if sys.stdout.isatty():
            print(f"\r\x1b[K{line}", end="", flush=True)
        elif time.monotonic() - last >= PLAIN_SECONDS:
            last = time.monotonic()
            print(line, flush=True)

    return say


def minutes(text: str) -> float:
    value = float(text)
    if not 0.2 <= value <= 1440:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.2 and 1440")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="A long run under everything at once.")
    parser.add_argument("--minutes", type=minutes, default=30.0, help="how long the load lasts [30]")
    options = parser.parse_args(arguments)
    try:
        verdicts, problems = asyncio.run(soak(options.minutes * 60, progress()))
    except KeyboardInterrupt:
        print("\nstopped before its end: no verdict", file=sys.stderr)
        return 2
    print()
    for problem in problems:
        print(f"      {problem}")
    for verdict in verdicts:
        print(verdict)
    bad = sum(not verdict.good for verdict in verdicts)
    print(f"\n{'nothing was found' if not bad else f'{bad} of {len(verdicts)} verdicts are bad'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
