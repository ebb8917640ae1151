"""Run the fuzzers: `python -m tests.fuzz [TARGET …] [--seconds N] [--replay FILE]`.

Exit codes: 0 nothing found, 1 an invariant does not hold, 2 it cannot run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from proxy import BUILD
from tests.fuzz.seeds import seeds

TARGETS = (
    "request_heads",
    "response_heads",
    "plain_heads",
    "chunks",
    "conversations",
    "answers",
    "carriers",
    "header_blocks",
    "frames",
)
ROOT = Path(__file__).parent.parent.parent
FOUND = ROOT / ".fuzz"
"""Per target: `corpus/` grows from run to run, what broke an invariant lies beside it."""

MAX_BYTES = 4096


def fuzz(target: str, seconds: int, folder: Path) -> bool:
    """Run one target for a time. True when its invariant held."""
    corpus = folder / target / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.fuzz.engine", target, str(corpus), f"-max_total_time={seconds}",
            f"-max_len={MAX_BYTES}", f"-artifact_prefix={folder / target}/", "-timeout=20", "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Coverage-guided fuzzing.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(TARGETS)} [all]")
    parser.add_argument("--seconds", type=int, default=300, help="for each target [300]")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input through one target")
    options = parser.parse_args(arguments)
    targets = options.targets or list(TARGETS)
    unknown = [name for name in targets if name not in TARGETS]
    if unknown or (options.replay and len(options.targets) != 1):
        problem = f"no target {', '.join(unknown)}" if unknown else "--replay needs exactly one target"
        print(f"{problem}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    if options.replay:
        importlib.import_module(f"tests.fuzz.{targets[0]}").one_input(options.replay.read_bytes())
        print("the invariant holds")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing needs atheris: pip install -e '.[fuzz]'", file=sys.stderr)
        return 2
    if BUILD == "compiled":
        print(
            "the fuzzer is guided by branches of Python code, and the data path is compiled: make decompile",
            file=sys.stderr,
        )
        return 2
    failed = [name for name in targets if not fuzz(name, options.seconds, FOUND)]
    for name in failed:
        print(f"{name}: see {FOUND / name}; again with: python -m tests.fuzz {name} --replay FILE", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
