"""`skycap sandbox`: create, look at and remove sandboxes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from controlplane.cli.candidates import sandbox_names, workload_names
from controlplane.cli.command import Command, Group
from controlplane.cli.failures import (
    FAILED,
    MEANINGS,
    NOT_FOUND,
    NOT_READY,
    REGISTRY_EXITS,
    UNKNOWN_WORKLOAD,
    USAGE,
    InvalidError,
    NotReadyError,
)
from controlplane.cli.manifest import by_hand, complete, load, place
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options, segment, waiting
from controlplane.cli.settled import until_settled
from controlplane.cli.view import Sandbox, read_sandbox
from controlplane.rest import DEFAULT_LINES, MAX_LINES
from proxy.base.text import printable

FOLLOW_SECONDS = 0.5
"""Between two questions for what has come."""

_REFUSED = "wrong usage, or the sandbox cannot work; nothing was changed"
_NAMED = REGISTRY_EXITS | {NOT_FOUND: "there is no sandbox of that name"}


_ELSEWHERE = {
    "assert": "assertion:assertion",
    "changes": "history:changes",
    "dev": "dev:dev",
    "diff": "diff:diff",
    "extend": "history:extend",
    "feedback": "feedback:feedback",
    "history": "history:history",
    "link": "previews:link",
    "list": "listing:list_sandboxes",
    "preview": "previews:previews",
    "push": "push:push",
    "report": "report:report",
    "rollback": "history:rollback",
    "stub": "stub:stub",
    "traffic": "traffic:traffic",
}
"""Name -> MODULE:ATTRIBUTE beside this module."""


@click.group(cls=Group, elsewhere=_ELSEWHERE)
def sandbox() -> None:
    """Create, look at and remove sandboxes."""


@sandbox.command(
    cls=Command,
    exits=REGISTRY_EXITS
    | {
        0: "accepted; with --wait: every fork serves what was applied",
        FAILED: "with --wait, a fork cannot; or the registry has a fault of its own",
        USAGE: _REFUSED,
        NOT_READY: "with --wait: not yet in the given time",
        UNKNOWN_WORKLOAD: "with --wait: it forks a workload that nobody knows",
    },
)
@click.argument("name", shell_complete=sandbox_names, required=False)
@click.option("-f", "--file", "path", metavar="FILE", help="The sandbox as YAML or JSON; - reads standard input.")
@click.option(
    "--fork", metavar="NAMESPACE/NAME", shell_complete=workload_names, help="Without a file: the workload to replace."
)
@click.option("--command", metavar="COMMAND", help="With --fork: the command that starts the shadow.")
@click.option(
    "--image", metavar="IMAGE", help="With --fork, on a cluster: the image that the shadow's pod has instead."
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="With those: one variable; may be repeated.")
@click.option("--endpoint", "endpoints", multiple=True, metavar="HOST:PORT", help="With --fork: where it already runs.")
@click.option("--no-dial", is_flag=True, help="With --endpoint: the registry cannot reach it and does not look.")
@click.option(
    "--cwd", metavar="FOLDER", help="Where a command runs.  [default: the folder of FILE, without one the current one]"
)
@click.option("--ttl", metavar="TTL", help="How long it lives after the last apply: 90s, 30m, 4h or 7d.")
@click.option("--idle", metavar="TIME", help="Stop its shadows when nobody calls for so long; a request starts them.")
@click.option(
    "--on-unavailable",
    type=click.Choice(["error", "baseline"]),
    help="What its requests get when its shadow cannot be reached.  [default: error]",
)
@click.option(
    "--capture", type=click.Choice(["none", "errors", "all"]), help="Whose messages are kept.  [default: errors]"
)
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label; may be repeated.")
@click.option("--owner", metavar="WHO", help="Whom to ask about it.")
@click.option("--description", metavar="WHAT", help="What is tried in it.")
@click.option("--restart", is_flag=True, help="Start every shadow anew, also when nothing has changed.")
@click.option("--wait", is_flag=True, help="Wait until it serves what was applied.")
@click.option(
    "--timeout", metavar="SECONDS", default=60.0, type=click.FloatRange(0, 3600), help="With --wait: how long, at most."
)
@registry_options
@output_option
def apply(
    name: str | None,
    path: str | None,
    fork: str | None,
    command: str | None,
    image: str | None,
    env: tuple[str, ...],
    endpoints: tuple[str, ...],
    no_dial: bool,
    restart: bool,
    wait: bool,
    timeout: float,
    registry: Registry,
    output: Output,
    **said: Any,
) -> None:
    """Create or update a sandbox: from a FILE, or NAME with --fork.

    \b
    skycap sandbox apply -f sandbox.yaml
    skycap sandbox apply agent-42 --fork shop/users --command 'python users_v2.py'
    skycap sandbox apply agent-42 --fork shop/users --endpoint 127.0.0.1:9102
    skycap sandbox apply agent-42 --fork shop/users --image users:pr-7
    """
    by_flags = bool(name or fork or command or image or env or endpoints or no_dial)
    if bool(path) == by_flags:
        raise click.UsageError("say either -f FILE, or NAME with --fork")
    if path:
        document = load(path)
    else:
        if not name or not fork or bool(command or image) == bool(endpoints):
            raise click.UsageError("without a file, say NAME, --fork and one of --command, --image and --endpoint")
        if no_dial and not endpoints:
            raise click.UsageError("--no-dial is for --endpoint, which is not given")
        document = by_hand(name, fork, command, env, endpoints, image=image, no_dial=no_dial)
    complete(document, said)
    folder = None if endpoints or registry.context is not None else _folder(path, said["cwd"])
    placed = place(document, folder) if folder else []
    applied = _apply(document, path, registry, "true" if restart else "")
    if not wait:
        output.result(applied.document, lambda: applied.show(output))
    for line in placed:
        output.remark(line)
    if wait:
        until_settled(applied.name, timeout, registry, output)


def _folder(path: str | None, cwd: str | None) -> Path:
    """Where commands run that do not say so themselves: with what they are written beside."""
    if cwd is not None:
        folder = Path(cwd).absolute()
        if not folder.is_dir():
            raise click.BadParameter(f"there is no folder {cwd}", param_hint="--cwd")
        return folder
    return Path(path).absolute().parent if path and path != "-" else Path.cwd()


def _apply(document: dict[str, Any], path: str | None, registry: Registry, restart: str) -> Sandbox:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    # A document without a name is sent all the same: the registry names everything that is wrong with it.
    where = f"sandboxes/{segment(name) if isinstance(name, str) and name else 'unnamed'}"
    try:
        return registry.put(where, document, read_sandbox, {"restart": restart} if restart else None)
    except InvalidError as error:
        raise (_in_file(error, path) if path else error) from None


@sandbox.command(
    cls=Command, exits=_NAMED | {0: "its shadows are being started anew; `wait` tells when they serve", USAGE: _REFUSED}
)
@click.argument("name", shell_complete=sandbox_names)
@click.option(
    "--workload", metavar="NAMESPACE/NAME", shell_complete=workload_names, help="Only the shadow of this one."
)
@registry_options
@output_option
def restart(name: str, workload: str | None, registry: Registry, output: Output) -> None:
    """Start the shadows of a sandbox anew, as a new revision.

    For a change of what they run: the same command in the same folder is no change of the sandbox.
    """
    found = registry.get(f"sandboxes/{segment(name)}", read_sandbox)
    document = {part: value for part, value in found.document.items() if part != "status"}
    applied = _apply(document, None, registry, workload or "true")
    output.result(applied.document, lambda: applied.show(output))


def _in_file(error: InvalidError, path: str) -> InvalidError:
    """A document that does not fit, told as `skycap up` tells it: FILE: FIELD: WHAT."""
    document = error.document or {}
    if document.get("code") != "invalid":
        return error
    name = "standard input" if path == "-" else path
    lines = [": ".join(filter(None, (name, item["path"], item["message"]))) for item in document["problems"]]
    return InvalidError(*lines, document=document)


@sandbox.command(cls=Command, exits=_NAMED)
@click.argument("name", shell_complete=sandbox_names)
@registry_options
@output_option
def get(name: str, registry: Registry, output: Output) -> None:
    """Show one sandbox and what serves each of its forks."""
    found = registry.get(f"sandboxes/{segment(name)}", read_sandbox)
    output.result(found.document, lambda: found.show(output))


@sandbox.command(cls=Command, exits=_NAMED | {0: "it is gone", NOT_READY: "it is being deleted, and not gone in time"})
@click.argument("name", shell_complete=sandbox_names)
@click.option(
    "--timeout",
    metavar="SECONDS",
    default=30.0,
    type=click.FloatRange(0, 600),
    help="How long to wait until its shadows have stopped; 0: do not wait.",
)
@registry_options
@output_option
def delete(name: str, timeout: float, registry: Registry, output: Output) -> None:
    """Delete a sandbox: its routes at once, then its shadows."""
    gone = registry.delete(f"sandboxes/{segment(name)}", waiting(timeout))
    said = "is deleted" if gone else "is being deleted: its shadows have not stopped yet"
    output.result({"name": name, "deleted": gone}, lambda: output.say(f"sandbox {name} {said}"))
    if not gone and timeout:
        raise NotReadyError(f"sandbox {name} was not gone after {timeout:g} s")


@sandbox.command(
    cls=Command,
    exits=_NAMED
    | {
        0: "every fork serves what was last applied",
        FAILED: "one cannot, or the registry has a fault of its own",
        NOT_READY: "not yet in the given time",
        UNKNOWN_WORKLOAD: MEANINGS[UNKNOWN_WORKLOAD],
    },
)
@click.argument("name", shell_complete=sandbox_names)
@click.option("--timeout", metavar="SECONDS", default=60.0, type=click.FloatRange(0, 3600), help="How long, at most.")
@registry_options
@output_option
def wait(name: str, timeout: float, registry: Registry, output: Output) -> None:
    """Wait until a sandbox serves what was last applied."""
    until_settled(name, timeout, registry, output)


@sandbox.command(cls=Command, exits=_NAMED)
@click.argument("name", shell_complete=sandbox_names)
@click.option(
    "--workload",
    default="",
    show_default=False,
    metavar="NAMESPACE/NAME",
    shell_complete=workload_names,
    help="Only this one's, and its baseline's.",
)
@click.option(
    "--lines",
    metavar="N",
    default=DEFAULT_LINES,
    type=click.IntRange(1, MAX_LINES),
    help="At most the last N lines of each copy.",
)
@click.option("--since", metavar="10m", help="Only what came in the last so many s, m or h.")
@click.option("--trace", metavar="ID", help="What every copy wrote while it served this trace, baselines included.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C or the sandbox is gone.")
@registry_options
@output_option
def logs(
    name: str,
    workload: str,
    lines: int,
    since: str | None,
    trace: str | None,
    follow: bool,
    registry: Registry,
    output: Output,
) -> None:
    """Show what the shadows of a sandbox wrote.

    With --workload its baseline's output as well, also of one that the sandbox does not fork.
    """
    given = {"workload": workload, "since": since, "trace": trace}
    query = {"lines": str(lines)} | {field: value for field, value in given.items() if value}
    found = registry.get(f"sandboxes/{segment(name)}/logs", _copies, query)

    def show() -> None:
        for copy in found:
            output.say(f"== {copy['workload']}, {_whose(copy['revision'])}, {copy['state']}", "bold")
            output.text(printable(copy["log"].rstrip("\r\n")) or "(nothing)")
        if not found:
            output.say("no shadow of this sandbox has a log")

    output.result({"items": found}, show)
    last = {_copy_of(copy): copy["log"].splitlines() for copy in found}
    while follow:
        time.sleep(FOLLOW_SECONDS)
        for copy in registry.get(f"sandboxes/{segment(name)}/logs", _copies, query):
            which, now = _copy_of(copy), copy["log"].splitlines()
            for line in behind(last.get(which, []), now):
                output.text(f"{which[0]} {f'r{which[1]}' if which[1] else 'baseline'} | {printable(line)}")
            last[which] = now


def _whose(revision: int) -> str:
    return f"revision {revision}" if revision else "baseline"


def behind(before: list[str], now: list[str]) -> list[str]:
    """The lines that have come since: what of the end of `before` is the beginning of `now` is left out."""
    for start in range(len(before)):
        if before[start:] == now[: len(before) - start]:
            return now[len(before) - start :]
    return now


def _copy_of(copy: dict[str, Any]) -> tuple[str, int]:
    return copy["workload"], copy["revision"]


def _copies(answer: Any) -> list[dict[str, Any]]:
    return [{"workload": "", "revision": 0, "state": "", "log": ""} | item for item in answer["items"]]
