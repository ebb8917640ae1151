"""The work folder: read without following a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controlplane.files import work as module
from controlplane.files.work import Found, WorkFolder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A service, and beside it what is not the service's."""
    folder = tmp_path / "service"
    (folder / "src").mkdir(parents=True)
    (folder / "users.py").write_text("users")
    (folder / "run.sh").write_text("run")
    (folder / "run.sh").chmod(0o755)
    (folder / "src" / "deep.py").write_text("deep")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (folder / "out").symlink_to(secret)
    (folder / "key").symlink_to(secret / "key")
    (folder / "inner").symlink_to("src")
    os.mkfifo(folder / "pipe")
    return folder


def test_files_are_found_and_read(base: Path) -> None:
    work = WorkFolder(str(base))
    assert work.find("users.py") == Found(5, executable=False)
    assert work.find("run.sh") == Found(3, executable=True)
    assert work.read("src/deep.py") == b"deep"
    assert work.refused("users.py") == work.refused("new/folder/new.py") == work.refused("src/new.py") == ""


@pytest.mark.parametrize("path", ["out/key", "key", "inner/deep.py", "pipe", "src", "nothing", "users.py/x"])
def test_nothing_is_read_through_a_link_or_from_what_is_no_file(base: Path, path: str) -> None:
    work = WorkFolder(str(base))
    assert work.read(path) is None
    assert work.find(path) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("out/key", "lies below out, which is a link in the work folder (to "),
        ("out/new", "lies below out, which is a link"),
        ("inner/deep.py", "(to src): push what it leads to"),
        ("key", "is a link in the work folder"),
        ("users.py/x", "lies below users.py, which is a file"),
        ("src", "is a folder in the work folder"),
        ("pipe", "is no regular file"),
    ],
)
def test_nothing_is_pushed_through_a_link_or_over_what_is_no_file(base: Path, path: str, why: str) -> None:
    assert why in WorkFolder(str(base)).refused(path)


def test_a_file_that_is_too_large_is_not_read(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 4)
    assert WorkFolder(str(base)).read("users.py") is None
    assert WorkFolder(str(base)).read("src/deep.py") == b"deep"


def test_a_folder_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WorkFolder(str(tmp_path / "nothing"))
