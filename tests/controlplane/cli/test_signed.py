"""A command that is refused asks again when the token is another one by then, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proxy.base.access import USER, token_folder
from tests.controlplane.cli.conftest import Skycap

OLD, NEW = "0123456789abcdef-old", "0123456789abcdef-new"


class Restarted:
    """A registry that has just begun to listen: it knows its new token, and `writes` it with the first question."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""
        self.writes: Callable[[], object] = lambda: None


@pytest.fixture
def restarted() -> Iterator[Restarted]:
    one = Restarted()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            one.asked.append(said)
            one.writes()
            body = b'{"items": []}' if said == NEW else b'{"code": "unauthorized", "title": "Not authorized"}'
            self.send_response(200 if said == NEW else 401)
            self.send_header("content-type", "application/json" if said == NEW else "application/problem+json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield one
        server.shutdown()
        thread.join()


@pytest.fixture
def token(restarted: Restarted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the token of that registry is found, the one of the registry before it."""
    environ = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = token_folder("127.0.0.1", int(restarted.url.rpartition(":")[2]), environ)
    folder.mkdir(parents=True, mode=0o700)
    file = folder / USER
    file.write_text(f"{OLD}\n")
    file.chmod(0o600)
    return file


def test_a_token_that_was_written_meanwhile_is_read_anew(skycap: Skycap, restarted: Restarted, token: Path) -> None:
    restarted.writes = lambda: token.write_text(f"{NEW}\n")
    ended = skycap("group", "list", "--registry", restarted.url)
    assert (ended.code, ended.out) == (0, "there are no route groups\n")
    assert restarted.asked == [OLD, NEW]


def test_the_same_token_is_not_tried_twice(skycap: Skycap, restarted: Restarted, token: Path) -> None:
    ended = skycap("group", "list", "--registry", restarted.url)
    assert ended.code != 0
    assert "Not authorized" in ended.err
    assert restarted.asked == [OLD]


def test_a_token_that_was_named_is_the_only_one(
    skycap: Skycap, restarted: Restarted, token: Path, tmp_path: Path
) -> None:
    restarted.writes = lambda: token.write_text(f"{NEW}\n")
    named = tmp_path / "named"
    named.write_text(f"{OLD}\n")
    ended = skycap("group", "list", "--registry", restarted.url, "--token-file", str(named))
    assert "Not authorized" in ended.err
    assert restarted.asked == [OLD]
