"""Unified diffs: what git and diff write, what a model writes in their place, and what does not apply."""

from __future__ import annotations

import difflib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.files.diff import DiffError, apply_patch, parse_diff
from tests.tools import require

BEFORE = b"one\ntwo\nthree\nfour\nfive\nsix\n"

CHANGE = """\
--- a/users.py
+++ b/users.py
@@ -1,4 +1,4 @@
 one
-two
+TWO
 three
 four
"""

LINES = st.lists(
    st.text(alphabet="ab \t\r-+@\\\x0b\u2028", max_size=3).filter(lambda text: "\r" not in text), max_size=12
)


def applied(diff: str, data: bytes = BEFORE) -> bytes:
    (patch,) = parse_diff(diff)
    return apply_patch(patch, data)


def refused(diff: str, data: bytes = BEFORE) -> DiffError:
    def apply() -> None:
        for patch in parse_diff(diff):
            apply_patch(patch, data)

    with pytest.raises(DiffError) as caught:
        apply()
    return caught.value


def test_a_diff_is_applied() -> None:
    assert applied(CHANGE) == BEFORE.replace(b"two", b"TWO")


@pytest.mark.parametrize(
    "header",
    ["@@ -3,4 +3,4 @@ def f():", "@@ -400,4 +400,4 @@", "@@ -1,9 +1,9 @@", "@@ -1 +1 @@", "@@ -1,4 +1,5 @@"],
)
def test_lines_and_counts_may_be_wrong_as_long_as_the_context_is_there(header: str) -> None:
    assert applied(CHANGE.replace("@@ -1,4 +1,4 @@", header)) == BEFORE.replace(b"two", b"TWO")


def test_a_hunk_whose_count_is_too_large_ends_where_the_next_file_begins() -> None:
    counted = CHANGE.replace("-1,4 +1,4", "-1,6 +1,6").replace("users", "first")
    for between in ("\n\n", "", "diff --git a/users.py b/users.py\nindex 1..2 100644\n"):
        if between == "":
            counted = counted.replace("-1,6 +1,6", "-1,4 +1,4")
        first, second = parse_diff(counted + between + CHANGE)
        assert (first.new, second.new) == ("first.py", "users.py")
        assert apply_patch(first, BEFORE) == apply_patch(second, BEFORE) == BEFORE.replace(b"two", b"TWO")


def test_of_places_that_fit_the_nearest_is_taken() -> None:
    diff = "--- a/f\n+++ b/f\n@@ -5 +5 @@\n-x\n+y\n"
    assert applied(diff, b"x\na\nb\nx\nc\nd\nx\n") == b"x\na\nb\ny\nc\nd\nx\n"


def test_a_diff_with_other_line_ends_applies_and_the_file_keeps_its_own() -> None:
    windows = BEFORE.replace(b"\n", b"\r\n")
    assert applied(CHANGE, windows) == windows.replace(b"two", b"TWO")
    assert applied(CHANGE.replace("\n", "\r\n")) == BEFORE.replace(b"two", b"TWO")
    mixed = b"one\r\ntwo\nthree\r\nfour\nfive"
    assert applied(CHANGE, mixed) == b"one\r\nTWO\r\nthree\r\nfour\nfive"


def test_the_end_of_the_last_line_is_as_the_diff_says() -> None:
    lost = "--- a/f\n+++ b/f\n@@ -6 +6 @@\n-six\n+SIX\n\\ No newline at end of file\n"
    assert applied(lost) == BEFORE.replace(b"six\n", b"SIX")
    found = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"
    assert applied(found, b"a") == b"a\n"
    kept = "--- a/f\n+++ b/f\n@@ -1 +1,2 @@\n+b\n a\n\\ No newline at end of file\n"
    assert applied(kept, b"a") == b"b\na"


def test_a_new_file_a_file_that_goes_and_one_that_moves() -> None:
    new, gone, moved, empty, mode = parse_diff(
        "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,2 @@\n+a\n+b\n"
        "--- a/old.py\t2026-01-01\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
        "diff --git a/x.py b/y.py\nsimilarity index 90%\nrename from x.py\nrename to y.py\nindex 1..2 100644\n"
        "--- a/x.py\n+++ b/y.py\n@@ -1 +1 @@\n-a\n+b\n"
        "diff --git a/empty b/empty\nnew file mode 100644\nindex 000..e69\n"
        "diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n"
    )
    assert (new.old, new.new) == (None, "new.py")
    assert apply_patch(new, b"") == b"a\nb\n"
    assert (gone.old, gone.new) == ("old.py", None)
    assert apply_patch(gone, b"a\n") == b""
    assert (moved.old, moved.new) == ("x.py", "y.py")
    assert apply_patch(moved, b"a\n") == b"b\n"
    assert (empty.old, empty.new, empty.executable) == (None, "empty", False)
    assert (mode.old, mode.new, mode.executable, mode.hunks) == ("run.sh", "run.sh", True, [])


def test_what_stands_around_the_files_is_passed_over() -> None:
    mail = f"From: me\nSubject: a fix\n---\n users.py | 2 +-\n\n{CHANGE}-- \n2.39.2\n"
    assert applied(mail) == BEFORE.replace(b"two", b"TWO")


def test_a_path_without_prefixes_and_one_in_quotes() -> None:
    (plain,) = parse_diff(CHANGE.replace("a/users.py", "users.py").replace("b/users.py", "users.py"))
    assert (plain.old, plain.new) == ("users.py", "users.py")
    (quoted,) = parse_diff(CHANGE.replace("a/users.py", '"a/my \\"x\\".py"').replace("b/users.py", '"b/my \\"x\\".py"'))
    assert quoted.new == 'my "x".py'


@pytest.mark.parametrize(
    ("diff", "said", "path", "hunk"),
    [
        ("", "holds no file", "", 0),
        ("hello", "holds no file", "", 0),
        ("@@ -1 +1 @@\n-a\n+b\n", "stands before any file", "", 1),
        (CHANGE.replace(" one", " eins"), "line 1 is 'one', and it expects 'eins'", "users.py", 1),
        (CHANGE.replace(" four", " four\n-fünf"), "line 5 is 'five', and it expects 'fünf'", "users.py", 1),
        (CHANGE + "@@ -9 +9 @@\n-nine\n+ten\n", "'nine' at line 9, behind the file's end", "users.py", 2),
        (CHANGE + "@@ -2 +2 @@\n-two\n+zwei\n", "hunk 2: does not apply", "users.py", 2),
        (CHANGE.replace("@@ -1,4 +1,4 @@", "@@ nonsense @@"), "is expected", "users.py", 1),
        (CHANGE.replace("-two", "*two"), "begins with '*'", "users.py", 1),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n", "has no lines", "x", 1),
        ("--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n", "nothing before and after", "", 0),
        ("diff --git a/x b/x\nindex 1..2\nBinary files a/x and b/x differ\n", "binary change", "x", 0),
        ("diff --git a/x b/x\nindex 1..2\nGIT binary patch\n", "binary change", "x", 0),
        (
            "diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+/etc\n",
            "mode 120000",
            "x",
            0,
        ),
        ("diff --git a/x b/y\ncopy from x\ncopy to y\n", "is a copy", "y", 0),
        ("diff --git nonsense\n", "must name a/FILE", "", 0),
    ],
)
def test_what_does_not_apply_names_the_file_the_hunk_and_what_is_there(
    diff: str, said: str, path: str, hunk: int
) -> None:
    error = refused(diff)
    assert said in str(error)
    assert (error.path, error.hunk) == (path, hunk)


def test_a_diff_of_too_many_hunks_is_refused() -> None:
    many = "--- a/x\n+++ b/x\n" + "@@ -1 +1 @@\n-a\n+b\n" * 5001
    assert "more than 5000 hunks" in str(refused(many))


def test_what_is_no_text_cannot_be_patched() -> None:
    assert "push the file itself" in str(refused(CHANGE, b"\xff\xfe"))


@given(LINES, LINES, st.booleans(), st.booleans(), st.integers(0, 3))
def test_what_difflib_writes_makes_the_one_of_the_other(
    old: list[str], new: list[str], old_ends: bool, new_ends: bool, context: int
) -> None:
    before, after = _text(old, old_ends), _text(new, new_ends)
    lines = difflib.unified_diff(_lines(before), _lines(after), "a/f", "b/f", n=context)
    diff = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    if diff:
        assert applied(diff, before.encode()) == after.encode()


@given(LINES, LINES)
def test_what_git_writes_makes_the_one_of_the_other(
    tmp_path_factory: pytest.TempPathFactory, old: list[str], new: list[str]
) -> None:
    require("git")
    folder = tmp_path_factory.getbasetemp()
    before, after = _text(old, True).encode(), _text(new, False).encode()
    (folder / "before").write_bytes(before)
    (folder / "after").write_bytes(after)
    diff = subprocess.run(
        ["git", "diff", "--no-index", "--text", "before", "after"], cwd=folder, capture_output=True, check=False
    ).stdout.decode()
    if diff:
        assert applied(diff, before) == after


def _text(lines: list[str], ends: bool) -> str:
    return "\n".join(lines) + ("\n" if ends and lines else "")


def _lines(text: str) -> list[str]:
    parts = text.split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
