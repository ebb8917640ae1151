"""The command line in this process, and an HTTP server for it to talk to."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import requests

from controlplane.cli import main, program
from controlplane.cli.failures import MEANINGS, USAGE
from proxy.base import programs
from proxy.base.access import USER, local_token


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


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{process.args!r} ended with {process.wait(5)}"
    return line


def authorized(registry: str) -> dict[str, str]:
    return {"authorization": f"Bearer {local_token(registry, USER, os.environ)}"}


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a registry that keeps nothing."""
    state = tmp_path_factory.mktemp("registry")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
    command = [*programs.program("controlplane"), "--memory", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--state-dir", str(state)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        found = re.search(r"http://\S+", first_line(process))
        assert found
        yield found[0]
    finally:
        end(process)


@pytest.fixture
def baseline(registry: str, tmp_path: Path) -> Iterator[str]:
    """A workload whose copies the registry can start."""
    workload = "shop/based"
    definition = {"workload": workload, "address": "127.0.0.1:9", "command": ["false"], "cwd": str(tmp_path)}
    requests.put(
        f"{registry}/v1/workloads/{workload}", headers=authorized(registry), json=definition, timeout=5
    ).raise_for_status()
    yield workload
    requests.delete(f"{registry}/v1/workloads/{workload}", headers=authorized(registry), timeout=5).raise_for_status()


@pytest.fixture
def name(registry: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A sandbox name that is this test's own; what has it is deleted afterwards."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[:60].strip("-")
    yield name
    requests.delete(f"{registry}/v1/sandboxes/{name}?wait=0s", headers=authorized(registry), timeout=20)
