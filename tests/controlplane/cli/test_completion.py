"""Completion in real shells: what is offered when somebody presses Tab."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from controlplane.cli.completion import SHELLS
from controlplane.cli.program import COMMANDS, skycap
from proxy.base.programs import program
from tests.controlplane.cli.conftest import Origin, Skycap
from tests.tools import require

WORKLOADS = {"services": [{"workload": "shop/users"}, {"workload": "shop/orders"}]}
SANDBOXES = {
    "items": [
        {"metadata": {"name": "agent-1"}, "spec": {"routingKey": "key-1", "forks": []}},
        {"metadata": {"name": "agent-2"}, "spec": {"forks": []}},
        {"metadata": {"name": "other"}, "spec": {"forks": []}},
    ]
}

SCRIPTS = {
    "bash": """
        source <(skycap completion bash)
        COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _skycap_completion skycap
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": """
        autoload -Uz compinit && compinit -D -u
        eval "$(skycap completion zsh)"
        compadd() {{ local -a last; last=("${{@[-1]}}"); print -rl -- "${{(@P)last[1]}}"; }}
        _describe() {{ local -a found; found=("${{(@P)3}}"); print -rl -- "${{found[@]%%:*}}"; }}
        words=({words}); CURRENT=${{#words}}
        _skycap_completion
    """,
    "fish": """
        skycap completion fish | source
        complete --do-complete {line}
    """,
}
"""What presses Tab for a test, for each shell; {words} are all words, the unfinished one last, {line} is the line."""


@pytest.fixture
def environ(tmp_path: Path, origin: Origin) -> Mapping[str, str]:
    """With `skycap` in the PATH, and a registry."""
    skycap = tmp_path / "bin" / "skycap"
    skycap.parent.mkdir()
    skycap.write_text(f'#!/bin/sh\nexec {shlex.join(program("controlplane/cli"))} "$@"\n')
    skycap.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SKYCAP_", "COV_"))}
    path = f"{skycap.parent}:{os.environ['PATH']}"
    return kept | {"PATH": path, "HOME": str(tmp_path), "SKYCAP_REGISTRY": origin.url, "XDG_STATE_HOME": ""}


def offered(shell: str, line: str, environ: Mapping[str, str]) -> list[str]:
    """What a shell offers when Tab is pressed at the end of the line."""
    require(shell)
    words = " ".join(shlex.quote(word) for word in line.split(" "))
    script = SCRIPTS[shell].format(words=words, line=shlex.quote(line))
    flags = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    ended = subprocess.run([shell, *flags, "-c", script], env=environ, capture_output=True, text=True, timeout=50)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return [found.split("\t")[0] for found in ended.stdout.splitlines() if found]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands(shell: str, environ: Mapping[str, str]) -> None:
    assert sorted(offered(shell, "skycap co", environ)) == ["completion", "controlplane"]
    assert {"apply", "delete", "feedback"} <= set(offered(shell, "skycap sandbox ", environ))


@pytest.mark.parametrize("shell", SHELLS)
def test_options(shell: str, environ: Mapping[str, str]) -> None:
    assert offered(shell, "skycap sandbox apply --on", environ) == ["--on-unavailable"]
    assert offered(shell, "skycap sandbox apply --on-unavailable b", environ) == ["baseline"]


@pytest.mark.parametrize("shell", SHELLS)
def test_names_of_sandboxes(shell: str, environ: Mapping[str, str], origin: Origin) -> None:
    origin.body = json.dumps(SANDBOXES).encode()
    assert offered(shell, "skycap sandbox get agent", environ) == ["agent-1", "agent-2"]
    assert origin.asked[-1][1] == "/v1/sandboxes"


@pytest.mark.parametrize("shell", SHELLS)
def test_workloads(shell: str, environ: Mapping[str, str], origin: Origin) -> None:
    origin.body = json.dumps(WORKLOADS).encode()
    assert offered(shell, "skycap explain a shop/u", environ) == ["shop/users"]
    assert offered(shell, "skycap sandbox logs a --workload shop/o", environ) == ["shop/orders"]


def test_routing_keys_and_the_registry_that_is_named(environ: Mapping[str, str], origin: Origin) -> None:
    origin.body = json.dumps(SANDBOXES).encode()
    assert offered("bash", "skycap request k", environ) == ["key-1"]
    elsewhere = {**environ, "SKYCAP_REGISTRY": "http://127.0.0.1:9"}
    assert offered("bash", f"skycap request --registry {origin.url} k", elsewhere) == ["key-1"]


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'{"items": [1]}', b'{"items": [{"metadata": null}]}'])
def test_nothing_is_offered_where_no_registry_answers(environ: Mapping[str, str], origin: Origin, body: bytes) -> None:
    origin.body = body
    assert offered("bash", "skycap sandbox get a", environ) == []
    nobody = {**environ, "SKYCAP_REGISTRY": "http://127.0.0.1:9"}
    assert offered("bash", "skycap sandbox get a", nobody) == []


def test_the_commands_of_the_program_are_offered_without_importing_them() -> None:
    found = skycap.shell_complete(click.Context(skycap), "")
    assert [item.value for item in found] == list(COMMANDS)
    assert all(item.help for item in found)


def test_a_shell_that_nobody_knows(skycap: Skycap) -> None:
    ended = skycap("completion", "tcsh")
    assert ended.code == 2
    assert "'bash', 'zsh', 'fish'" in ended.err
