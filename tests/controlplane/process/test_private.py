from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.process.private import private_folder, write_private


@pytest.fixture(autouse=True)
def open_mask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_for_its_owner_only_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("for everybody")
    (tmp_path / "record.json.new").symlink_to(tmp_path / "elsewhere")
    write_private(path, "secret")
    assert (path.read_text(), mode(path)) == ("secret", 0o600)
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_a_folder_and_those_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "a/b/c"
    private_folder(folder)
    private_folder(folder)
    assert [mode(each) for each in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3
