"""Contents and trees on the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from controlplane.files import store as module
from controlplane.files.store import FRESH_SECONDS, UNUSED_SECONDS, FileStore, StoreFullError
from controlplane.files.tree import Content, Tree, digest_of


def tree_of(*contents: bytes) -> Tree:
    return Tree({f"file{number}": Content(digest_of(data), len(data)) for number, data in enumerate(contents)})


def aged(folder: Path, seconds: float) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_what_was_put_is_found_by_its_digest_and_nobody_else_may_look(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    assert not store.has(digest_of(b"a"))
    digest = store.put(b"a")
    assert digest == digest_of(b"a") == store.put(b"a")
    assert store.read(digest) == b"a"
    assert store.size(digest) == 1
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    assert stat.S_IMODE(store.path(digest).stat().st_mode) == 0o600
    assert files(tmp_path) == {digest}


def test_a_tree_is_kept_with_what_came_along_and_only_when_all_of_it_is_there(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    tree = tree_of(b"a", b"b")
    with pytest.raises(FileNotFoundError, match="push it again"):
        store.keep(tree, [b"a"])
    assert store.tree(tree.digest) is None
    assert store.keep(tree, [b"b"]) == tree.digest == store.keep(tree, [])
    assert FileStore(tmp_path).tree(tree.digest) == tree
    assert store.tree("../../etc/passwd") is None
    assert store.tree("0" * 64) is None


def test_what_is_damaged_is_not_what_it_says(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    tree = tree_of(b"a")
    store.keep(tree, [b"a"])
    store.path(digest_of(b"a")).write_bytes(b"x")
    with pytest.raises(OSError, match="is damaged"):
        store.read(digest_of(b"a"))
    store.path(digest_of(b"a")).write_bytes(b"")
    store.put(b"a")
    assert store.read(digest_of(b"a")) == b"a"
    (tmp_path / "trees" / tree.digest).write_bytes(tree_of(b"b").encode())
    assert store.tree(tree.digest) is None


def test_what_nobody_uses_is_swept(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    used, left = tree_of(b"a", b"b"), tree_of(b"b", b"c")
    for tree, contents in ((used, [b"a", b"b"]), (left, [b"c"])):
        store.keep(tree, contents)
    uploaded = store.put(b"on its way")
    assert store.sweep({used.digest, left.digest}) == 0

    aged(tmp_path, FRESH_SECONDS + 1)
    assert store.sweep({used.digest}) == 2
    assert files(tmp_path) == {used.digest, digest_of(b"a"), digest_of(b"b"), uploaded}
    aged(tmp_path, UNUSED_SECONDS)
    assert store.sweep({used.digest}) == 1
    assert store.sweep(set()) == 3
    assert files(tmp_path) == set()


def test_what_is_wanted_again_is_not_swept(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    tree = tree_of(b"a")
    store.keep(tree, [b"a"])
    aged(tmp_path, UNUSED_SECONDS + 1)
    store.keep(tree, [])
    store.put(b"a")
    assert store.sweep(set()) == 0
    assert store.tree(tree.digest) == tree


def test_what_was_left_of_an_upload_is_removed_at_the_start(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put(b"a")
    (tmp_path / "incoming" / "half").write_bytes(b"...")
    FileStore(tmp_path)
    assert files(tmp_path) == {digest_of(b"a")}


def test_there_is_an_end_to_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STORE_BYTES", 3)
    store = FileStore(tmp_path)
    store.put(b"aa")
    with pytest.raises(StoreFullError, match="may be 3 bytes together"):
        store.put(b"bb")
    store.put(b"aa")
    aged(tmp_path, UNUSED_SECONDS + 1)
    store.sweep(set())
    store.put(b"bb")


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(b"a")
    assert files(tmp_path) == set()
