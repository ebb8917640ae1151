from __future__ import annotations

import os
from pathlib import Path

import pytest

from controlplane.process import logfile


def test_the_tail_of_nothing() -> None:
    assert logfile.tail(Path("/nowhere/at/all"), 10) == ""


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        (b"", 3, ""),
        (b"one\n", 3, "one"),
        (b"one\ntwo\nthree\n", 2, "two\nthree"),
        (b"one\ntwo\nunfinished", 2, "two\nunfinished"),
        (b"caf\xe9\r\n", 1, "caf\N{REPLACEMENT CHARACTER}"),
        (b"one\ntwo\n", 0, ""),
    ],
)
def test_the_last_lines(tmp_path: Path, text: bytes, lines: int, expected: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(text)
    assert logfile.tail(log, lines) == expected


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %07d\n" % number for number in range(100_000)))
    found = logfile.tail(log, 1_000_000).split("\n")
    assert found[-1] == "line 0099999"
    assert found[0].startswith("line ")
    assert len("\n".join(found)) <= logfile.TAIL_BYTES


def test_a_line_longer_than_what_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (logfile.TAIL_BYTES * 2))
    assert logfile.tail(log, 1) == "x" * logfile.TAIL_BYTES


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    os.close(logfile.open_log(tmp_path / "log"))
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
