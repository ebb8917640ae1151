"""A token file: one line, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.base.token import read_token


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "must hold one line of visible ASCII"),
        (b"\n", "must hold one line of visible ASCII"),
        (b"two words of it here", "must hold one line of visible ASCII"),
        (b"0123456789abcdef\nsecond-line", "must hold one line of visible ASCII"),
        (b"0123456789abcde\xff", "must hold one line of visible ASCII"),
        (b"x" * 4097, "at most 4096 characters"),
        (b"x" * 1_000_000, "at most 4096 characters"),
        (b"short-secret", "the token has 12 characters, at least 16 are needed"),
    ],
)
def test_what_is_no_token_is_not_shown(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=why) as raised:
        read_token(file, 16)
    assert content.strip() == b"" or content.decode("ascii", "replace") not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b" \n", b"a b", b"a\r\nx-evil: 1", b"\xff\xfe", b"x" * 5000, "gehä".encode()])
def test_what_cannot_stand_in_a_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ValueError, match="one line of visible ASCII") as raised:
        read_token(tmp_path / "token")
    assert "evil" not in str(raised.value)


def test_a_short_one_will_do_for_who_only_sends_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" secret\n")
    assert read_token(tmp_path / "token") == "secret"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none: No such file or directory$"):
        read_token(tmp_path / "none")
