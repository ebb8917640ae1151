"""`skycap sandbox`: create, look at and remove sandboxes."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from controlplane.cli.command import Command, Group
from controlplane.cli.failures import (
    FAILED,
    NOT_FOUND,
    NOT_READY,
    REGISTRY_EXITS,
    USAGE,
    CommandError,
    InvalidError,
    NotReadyError,
)
from controlplane.cli.output import Output, Row, output_option, printable
from controlplane.cli.registry import Registry, registry_options
from controlplane.client import Client
from controlplane.documents import parse_documents, read_documents
from controlplane.model.output import DEFAULT_LINES, MAX_LINES
from controlplane.model.sandbox import API_VERSION, KIND, Phase, Sandbox
from proxy.contract.routes import State

_PHASE_STYLES = {
    Phase.READY: "green",
    Phase.PENDING: "yellow",
    Phase.DEGRADED: "red",
    Phase.FAILED: "bold red",
    Phase.DELETING: "dim",
}


_REFUSED = "wrong usage, or the sandbox cannot work; nothing was changed"
_NAMED = REGISTRY_EXITS | {NOT_FOUND: "there is no sandbox of that name"}


@click.group(cls=Group)
def sandbox() -> None:
    """Create, look at and remove sandboxes."""


@sandbox.command(cls=Command, exits=REGISTRY_EXITS | {0: "accepted; `wait` tells whether it serves", USAGE: _REFUSED})
@click.argument("name", required=False)
@click.option("-f", "--file", "path", metavar="FILE", help="The sandbox as YAML or JSON; - reads standard input.")
@click.option("--fork", metavar="NAMESPACE/NAME", help="Without a file: the workload to replace.")
@click.option("--command", metavar="COMMAND", help="With --fork: the command that starts the changed copy.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="With --command: one variable; may be repeated.")
@click.option("--endpoint", "endpoints", multiple=True, metavar="HOST:PORT", help="With --fork: where it already runs.")
@registry_options
@output_option
def apply(
    name: str | None,
    path: str | None,
    fork: str | None,
    command: str | None,
    env: tuple[str, ...],
    endpoints: tuple[str, ...],
    registry: Registry,
    output: Output,
) -> None:
    """Create or update a sandbox: from a FILE, or NAME with --fork.

    \b
    skycap sandbox apply -f sandbox.yaml
    skycap sandbox apply agent-42 --fork shop/users --command 'python users_v2.py'
    skycap sandbox apply agent-42 --fork shop/users --endpoint 127.0.0.1:9102
    """
    by_flags = bool(name or fork or command or env or endpoints)
    if bool(path) == by_flags:
        raise click.UsageError("say either -f FILE, or NAME with --fork")
    if path:
        document = _load(path)
    else:
        if not name or not fork or bool(command) == bool(endpoints):
            raise click.UsageError("without a file, say NAME, --fork and one of --command and --endpoint")
        document = _document(name, fork, command, env, endpoints)
    try:
        applied = registry.ask(lambda client: client.apply(document))
    except InvalidError as error:
        raise (_in_file(error, path) if path else error) from None
    output.result(applied.document(), lambda: _show(output, applied))


def _in_file(error: InvalidError, path: str) -> InvalidError:
    """A document that does not fit, told as `skycap up` tells it: FILE: FIELD: WHAT."""
    document = error.document or {}
    if document.get("code") != "invalid":
        return error
    name = "standard input" if path == "-" else path
    lines = [": ".join(filter(None, (name, item["path"], item["message"]))) for item in document["problems"]]
    return InvalidError(*lines, document=document)


def _document(
    name: str, workload: str, command: str | None, env: tuple[str, ...], endpoints: tuple[str, ...]
) -> dict[str, Any]:
    fork: dict[str, Any] = {"workload": workload}
    if command:
        try:
            fork["command"] = shlex.split(command)
        except ValueError as error:
            raise click.BadParameter(f"{command!r}: {error}".lower(), param_hint="--command") from None
    if endpoints:
        fork["endpoints"] = list(endpoints)
    if env:
        pairs = [item.partition("=") for item in env]
        if bad := [variable for variable, equals, _ in pairs if not equals]:
            raise click.BadParameter(f"{bad[0]!r} is not NAME=VALUE", param_hint="--env")
        fork["env"] = {variable: value for variable, _, value in pairs}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": {"forks": [fork]}}


def _load(path: str) -> dict[str, Any]:
    name = "standard input" if path == "-" else path
    if path == "-" and sys.stdin is None:
        raise InvalidError(f"{name}: is closed")
    documents = parse_documents(sys.stdin.buffer, name) if path == "-" else read_documents(Path(path))
    if len(documents) != 1:
        raise InvalidError(f"{name}: holds {len(documents)} documents: one sandbox per file")
    if not isinstance(documents[0], dict):
        raise InvalidError(f"{name}: holds no sandbox: it must be an object with apiVersion, kind, metadata and spec")
    try:
        json.dumps(documents[0])
    except (TypeError, ValueError, RecursionError) as error:
        # YAML has dates, sets, and anchors that hold themselves.
        raise InvalidError(f"{name}: holds what cannot be said in JSON: {error}") from None
    document: dict[str, Any] = documents[0]
    return document


@sandbox.command("list", cls=Command, exits=REGISTRY_EXITS)
@registry_options
@output_option
def list_sandboxes(registry: Registry, output: Output) -> None:
    """List all sandboxes."""
    found = registry.ask(Client.sandboxes)

    def show() -> None:
        if not found:
            output.say("there are no sandboxes")
            return
        rows: list[Row] = [
            [
                item.name,
                item.routing_key,
                _phase(item),
                str(item.status.revision) if item.status else "",
                ", ".join(fork.workload for fork in item.spec.forks),
                _left(item.status.expires) if item.status else "",
            ]
            for item in found
        ]
        output.table(["name", "key", "phase", "revision", "forks", "expires"], rows)

    output.result({"items": [item.document() for item in found]}, show)


@sandbox.command(cls=Command, exits=_NAMED)
@click.argument("name")
@registry_options
@output_option
def get(name: str, registry: Registry, output: Output) -> None:
    """Show one sandbox and what serves each of its forks."""
    found = registry.ask(lambda client: client.sandbox(name))
    output.result(found.document(), lambda: _show(output, found))


@sandbox.command(cls=Command, exits=_NAMED | {0: "it is gone", NOT_READY: "it is being deleted, and not gone in time"})
@click.argument("name")
@click.option(
    "--timeout",
    metavar="SECONDS",
    default=30.0,
    type=click.FloatRange(0, 600),
    help="How long to wait until its copies have stopped; 0: do not wait.",
)
@registry_options
@output_option
def delete(name: str, timeout: float, registry: Registry, output: Output) -> None:
    """Delete a sandbox: its routes at once, then its copies."""
    left = registry.ask(lambda client: client.delete(name, timeout))
    said = "is deleted" if left is None else "is being deleted: its copies have not stopped yet"
    output.result({"name": name, "deleted": left is None}, lambda: output.say(f"sandbox {name} {said}"))
    if left is not None and timeout:
        raise NotReadyError(f"sandbox {name} was not gone after {timeout:g} s")


@sandbox.command(
    cls=Command,
    exits=_NAMED
    | {
        0: "every fork serves what was last applied",
        FAILED: "one cannot, or the registry has a fault of its own",
        NOT_READY: "not yet in the given time",
    },
)
@click.argument("name")
@click.option("--timeout", metavar="SECONDS", default=60.0, type=click.FloatRange(0, 3600), help="How long, at most.")
@registry_options
@output_option
def wait(name: str, timeout: float, registry: Registry, output: Output) -> None:
    """Wait until a sandbox serves what was last applied."""
    found = registry.ask(lambda client: client.wait(name, timeout))
    output.result(found.document(), lambda: _show(output, found))
    phase = found.status.phase if found.status else Phase.PENDING
    if phase in {Phase.FAILED, Phase.DEGRADED}:
        raise CommandError(f"sandbox {name} is {phase.value}", hint=f"skycap sandbox logs {name}")
    if phase is not Phase.READY:
        raise NotReadyError(f"sandbox {name} is still {phase.value} after {timeout:g} s")


@sandbox.command(cls=Command, exits=_NAMED)
@click.argument("name")
@click.option(
    "--workload", default="", show_default=False, metavar="NAMESPACE/NAME", help="Only the copies of this one."
)
@click.option(
    "--lines",
    metavar="N",
    default=DEFAULT_LINES,
    type=click.IntRange(1, MAX_LINES),
    help="At most the last N lines of each copy.",
)
@registry_options
@output_option
def logs(name: str, workload: str, lines: int, registry: Registry, output: Output) -> None:
    """Show what the copies that a sandbox started wrote."""
    found = registry.ask(lambda client: client.logs(name, workload, lines))

    def show() -> None:
        for copy in found:
            output.say(f"== {copy.workload}, revision {copy.revision}, {copy.state}", "bold")
            output.text(printable(copy.log.rstrip("\r\n")) or "(nothing)")
        if not found:
            output.say("no copy of this sandbox has a log")

    output.result({"items": [copy.model_dump(mode="json", by_alias=True) for copy in found]}, show)


def _show(output: Output, item: Sandbox) -> None:
    status = item.status
    revision = f", revision {status.revision}, expires {_left(status.expires)}" if status else ""
    output.say(Text(f"sandbox {item.name} is ").append(_phase(item)).append(f"{revision}, key {item.routing_key}"))
    if status is None or not status.forks:
        return
    rows: list[Row] = []
    for fork in status.forks:
        good = fork.state is State.READY and not fork.message
        state = Text(fork.state.value, style="green" if good else "yellow" if fork.state is State.PENDING else "red")
        rows.append([fork.workload, state, str(fork.revision), ", ".join(fork.endpoints)])
    output.table(["fork", "state", "revision", "endpoints"], rows)
    for fork in status.forks:
        if fork.message:
            output.say(f"{fork.workload}: {printable(fork.message)}", "red")


def _phase(item: Sandbox) -> Text:
    phase = item.status.phase if item.status else Phase.PENDING
    return Text(phase.value, style=_PHASE_STYLES[phase])


def _left(moment: datetime) -> str:
    """`in 3h 59m`, rounded down; two units say enough."""
    seconds = int((moment - datetime.now(UTC)).total_seconds())
    if seconds <= 0:
        return "now"
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{name}")
    return f"in {' '.join(parts[:2])}"
