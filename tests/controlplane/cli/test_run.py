"""`skycap run`: a command whose requests carry a key."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.base.programs import program
from tests.controlplane.cli.conftest import Origin
from tests.controlplane.running import environment, start
from tests.controlplane.sandboxes import sandbox

Run = Callable[..., subprocess.CompletedProcess[str]]

SHADOW = [("skycap-served-by", "shop/front;baseline, shop/users;sandbox=agent-42;rev=3")]

ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read())"


@pytest.fixture
def run(origin: Origin) -> Run:
    origin.headers = SHADOW

    def run(*arguments: str, command: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        asking = command or (sys.executable, "-c", ASK, f"{origin.url}/path")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
        return subprocess.run(
            [*program("controlplane/cli"), "run", *arguments, "--", *asking],
            env=environ | {"NO_PROXY": "localhost,127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=50,
        )

    return run


def baggage(origin: Origin) -> list[str]:
    return [value for _, _, fields, _ in origin.asked for name, value in fields if name.lower() == "baggage"]


def test_what_it_runs_is_sent_into_the_sandbox(run: Run, origin: Origin) -> None:
    ended = run("--key", "agent-42", "--expect", "shop/users", "--expect", "shop/users@3")
    assert (ended.returncode, ended.stdout) == (0, "b'hello\\n'\n")
    assert baggage(origin) == ["routing-key=agent-42"]
    assert ended.stderr.splitlines() == [
        "skycap: 1 request with the key agent-42",
        "skycap:   shop/front: baseline (1)",
        "skycap:   shop/users: sandbox agent-42, revision 3 (1)",
    ]


def test_green_on_the_wrong_code_is_red(run: Run, origin: Origin) -> None:
    ended = run("--key", "agent-42", "--expect", "shop/users@4", "--expect", "shop/front", "--expect", "shop/cart")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-3:] == [
        "skycap: shop/users was served by sandbox agent-42, revision 3, not by revision 4 of a shadow",
        "skycap: shop/front was served by baseline, not by a shadow",
        "skycap: shop/cart took no part, so a shadow of it served nothing",
    ]


def test_a_command_that_heeds_no_proxy_is_told_so(run: Run) -> None:
    ended = run("--key", "agent-42", "--expect", "shop/users", command=("true",))
    assert ended.returncode == 1
    said = "skycap: no request came through the proxy: does the command heed HTTP_PROXY?"
    assert ended.stderr.splitlines()[-1] == said


def test_the_exit_code_is_that_of_the_command(run: Run) -> None:
    assert run("--key", "k", "--expect", "shop/users", command=("sh", "-c", "exit 7")).returncode == 7
    assert run("--key", "k", command=("sh", "-c", "kill -TERM $$")).returncode == 143
    ended = run("--key", "k", command=("no-such-program",))
    assert (ended.returncode, ended.stderr) == (3, "skycap: there is no program 'no-such-program'\n")


def test_the_command_is_told_the_key(run: Run) -> None:
    shown = run("--key", "agent-42", command=("sh", "-c", 'echo "$SKYCAP_ROUTING_KEY ${HTTP_PROXY%%1*} [$NO_PROXY]"'))
    assert shown.stdout == "agent-42 http:// []\n"


async def test_its_outcome_is_kept_for_the_report(tmp_path: Path) -> None:
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", "--memory", "--state-dir", str(tmp_path / "shadows"))
    try:
        async with registry.client() as client:
            await client.apply(sandbox("agent-42", routingKey="other-key"))
            for command in ("true", "false"):
                skycap = (*program("controlplane/cli"), "run")
                ended = await asyncio.create_subprocess_exec(
                    *skycap, "--key", "other-key", "--registry", registry.url, "--", command, env=environment(tmp_path)
                )
                assert await ended.wait() == (command == "false")
            kept = (await client.handoff("agent-42")).evidence
        assert [(one.kind, one.title, one.passed) for one in kept] == [("run", "true", True), ("run", "false", False)]
        assert kept[1].sentence == "it ended with exit code 1; 0 requests with the key other-key"
    finally:
        await registry.end()


def test_used_wrongly(run: Run) -> None:
    assert "'shop' is not NAMESPACE/NAME" in run("--key", "k", "--expect", "shop").stderr
    assert "'a b' is not 1 to 63" in run("--key", "a b").stderr
    assert "Missing option '--key'" in run().stderr
