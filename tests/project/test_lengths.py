"""A source file past 400 lines has a seam that nobody has found, or a reason that stands here."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 400
NEARLY = 360
"""A file that has become shorter than this needs its reason no more."""

REASONS = {
    "proxy/runtime.py": "the composition root: everything is built here once, in order, and torn down in the reverse",
    "proxy/wire/head.py": "one pattern per direction, and what each of its groups means, beside each other",
}


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def sources() -> dict[str, int]:
    found = {}
    for room in ("proxy", "controlplane", "benchmarks"):
        for path in ROOT.joinpath(room).rglob("*.py"):
            found[path.relative_to(ROOT).as_posix()] = lines(path)
    assert len(found) > 150
    return found


def test_a_long_file_has_a_reason() -> None:
    long = {name: length for name, length in sources().items() if length > MOST and name not in REASONS}
    assert not long, f"past {MOST} lines: find the seam, or write the reason into REASONS"


@pytest.mark.parametrize("name", REASONS)
def test_a_reason_has_a_long_file(name: str) -> None:
    assert sources().get(name, 0) > NEARLY, "the reason is not needed any more"
