"""`skycap down`, `skycap restart` and `skycap logs`: an environment that runs elsewhere, in the background perhaps."""

from __future__ import annotations

import time
from pathlib import Path

import click

from controlplane.cli.command import Command
from controlplane.cli.failures import INTERRUPTED, MEANINGS, NOT_FOUND, NOT_READY, NotFoundError, NotReadyError
from controlplane.cli.options import since_option
from controlplane.cli.output import Output, output_option
from controlplane.local.running import RunningEnvironment, holder, state_folder
from controlplane.local.servicelog import known, lines_of
from controlplane.process.stamped import stamp
from proxy.base.text import printable

FOLLOW_SECONDS = 0.2

_state_dir = click.option(
    "--state-dir", type=click.Path(path_type=Path), envvar="SKYCAP_STATE_DIR", show_envvar=True,
    help="Where it keeps its state.  [default: .skycap/NAME beside FILE]",
)  # fmt: skip
_file = click.option(
    "-f", "--file", type=click.Path(path_type=Path), metavar="FILE",
    help="Its file.  [default: the one environment that is up in this folder or above]",
)  # fmt: skip


def _running(file: Path | None, state_dir: Path | None) -> RunningEnvironment:
    path = state_folder(file, state_dir)
    pid = holder(path)
    if pid is None:
        raise NotFoundError(f"the environment {path.name} is not up", hint=f"its folder is {path}")
    return RunningEnvironment(path, pid)


@click.command(cls=Command, exits={NOT_FOUND: "it is not up", NOT_READY: "it has not stopped in the given time"})
@click.argument("file", required=False, type=click.Path(path_type=Path))
@_state_dir
@click.option("--timeout", metavar="SECONDS", default=60.0, type=click.FloatRange(0, 600), help="How long, at most.")
@output_option
def down(file: Path | None, state_dir: Path | None, timeout: float, output: Output) -> None:
    """Stop the environment of FILE, or the one that is up in this folder or above."""
    environment = _running(file, state_dir)
    if not environment.stop(timeout):
        raise NotReadyError(f"the environment {environment.name} has not stopped after {timeout:g} s")
    output.result({"name": environment.name, "stopped": True}, lambda: output.say(f"{environment.name} is stopped"))


@click.command(
    cls=Command, exits={NOT_FOUND: "it is not up, or has no such service", NOT_READY: "not started in the given time"}
)
@click.argument("service")
@_file
@_state_dir
@click.option("--timeout", metavar="SECONDS", default=30.0, type=click.FloatRange(0, 600), help="How long, at most.")
@output_option
def restart(service: str, file: Path | None, state_dir: Path | None, timeout: float, output: Output) -> None:
    """Start one SERVICE of an environment anew, and nothing else."""
    environment = _running(file, state_dir)
    services = environment.services()
    if service not in services:
        raise NotFoundError(f"{environment.name} runs no service {service!r}", hint=f"there are {', '.join(services)}")
    if not environment.restart(service, timeout):
        raise NotReadyError(f"{service} was not started anew within {timeout:g} s")
    output.result({"service": service, "restarted": True}, lambda: output.say(f"{service} is started anew"))


@click.command(
    cls=Command,
    exits={
        NOT_FOUND: "nothing is known of such a service",
        INTERRUPTED: MEANINGS[INTERRUPTED],
    },
)
@click.argument("service")
@_file
@_state_dir
@click.option("--lines", metavar="N", default=100, type=click.IntRange(1), help="At most the last N lines.")
@since_option
@click.option("--follow", is_flag=True, help="Go on with what comes.")
@output_option
def logs(
    service: str,
    file: Path | None,
    state_dir: Path | None,
    lines: int,
    since: float | None,
    follow: bool,
    output: Output,
) -> None:
    """Show what a SERVICE of an environment wrote: a name of its file, NAME/sidecar, or registry."""
    path = state_folder(file, state_dir)
    names = known(path)
    if service not in names:
        hint = f"there are {', '.join(names)}" if names else f"its folder is {path}"
        raise NotFoundError(f"{path.name} has no log of {service!r}", hint=hint)
    first = stamp(time.time() - since) if since is not None else ""
    found = [line for line in lines_of(path, service) if line >= first]
    shown = found[-lines:]
    output.result({"service": service, "lines": shown}, lambda: _print(output, shown))
    last = found[-1] if found else ""
    while follow:
        time.sleep(FOLLOW_SECONDS)
        fresh = _after(list(lines_of(path, service)), last)
        _print(output, fresh)
        last = fresh[-1] if fresh else last


def _after(lines: list[str], last: str) -> list[str]:
    """Those behind the last one that was shown; all when it is no longer kept."""
    for index in range(len(lines) - 1, -1, -1):
        if lines[index] == last:
            return lines[index + 1 :]
    return lines


def _print(output: Output, lines: list[str]) -> None:
    for line in lines:
        output.text(printable(line))
