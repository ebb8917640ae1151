from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.launch import build as module
from controlplane.launch.build import Build, build

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def of(folder: Path, *command: str) -> Build:
    return build(command, str(folder), os.environ["PATH"], NOW)


def test_the_same_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "users.py").write_text("one")
    assert of(tmp_path, "python3", "users.py") == of(tmp_path, "python3", "users.py")


def test_another_file_folder_or_argument_is_another_build(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for folder in (tmp_path, other):
        (folder / "users.py").write_text("one")
    first = of(tmp_path, "python3", "users.py").digest
    digests = {first, of(other, "python3", "users.py").digest, of(tmp_path, "python3", "users.py", "-v").digest}
    (tmp_path / "users.py").write_text("two")
    digests.add(of(tmp_path, "python3", "users.py").digest)
    assert len(digests) == 4
    assert all(len(digest) == 12 for digest in digests)


def test_it_was_built_when_its_newest_file_was_written(tmp_path: Path) -> None:
    for name, written in (("users.py", 1_000_000_000), ("config.yaml", 1_500_000_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written, written))
    found = of(tmp_path, sys.executable, "users.py", "--config", "config.yaml", "")
    assert found.started == NOW
    assert found.built is not None
    assert found.built >= datetime.fromtimestamp(1_500_000_000, UTC)
    # An interpreter that is newer than the change says nothing about it.
    assert of(tmp_path, "python3", "users.py").built == datetime.fromtimestamp(1_000_000_000, UTC)


def test_a_program_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "serve").write_text("one")
    first = of(tmp_path, "./serve")
    (tmp_path / "serve").write_text("two")
    assert of(tmp_path, "./serve").digest != first.digest
    assert first.built is not None


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2)
    (tmp_path / "users.jar").write_text("large")
    first = of(tmp_path, "java", "-jar", "users.jar")
    os.utime(tmp_path / "users.jar", (1, 1))
    assert of(tmp_path, "java", "-jar", "users.jar").digest != first.digest


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    found = of(tmp_path, "no-such-program", "nowhere", "a" * 5000)
    assert found.built is None
    assert found.encode() == {"digest": found.digest, "built": None, "started": NOW.isoformat()}
