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


def test_only_a_file_past_its_limit_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * logfile.MAX_BYTES)
    assert not logfile.cut(log)
    assert log.stat().st_size == logfile.MAX_BYTES
    assert not logfile.cut(tmp_path / "none")


def test_writers_go_on_behind_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = logfile.open_log(path)
    try:
        while path.stat().st_size <= logfile.MAX_BYTES:
            os.write(log, b"a line of some length\n" * 10_000)
        os.write(log, b"before\n")
        assert logfile.cut(path)
        assert path.stat().st_size <= logfile.KEPT_BYTES
        os.write(log, b"after\n")
    finally:
        os.close(log)
    assert logfile.tail(path, 3) == "a line of some length\nbefore\nafter"
    assert path.read_bytes().startswith(b"a line of some length\n")


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    os.close(logfile.open_log(tmp_path / "log"))
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
