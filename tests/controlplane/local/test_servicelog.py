from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.local import servicelog
from controlplane.local.events import Output, Started
from controlplane.local.servicelog import ServiceLogs, known, lines_of, log_path


def test_every_line_with_its_time_and_the_file_for_its_owner(tmp_path: Path) -> None:
    logs = ServiceLogs(tmp_path, lambda: 1_800_000_000.25)
    for event in (
        Output("users", "one"),
        Started("users", 7),
        Output("users/sidecar", "two"),
        Output("users", "\udcff"),
    ):
        logs(event)
    logs.close()
    assert list(lines_of(tmp_path, "users")) == ["2027-01-15T08:00:00.250Z one", "2027-01-15T08:00:00.250Z ?"]
    assert known(tmp_path) == ["users", "users/sidecar"]
    assert log_path(tmp_path / "logs", "users/sidecar").stat().st_mode & 0o777 == 0o600
    assert list(lines_of(tmp_path, "nobody")) == []


def test_nothing_is_written_once_it_is_closed(tmp_path: Path) -> None:
    """What was killed may still have something to say."""
    logs = ServiceLogs(tmp_path)
    logs(Output("users", "one"))
    logs.close()
    logs(Output("users", "two"))
    assert len(list(lines_of(tmp_path, "users"))) == 1
    assert repr(logs).endswith(" []>")


def test_a_file_is_never_longer_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicelog, "MAX_BYTES", 1000)
    logs = ServiceLogs(tmp_path)
    for number in range(200):
        logs(Output("users", f"line {number}"))
        assert all(path.stat().st_size <= 1000 for path in (tmp_path / "logs").iterdir())
    logs.close()
    kept = [line.partition(" ")[2] for line in lines_of(tmp_path, "users")]
    assert kept == [f"line {number}" for number in range(200 - len(kept), 200)]
    assert 27 < len(kept) < 60


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    ServiceLogs(tmp_path)(Output("users", "lost"))
