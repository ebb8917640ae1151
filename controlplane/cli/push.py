"""`skycap sandbox push` and `skycap sandbox dev`: files instead of a build."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from controlplane.cli import view
from controlplane.cli.candidates import sandbox_names, workload_names
from controlplane.cli.command import Command
from controlplane.cli.failures import (
    FAILED,
    NOT_READY,
    REGISTRY_EXITS,
    USAGE,
    CommandError,
    InvalidError,
    NotReadyError,
)
from controlplane.cli.output import Output, output_option
from controlplane.cli.pushed import gather, send
from controlplane.cli.registry import Registry, registry_options, segment, waiting
from controlplane.cli.view import read_sandbox
from proxy.base.text import printable

MARKS = {"added": "+", "changed": "~", "removed": "-", "restored": "="}
"""Before the path of a file; restored: it is the baseline's again."""


@click.command(
    cls=Command,
    exits=REGISTRY_EXITS
    | {
        0: "the new revision serves",
        FAILED: "it does not start: its last lines are shown, the one before serves on",
        USAGE: "the files cannot be pushed; nothing was changed",
        NOT_READY: "it does not serve yet in the given time",
    },
)
@click.argument("name", shell_complete=sandbox_names)
@click.argument("workload", shell_complete=workload_names)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--as", "place", metavar="PLACE", help="Where the one PATH goes, as a path in the work folder.")
@click.option("--remove", "removed", multiple=True, metavar="PLACE", help="A file to be gone; may be repeated.")
@click.option("--build", metavar="COMMAND", help='Run in the work folder before the service starts; "" for none again.')
@click.option("--timeout", metavar="SECONDS", default=60.0, type=click.FloatRange(0, 3600), help="How long to wait.")
@registry_options
@output_option
def push(
    name: str,
    workload: str,
    paths: tuple[str, ...],
    place: str | None,
    removed: tuple[str, ...],
    build: str | None,
    timeout: float,
    registry: Registry,
    output: Output,
) -> None:
    """Run a service with changed files, under the key of a sandbox.

    Each PATH is a file, a folder, or - for a unified diff on standard input. The files of a folder are laid over the
    service's work folder from its top; a file goes where it is as seen from the current folder. Only what differs is
    sent; the baseline's own files are never written. A sandbox that does not exist yet is made.

    \b
    skycap sandbox push agent-42 shop/users users.py
    skycap sandbox push agent-42 shop/users ../my-checkout/users/
    git diff --relative | skycap sandbox push agent-42 shop/users -
    """
    document: dict[str, Any] = {"workload": workload, "removed": list(removed)}
    files = [path for path in paths if path != "-"]
    if len(files) != len(paths):
        document["diff"] = _standard_input()
    if build is not None:
        document["build"] = _split(build)
    if not paths and not removed and build is None:
        raise click.UsageError("say what to push: a file, a folder, or - for a diff on standard input")
    found = gather(files, place, Path.cwd()) if files else {}
    answer = send(registry, name, document, found, waiting(timeout))
    answer = settled(answer, timeout, registry)
    output.result(answer, lambda: show(answer, output))
    judge(answer, timeout)


def settled(answer: dict[str, Any], timeout: float, registry: Registry) -> dict[str, Any]:
    """The answer as soon as it is known whether the revision serves: a start may take longer than one question."""
    rest = timeout - float(waiting(timeout)["wait"][:-1])
    while answer["phase"] == view.PENDING and rest > 0:
        ask = waiting(rest)
        rest -= float(ask["wait"][:-1])
        found = registry.get(f"sandboxes/{segment(answer['sandbox'])}", read_sandbox, ask)
        answer = {**answer, "phase": found.phase}
        for fork in found.document["status"]["forks"]:
            if fork["workload"] == answer["workload"] and fork.get("message"):
                message, _, log = fork["message"].partition("\n")
                answer["failure"] = {"message": message, "log": log}
    return answer


def show(answer: dict[str, Any], output: Output) -> None:
    """For a person."""
    for file in answer.get("filesChanged", ()):
        output.say(f"  {MARKS.get(file['change'], '?')} {printable(file['path'])}")
    if not answer.get("filesChanged"):
        output.say("  nothing differs from what it runs already")
    where = f"{answer['workload']} in sandbox {answer['sandbox']}, revision {answer['revision']}"
    output.say(f"{where}: {answer['phase']}", "bold green" if answer["phase"] == view.READY else "bold")
    failure = answer.get("failure")
    if failure:
        output.say(printable(failure["message"]), "red")
        if failure.get("log"):
            output.text(printable(failure["log"]))


def judge(answer: dict[str, Any], timeout: float) -> None:
    """Raises CommandError when the revision does not serve."""
    name = answer["sandbox"]
    if answer["phase"] in {view.FAILED, view.DEGRADED}:
        serves = "; the revision before it serves on" if answer["phase"] == view.DEGRADED else ""
        raise CommandError(f"revision {answer['revision']} of {name} does not start{serves}")
    if answer["phase"] != view.READY:
        raise NotReadyError(f"sandbox {name} is still {answer['phase']} after {timeout:g} s")


def _standard_input() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("- reads a unified diff from standard input, and nothing comes from there")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidError(f"standard input: byte {error.start} is not UTF-8") from None


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise click.BadParameter(f"{command!r}: {error}".lower(), param_hint="--build") from None
