"""Which paths may be pushed."""

from __future__ import annotations

import pytest

from controlplane.files.paths import checked_path, shown_path


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("a", "a"),
        ("./a//b/./c", "a/b/c"),
        ("a b/ü.py", "a b/ü.py"),
        ("..a/b..", "..a/b.."),
        ("a" * 255, "a" * 255),
    ],
)
def test_a_path_has_one_form(said: str, path: str) -> None:
    assert checked_path(said) == path
    assert checked_path(path) == path


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "names no file"),
        (".", "names no file"),
        ("./", "names no file"),
        ("/etc/passwd", "is absolute"),
        ("../a", "leads out of the work folder"),
        ("a/../../b", "leads out of the work folder"),
        ("a/..", "leads out of the work folder"),
        ("a/", "names a folder"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("..\\a", "has a \\"),
        ("\ud800", "is not UTF-8"),
        ("a/" * 600 + "b", "longer than 1024 bytes"),
        ("a" * 256, "a part of more than 255 bytes"),
    ],
)
def test_what_leads_out_or_names_no_file_is_refused(said: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("\\", "\\\\")):
        checked_path(said)


def test_a_path_in_a_message_breaks_no_line_and_is_bounded() -> None:
    assert shown_path("a\nb\x1b") == "a?b?"
    assert len(shown_path("a" * 500)) == 120
