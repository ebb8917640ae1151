"""Lines behind their times: what came when."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from controlplane.process import stamped
from controlplane.process.stamped import lines_of, older, stamp, within


def write(path: Path, *lines: tuple[float, str]) -> None:
    path.write_text("".join(f"{stamp(moment)} {line}\n" for moment, line in lines))


def test_a_window_over_both_files(tmp_path: Path) -> None:
    path = tmp_path / "users.log"
    write(older(path), (1.0, "a"), (2.0, "b"))
    write(path, (3.0, "c"), (3.5, ""), (4.0, "d: e"))
    assert within(path, 2.0, 3.0, 10) == ["b", "c"]
    assert within(path, 0.0, inf, 10) == ["a", "b", "c", "", "d: e"]
    assert within(path, 0.0, inf, 2) == ["", "d: e"]
    assert within(path, 5.0, 6.0, 10) == within(tmp_path / "none", 0.0, inf, 10) == []
    assert next(lines_of(path)) == "1970-01-01T00:00:01.000Z a"


def test_only_the_end_is_read_and_lines_without_a_time_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "users.log"
    write(path, *((float(number), f"line {number}") for number in range(100)))
    with path.open("a") as file:
        file.write("no time\n")
    monkeypatch.setattr(stamped, "READ_BYTES", 100)
    assert within(path, 0.0, inf, 10) == ["line 98", "line 99"]
