"""Every block of commands of every README, run in order as it stands there, but for the ports and the folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue

import click
import pytest
import requests

from controlplane.cli.program import skycap
from proxy.base.programs import program
from tests.controlplane.demo.conftest import free_ports

ROOT = Path(__file__).parents[3]
START_SECONDS = 30

PORTS = ("18080", "18081", "18091", "19001", "19003", "19102", "7070", "8080", "9001", "9191", "3128", "9901")

INTERCEPTING = "skycap proxy --transparent"
"""Begins the block that needs a network namespace of its own: `tests/interception` runs what it says."""


def blocks(name: str) -> list[str]:
    """The blocks of commands of a README, in their order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind == "sh"]


class Terminal:
    """A shell that a person pastes blocks into, one after the other."""

    def __init__(self, cwd: Path, environ: dict[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash", "--norc"], cwd=cwd, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self._lines: Queue[str] = Queue()
        self._said: list[str] = []
        self._pasted = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self._lines.put(line)

    def type(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text)
        self._shell.stdin.flush()

    def paste(self, block: str) -> str:
        """Run a block to its end; what was printed meanwhile. Fails when its last command does."""
        self._pasted += 1
        self.type(f"{block}\necho __END_{self._pasted}_$?__\n")
        said = self.until(rf"__END_{self._pasted}_([0-9]+)__")
        assert f"__END_{self._pasted}_0__" in said, said
        return said

    def until(self, pattern: str) -> str:
        """What was printed up to a line that has this."""
        said = ""
        deadline = time.monotonic() + START_SECONDS
        while not re.search(pattern, said):
            try:
                said += self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                pytest.fail(f"no {pattern!r} in {said}")
        return said

    def _await_group(self) -> None:
        """What it ran ends in order: `skycap up` that is killed leaves its services."""
        deadline = time.monotonic() + START_SECONDS
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self._shell.pid, 0)
                time.sleep(0.05)

    def close(self) -> None:
        with suppress(OSError):
            os.killpg(self._shell.pid, signal.SIGTERM)
            self.type("exit\n")
        try:
            self._shell.wait(20)
            self._await_group()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._reader.join(20)
            for stream in (self._shell.stdin, self._shell.stdout):
                with suppress(OSError):
                    assert stream is not None
                    stream.close()


@pytest.fixture
def ports() -> dict[str, str]:
    """The README's port -> the one used here."""
    return dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))


@pytest.fixture
def clone(tmp_path: Path, ports: dict[str, str]) -> Path:
    """A clone of the repository, as far as the README goes, whose ports are free."""
    clone = tmp_path / "clone"
    programs = clone / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, command in (("python", (sys.executable,)), ("skycap", program("controlplane/cli"))):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f"export PATH={shlex.quote(str(programs))}:$PATH\n")
    demo = clone / "controlplane" / "demo"
    shutil.copytree(ROOT / "controlplane" / "demo", demo, ignore=shutil.ignore_patterns("__pycache__", ".skycap"))
    shop = (demo / "shop.yaml").read_text().replace("18080", ports["18080"])
    listen = f"spec:\n  registry: {{listen: '127.0.0.1:{ports['7070']}'}}"
    (demo / "shop.yaml").write_text(shop.replace("spec:", listen, 1))
    return clone


@pytest.fixture
def terminals(clone: Path, ports: dict[str, str], tmp_path: Path) -> Iterator[list[Terminal]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
    environ = kept | {"TMPDIR": str(tmp_path), "NO_COLOR": "1"}
    found = {"SKYCAP_REGISTRY": f"http://127.0.0.1:{ports['7070']}"}  # as 7070 would be by itself
    opened = [Terminal(clone, environ), Terminal(clone, environ | found)]
    yield opened
    for terminal in opened:
        terminal.close()


def here(block: str, ports: dict[str, str]) -> str:
    return re.sub(r"\b(?:" + "|".join(PORTS) + r")\b", lambda found: ports[found[0]], block)


def await_answer(port: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            requests.get(f"http://127.0.0.1:{port}/", timeout=5)
        except requests.ConnectionError:
            assert time.monotonic() < deadline, f"nothing answers on port {port}"
        else:
            return


@pytest.mark.timeout(180)
def test_the_readme_from_the_routes_to_the_end(terminals: list[Terminal], ports: dict[str, str]) -> None:
    first, second = terminals
    made, tried, routes, ask, orders, end, up, sandbox, push, stubs, link, run = (
        here(block, ports) for block in blocks("README.md")
    )
    for block in (made, *blocks("benchmarks/README.md")):
        for line in filter(None, (line.partition("#")[0].strip() for line in block.splitlines())):
            if line.startswith("make "):
                dry = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True)
                assert dry.returncode == 0, dry.stderr

    first.paste(routes)
    for port in ("18080", "19001", "19102"):
        await_answer(ports[port])
    said = first.paste(ask)
    assert said.count("the baseline\n") == 1
    assert said.count("your changed copy\n") == 2
    assert "skycap-served-by: shop/users;sandbox=agent-42;rev=1" in said
    first.paste(orders)
    await_answer(ports["18081"])
    await_answer(ports["18091"])
    first.paste(end)

    first.type(up)
    first.until("Ctrl-C stops everything")
    assert "shop/users;baseline;key=unknown" in second.paste(tried)  # here nobody has made the sandbox `loyalty`
    said = second.paste(sandbox)
    assert "sandbox agent-42 is Ready, revision 1" in said
    assert "sandbox agent-42, revision 1" in said
    said = second.paste(push)
    assert "shop/users in sandbox agent-7, revision 1: Ready" in said
    assert '"tier": "gold"' in said
    assert "sold-out" in second.paste(stubs)
    assert "http" in second.paste(link)
    said = second.paste(run)
    assert "shop/users: sandbox agent-42, revision 1" in said


def test_the_first_block_of_the_sidecars_readme(terminals: list[Terminal], ports: dict[str, str]) -> None:
    first, *others = blocks("proxy/README.md")
    assert all(block.startswith(INTERCEPTING) for block in others)
    terminal = terminals[0]
    terminal.paste(". .venv/bin/activate")
    terminal.type(here(first, ports))
    await_answer(ports["9901"])
    for port in ("8080", "9191", "3128"):
        await_answer(ports[port])


def test_every_block_of_commands_is_one_that_runs_here() -> None:
    """A block that looks like commands and is not marked as such would run nowhere."""
    for name in ("README.md", "proxy/README.md", "controlplane/README.md", "benchmarks/README.md"):
        found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
        for kind, text in found:
            looks = re.match(r"(?:skycap|python|make|curl|cd|kill|\.) ", text)
            assert bool(looks) is (kind == "sh"), f"{name}: {text[:60]}"


def test_every_command_of_the_readme_exists() -> None:
    pattern = re.compile(r"^skycap ([a-z]+)(?: (apply|wait|logs|get|list|delete|push|stub))?", re.MULTILINE)
    commands = set(pattern.findall((ROOT / "README.md").read_text()))
    assert {("proxy", ""), ("request", ""), ("up", ""), ("run", ""), ("sandbox", "apply")} <= commands
    context = click.Context(skycap)
    for name, below in commands:
        command = skycap.get_command(context, name)
        assert command is not None, name
        if below:
            assert isinstance(command, click.Group)
            assert command.get_command(context, below) is not None, below
