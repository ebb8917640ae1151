"""What a push makes of the files that a fork has."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from controlplane.files import change as module
from controlplane.files.change import Changing, compared, differences
from controlplane.files.store import FileStore
from controlplane.files.tree import Tree, digest_of
from controlplane.files.work import WorkFolder
from controlplane.model.problem import DocumentError
from controlplane.model.push import FileName, parse_push

DIFF = "--- a/users.py\n+++ b/users.py\n@@ -1 +1 @@\n-old\n+new\n"


class Bench:
    def __init__(self, folder: Path) -> None:
        self.base = folder / "service"
        (self.base / "src").mkdir(parents=True)
        (self.base / "users.py").write_text("old\n")
        (self.base / "src" / "a.py").write_text("a\n")
        (self.base / "out").symlink_to("/etc")
        self.work = WorkFolder(str(self.base))
        self.store = FileStore(folder / "store")

    def push(self, tree: Tree | None = None, **fields: Any) -> Tree:
        push = parse_push({"workload": "shop/users", **fields})
        return Changing(self.store, self.work, tree or Tree()).push(push)

    def refused(self, tree: Tree | None = None, **fields: Any) -> list[tuple[str, str]]:
        before = sorted(self.store.folder.rglob("*"))
        with pytest.raises(DocumentError) as caught:
            self.push(tree, **fields)
        assert sorted(self.store.folder.rglob("*")) == before
        return [(problem.path, problem.message) for problem in caught.value.problems]

    def text(self, tree: Tree, path: str) -> str:
        return self.store.read(tree.files[path].digest).decode()

    def changes(self, before: Tree, after: Tree) -> dict[str, str]:
        return {one.path: one.change for one in differences(before, after, self.work)}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_files_come_along_as_text_in_base64_or_by_the_digest_of_what_was_uploaded(bench: Bench) -> None:
    digest = bench.store.put(b"uploaded")
    tree = bench.push(
        files=[
            {"path": "users.py", "text": "new\n"},
            {"path": "./bin//tool", "base64": base64.b64encode(b"\xff\0").decode(), "executable": True},
            {"path": "big", "digest": digest},
        ]
    )
    assert bench.text(tree, "users.py") == "new\n"
    assert bench.store.read(tree.files["bin/tool"].digest) == b"\xff\0"
    assert tree.files["bin/tool"].executable
    assert bench.text(tree, "big") == "uploaded"
    assert bench.store.tree(tree.digest) == tree
    assert bench.changes(Tree(), tree) == {"big": "added", "bin/tool": "added", "users.py": "changed"}


def test_pushes_add_up_and_what_is_as_in_the_baseline_again_is_no_change(bench: Bench) -> None:
    first = bench.push(files=[{"path": "users.py", "text": "new\n"}, {"path": "x", "text": "x"}], removed=["src/a.py"])
    second = bench.push(first, files=[{"path": "y", "text": "y"}])
    assert sorted(second.files) == ["users.py", "x", "y"]
    assert second.removed == {"src/a.py"}

    back = bench.push(second, files=[{"path": "users.py", "text": "old\n"}, {"path": "src/a.py", "text": "a\n"}],
                      removed=["x"])  # fmt: skip
    assert sorted(back.files) == ["y"]
    assert back.removed == frozenset()
    assert bench.changes(second, back) == {"src/a.py": "restored", "users.py": "restored", "x": "removed"}
    by_digest = bench.push(first, files=[{"path": "users.py", "digest": digest_of(b"old\n")}])
    assert "users.py" not in by_digest.files


def test_a_mode_alone_is_a_change(bench: Bench) -> None:
    tree = bench.push(files=[{"path": "users.py", "digest": digest_of(b"old\n"), "executable": True}])
    assert tree.files["users.py"].executable
    assert bench.text(tree, "users.py") == "old\n"
    kept = bench.push(tree, files=[{"path": "users.py", "text": "new\n"}])
    assert kept.files["users.py"].executable


def test_a_diff_is_one_against_what_the_fork_has(bench: Bench) -> None:
    first = bench.push(diff=DIFF)
    assert bench.text(first, "users.py") == "new\n"
    assert "line 1 is 'new', and it expects 'old'" in bench.refused(first, diff=DIFF)[0][1]
    second = bench.push(first, diff=DIFF.replace("old", "new").replace("+new", "+newer"))
    assert bench.text(second, "users.py") == "newer\n"


def test_a_diff_makes_removes_moves_and_lets_run(bench: Bench) -> None:
    tree = bench.push(
        diff="--- /dev/null\n+++ b/made.py\n@@ -0,0 +1 @@\n+made\n"
        "--- a/src/a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
        "diff --git a/users.py b/people.py\nrename from users.py\nrename to people.py\n"
        "--- a/users.py\n+++ b/people.py\n@@ -1 +1 @@\n-old\n+new\n"
    )
    assert {path: bench.text(tree, path) for path in tree.files} == {"made.py": "made\n", "people.py": "new\n"}
    assert tree.removed == {"src/a.py", "users.py"}
    run = bench.push(tree, diff="diff --git a/made.py b/made.py\nold mode 100644\nnew mode 100755\n")
    assert run.files["made.py"].executable
    gone = bench.push(run, diff="--- a/made.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-made\n")
    assert "made.py" not in gone.files
    assert gone.removed == tree.removed


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"files": [{"path": "../x", "text": ""}]}, "files[0].path", "'../x' leads out of the work folder"),
        ({"files": [{"path": "/x", "text": ""}]}, "files[0].path", "'/x' is absolute"),
        ({"files": [{"path": "out/x", "text": ""}]}, "files[0].path", "out/x lies below out, which is a link"),
        ({"files": [{"path": "src", "text": ""}]}, "files[0].path", "src is a folder"),
        ({"files": [{"path": "x", "digest": "0" * 64}]}, "files[0].digest", "was not uploaded: PUT /v1/files/0000"),
        ({"files": [{"path": "x", "text": ""}, {"path": "./x", "text": ""}]}, "files[1].path", "x is named twice"),
        ({"files": [{"path": "x", "text": ""}, {"path": "x/y", "text": ""}]}, "files", "x/y lies below x"),
        ({"removed": ["nothing"]}, "removed[0]", "there is no nothing in the work folder"),
        ({"removed": ["../x"]}, "removed[0]", "leads out of the work folder"),
        ({"removed": ["out/hosts"]}, "removed[0]", "lies below out, which is a link"),
        ({"diff": "no diff"}, "diff", "holds no file"),
        ({"diff": DIFF.replace("-old", "-other")}, "diff[users.py]", "hunk 1: does not apply: line 1 is 'old'"),
        ({"diff": DIFF.replace("users", "nobody")}, "diff[nobody.py]", "there is no nobody.py in the work folder"),
        ({"diff": DIFF.replace("/users", "/../users")}, "diff[../users.py]", "leads out of the work folder"),
        ({"diff": DIFF.replace("--- a/users.py", "--- /dev/null").replace("-1 +1", "-0,0 +1").replace("-old\n", "")},
         "diff[users.py]", "is there already"),
        ({"diff": "--- /dev/null\n+++ b/out/x\n@@ -0,0 +1 @@\n+x\n"}, "diff[out/x]", "lies below out, which is a link"),
    ],
)  # fmt: skip
def test_what_cannot_be_pushed_is_named_and_nothing_is_kept(
    bench: Bench, fields: dict[str, Any], path: str, said: str
) -> None:
    problems = bench.refused(**fields)
    assert [where for where, _ in problems] == [path]
    assert said in problems[0][1]


def test_all_problems_are_told_at_once(bench: Bench) -> None:
    problems = bench.refused(files=[{"path": "/x", "text": ""}], removed=["nothing"], diff=DIFF.replace("old", "other"))
    assert [where for where, _ in problems] == ["files[0].path", "removed[0]", "diff[users.py]"]


def test_what_is_too_large_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 3)
    assert bench.refused(files=[{"path": "x", "text": "four"}]) == [("files[0]", "x is 4 bytes, and 3 are allowed")]
    monkeypatch.setattr("controlplane.files.tree.MAX_FILES", 1)
    many = bench.refused(files=[{"path": "x", "text": ""}, {"path": "y", "text": ""}])
    assert many[0][0] == "files"
    assert "would be 2 files, and 1 are allowed" in many[0][1]


def test_only_what_is_otherwise_has_to_be_sent(bench: Bench) -> None:
    tree = bench.push(files=[{"path": "x", "text": "x"}], removed=["src/a.py"])
    bench.store.put(b"known")

    def name(path: str, data: bytes, *, executable: bool = False) -> FileName:
        return FileName(path=path, digest=digest_of(data), size=len(data), executable=executable)

    needed = Changing(bench.store, bench.work, tree).needed(
        (
            name("users.py", b"old\n"),
            name("x", b"x"),
            name("src/a.py", b"a\n"),
            name("known", b"known"),
            name("new", b"new"),
            name("other", b"new"),
        )
    )
    assert needed.changed == ("src/a.py", "known", "new", "other")
    assert needed.missing == (digest_of(b"new"),)


def test_what_differs_from_the_baseline_is_shown_as_a_diff(bench: Bench) -> None:
    tree = bench.push(
        files=[{"path": "users.py", "text": "new"}, {"path": "bin", "base64": "AAE="}, {"path": "made", "text": "a\n"}],
        removed=["src/a.py"],
    )
    shown = {one.path: one for one in compared(tree, bench.work, bench.store, "shop/users")}
    assert {path: one.change for path, one in shown.items()} == {
        "bin": "added", "made": "added", "src/a.py": "removed", "users.py": "changed",
    }  # fmt: skip
    assert shown["users.py"].diff == (
        "--- a/users.py\n+++ b/users.py\n@@ -1 +1 @@\n-old\n+new\n\\ No newline at end of file\n"
    )
    assert shown["made"].diff == "--- /dev/null\n+++ b/made\n@@ -0,0 +1 @@\n+a\n"
    assert shown["src/a.py"].diff == "--- a/src/a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
    assert shown["bin"].diff is None
    assert shown["bin"].size == 2
    again = bench.push(diff="".join(one.diff for one in shown.values() if one.diff))
    assert again.files["users.py"] == tree.files["users.py"]
