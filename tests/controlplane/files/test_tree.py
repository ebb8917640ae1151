"""Trees: what differs from the baseline's folder, known by a digest."""

from __future__ import annotations

import pytest

from controlplane.files import tree as module
from controlplane.files.tree import Content, Tree, clash, decode_tree, digest_of, too_much

A, B = (Content(digest_of(data), len(data)) for data in (b"a", b"bb"))


def test_two_trees_of_the_same_have_one_digest_in_whatever_order_they_were_made() -> None:
    one = Tree({"x": A, "y": B}, frozenset({"p", "q"}))
    other = Tree({"y": B, "x": A}, frozenset({"q", "p"}))
    assert one.digest == other.digest
    assert decode_tree(one.encode()) == one
    assert one.digest != Tree({"x": Content(A.digest, A.size, executable=True), "y": B}, one.removed).digest


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"files":{"a":[1]},"removed":[]}', b"\xff"])
def test_what_is_no_tree_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a tree"):
        decode_tree(data)


def test_pushes_add_up() -> None:
    first = Tree().changed({"x": A, "y": A}, ["gone"], [])
    second = first.changed({"x": B}, [], [])
    assert second.files == {"x": B, "y": A}
    assert second.removed == {"gone"}
    assert second.changed({}, ["y"], []).files == {"x": B}
    assert second.changed({}, [], ["x", "y", "gone"]) == Tree()
    assert second.changed({"gone": A}, [], []).removed == frozenset()


def test_a_file_cannot_lie_below_a_file() -> None:
    assert clash(Tree({"a": A, "a/b": A})) == ("a/b", "a")
    assert clash(Tree({"a": A, "ab": A, "b/c/d": A, "b/c/e": B})) is None


def test_a_tree_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    monkeypatch.setattr(module, "MAX_TREE_BYTES", 3)
    assert too_much(Tree({"a": A, "b": B})) == ""
    assert "would be 3 files, and 2 are allowed" in too_much(Tree({"a": A, "b": A}, frozenset({"c"})))
    assert "would be 4 bytes, and 3 are allowed" in too_much(Tree({"a": B, "b": B}))
