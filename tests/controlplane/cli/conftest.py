"""The command line in this process, and an HTTP server for it to talk to."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import click
import pytest

from controlplane.cli import main, program
from controlplane.cli.failures import MEANINGS, USAGE


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Skycap = Callable[..., Ended]


def documented(arguments: Sequence[str]) -> set[int]:
    """The exit codes that the help of the command in `arguments` tells, or of the group when it names none."""
    command: click.Command = program.skycap
    for name in arguments:
        found = command.get_command(click.Context(command), name) if isinstance(command, click.Group) else None
        if found is None:
            break
        command = found
    if command.callback is not None and command.name == "broken":
        return set(MEANINGS) | {7}  # a test's own
    codes = {int(code) for code in re.findall(r"^  ([0-9]+) ", command.epilog or "", re.MULTILINE)}
    return codes or {0, USAGE}


@pytest.fixture
def skycap(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Skycap:
    """Run `skycap ARGUMENTS` here; how it ended, and what it printed."""
    for name in ("SKYCAP_REGISTRY", "SKYCAP_TOKEN_FILE", "SKYCAP_OUTPUT", "SKYCAP_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert isinstance(end.value.code, int)
        assert end.value.code in documented(arguments), f"{arguments} ended with {end.value.code}"
        return Ended(end.value.code, *capsys.readouterr())

    return run


@dataclass
class Origin:
    """A server that answers every request with `status`, `headers` and `body`, and remembers what it was asked."""

    url: str = ""
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b"hello\n"
    asked: list[tuple[str, str, list[tuple[str, str]], bytes]] = field(default_factory=list)


@pytest.fixture
def origin() -> Iterator[Origin]:
    answer = Origin()

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer.asked.append((self.command, self.path, list(self.headers.items()), body))
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = reply  # noqa: N815 (the names are those of http.server)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answer.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield answer
        server.shutdown()
        thread.join()
