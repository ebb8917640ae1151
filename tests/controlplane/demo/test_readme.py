"""The README's example with a file of routes, run as it stands there but for the ports and the folder."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import requests

from controlplane.cli.program import skycap
from tests.controlplane.demo.conftest import free_ports

README = Path(__file__).parents[3] / "README.md"
START_SECONDS = 20

PORTS = ("18080", "19001", "19102")


def block_after(mark: str) -> str:
    """The first block of commands behind `mark`."""
    _, found, rest = README.read_text().partition(mark)
    assert found, f"the README does not say {mark!r}"
    return rest.partition("```sh\n")[2].partition("```")[0]


@pytest.fixture
def example(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The example, running: the README's port -> the one used here."""
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    script = re.sub("|".join(PORTS), lambda found: ports[found[0]], block_after("runs this block"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("python", ""), ("skycap", " -c 'from controlplane.cli import main; main()'")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{arguments} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
    environment = {**kept, "PATH": f"{programs}:{kept['PATH']}", "TMPDIR": str(tmp_path)}
    shell = subprocess.Popen(
        ["bash", "-ec", f"{script}\nwait"], env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        for port in ports.values():
            while not answers(f"http://127.0.0.1:{port}/"):
                assert shell.poll() is None, "the script ended"
                assert time.monotonic() < deadline, f"nothing answers on port {port}"
        yield ports
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(10)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def test_the_example_routes(example: dict[str, str]) -> None:
    sidecar = f"http://127.0.0.1:{example['18080']}/"
    keyed = requests.get(sidecar, headers={"baggage": "routing-key=agent-42"}, timeout=5)
    assert (keyed.text, keyed.headers["skycap-served-by"]) == (
        "your changed copy\n", "shop/users;sandbox=agent-42;rev=1",
    )  # fmt: skip
    plain = requests.get(sidecar, timeout=5)
    assert (plain.text, "skycap-served-by" in plain.headers) == ("the baseline\n", False)


def test_every_command_of_the_readme_exists() -> None:
    pattern = re.compile(r"^skycap ([a-z]+)(?: (apply|wait|logs|get|list|delete))?", re.MULTILINE)
    commands = set(pattern.findall(README.read_text()))
    assert {("proxy", ""), ("request", ""), ("up", ""), ("sandbox", "apply"), ("sandbox", "wait")} <= commands
    context = click.Context(skycap)
    for name, below in commands:
        command = skycap.get_command(context, name)
        assert command is not None, name
        if below:
            assert isinstance(command, click.Group)
            assert command.get_command(context, below) is not None, below
