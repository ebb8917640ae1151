"""The tokens that nobody named: who finds them, and who does not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from controlplane.api.access import Role
from controlplane.tokens import Tokens
from proxy.base.access import SIDECAR, USER, local_token, state_home, token_folder

HERE = ("127.0.0.1", 7070)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def test_they_lie_where_only_their_owner_reads(environ: dict[str, str]) -> None:
    Tokens({}, [HERE], environ)
    folder = token_folder(*HERE, environ)
    assert folder == state_home(environ) / "tokens" / "127.0.0.1:7070"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {
        "user": 0o600, "viewer": 0o600, "sidecar": 0o600,
    }  # fmt: skip


def test_each_role_has_its_own_and_they_are_new_at_every_start(environ: dict[str, str]) -> None:
    seen = set()
    for _ in range(2):
        tokens = Tokens({}, [HERE], environ)
        for role in Role:
            found = local_token("http://127.0.0.1:7070", role.value, environ)
            assert tokens.access.role(found.encode()) is role
            assert len(found) >= 32
            assert found not in repr(tokens) + repr(tokens.access)
            seen.add(found)
    assert len(seen) == 2 * len(Role)
    assert tokens.access.role(b"") is None


def test_what_was_named_is_written_nowhere(environ: dict[str, str]) -> None:
    tokens = Tokens({Role.USER: "a-token-of-somebody"}, [HERE], environ)
    assert local_token("http://127.0.0.1:7070", USER, environ) == ""
    assert tokens.access.role(b"a-token-of-somebody") is Role.USER
    assert local_token("http://127.0.0.1:7070", SIDECAR, environ) != ""


@pytest.mark.parametrize(
    ("bound", "url"),
    [
        (HERE, "http://127.0.0.1:7070"),
        (HERE, "http://localhost:7070/"),
        (("::1", 7070), "http://localhost:7070"),
        (("::1", 7070), "http://[::1]:7070"),
        (("0.0.0.0", 7070), "http://127.0.0.1:7070"),
        (("::", 7070), "http://[::1]:7070"),
        (("127.0.0.1", 80), "http://127.0.0.1"),
    ],
)
def test_the_url_of_this_machine_finds_them(environ: dict[str, str], bound: tuple[str, int], url: str) -> None:
    Tokens({}, [bound], environ)
    assert local_token(url, USER, environ) != ""


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:7071", "http://127.0.0.2:7070", "http://192.0.2.1:7070", "http://registry.internal:7070",
        "http://127.0.0.1.evil.example:7070", "http://127.0.0.1:x", "http://[::1", "",
    ],
)  # fmt: skip
def test_nobody_else_is_sent_one(environ: dict[str, str], url: str) -> None:
    Tokens({}, [HERE], environ)
    assert local_token(url, USER, environ) == ""


def test_another_user_finds_none(environ: dict[str, str], tmp_path: Path) -> None:
    Tokens({}, [HERE], environ)
    assert local_token("http://127.0.0.1:7070", USER, {"HOME": str(tmp_path / "somebody")}) == ""


def test_at_the_end_they_are_gone(environ: dict[str, str]) -> None:
    Tokens({}, [HERE, ("::1", 7070)], environ).remove()
    assert list((state_home(environ) / "tokens").iterdir()) == []


def test_what_a_killed_registry_left_is_replaced_a_link_not_followed(environ: dict[str, str], tmp_path: Path) -> None:
    folder = token_folder(*HERE, environ)
    folder.mkdir(parents=True, mode=0o777)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / USER).symlink_to(victim)
    (folder / "old").write_text("x")
    Tokens({}, [HERE], environ)
    assert victim.read_text() == "precious"
    assert sorted(file.name for file in folder.iterdir()) == ["sidecar", "user", "viewer"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file")
    with pytest.raises(OSError, match="Not a directory"):
        Tokens({}, [HERE], {"HOME": str(tmp_path)})
