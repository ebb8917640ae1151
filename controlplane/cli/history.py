"""`skycap sandbox history|changes|rollback|extend`: the specs that a sandbox had, and how long it lives."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Any

import click

from controlplane.cli.candidates import sandbox_names
from controlplane.cli.command import Command
from controlplane.cli.failures import (
    FAILED,
    NOT_FOUND,
    NOT_READY,
    REGISTRY_EXITS,
    UNKNOWN_WORKLOAD,
    USAGE,
)
from controlplane.cli.output import Output, Row, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from controlplane.cli.settled import until_settled
from controlplane.cli.view import ago, left, read_sandbox
from controlplane.terminal import Text, dumps
from proxy.base.text import one_line, printable

SHOWN_CHANGES = 3
"""Paths named in a line of the history; the rest is a number."""

_NAMED = REGISTRY_EXITS | {NOT_FOUND: "there is no sandbox of that name"}


@click.command(cls=Command, exits=_NAMED)
@click.argument("name", shell_complete=sandbox_names)
@registry_options
@output_option
def history(name: str, registry: Registry, output: Output) -> None:
    """List the specs that a sandbox had, the newest first.

    The last five before the current one are kept. A restart makes a revision of the same spec.
    """

    def read(answer: Any) -> list[dict[str, Any]]:
        return [{"first": 1, "served": False, "current": False, "changed": []} | item for item in answer["items"]]

    found = registry.get(f"sandboxes/{segment(name)}/revisions", read)
    rows: list[Row] = [_row(item) for item in found]
    output.result({"items": found}, lambda: output.table(["revision", "applied", "served", "changed"], rows))


def _row(item: dict[str, Any]) -> Row:
    first, last = item["first"], item["revision"]
    named = str(last) if first == last else f"{first}-{last}"
    changed = [one_line(path.removeprefix("spec.")) for path in item["changed"]]
    more = len(changed) - SHOWN_CHANGES
    said = ", ".join(changed[:SHOWN_CHANGES]) + (f" and {more} more" if more > 0 else "")
    served = Text("yes", "green") if item["served"] else Text("not yet" if item["current"] else "never", "red")
    return [
        f"{named} (current)" if item["current"] else named,
        ago(datetime.fromisoformat(item["applied"])),
        served,
        printable(said) or "-",
    ]


@click.command(
    cls=Command, exits=_NAMED | {NOT_FOUND: "there is no such sandbox, or nothing before", USAGE: "no such revision"}
)
@click.argument("name", shell_complete=sandbox_names)
@click.option("--from", "before", metavar="N", type=click.IntRange(1), help="A revision.  [default: the spec before]")
@click.option("--to", "after", metavar="M", type=click.IntRange(1), help="Another one.  [default: the current one]")
@registry_options
@output_option
def changes(name: str, before: int | None, after: int | None, registry: Registry, output: Output) -> None:
    """Show what differs between the specs of two revisions.

    What differs in the answers to its requests tells `skycap sandbox diff`.
    """

    def read(answer: Any) -> dict[str, Any]:
        return {"changes": [], **{side: answer[side] for side in ("fromRevision", "toRevision")}, **answer}

    query = {side: str(number) for side, number in (("from", before), ("to", after)) if number is not None}
    found = registry.get(f"sandboxes/{segment(name)}/changes", read, query or None)

    def show() -> None:
        between = f"revision {found['fromRevision']} to {found['toRevision']}"
        output.say(between if found["changes"] else f"{between}: the same spec")
        for item in found["changes"]:
            output.say(printable(item["path"]), "bold")
            for side, sign, style in (("before", "-", "red"), ("after", "+", "green")):
                if side in item:
                    output.say(f"  {sign} {printable(_value(item[side]))}", style)

    output.result(found, show)


def _value(value: object) -> str:
    """A list of texts as one would type it, anything else as JSON; both on one line."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return one_line(shlex.join(value))
    return one_line(dumps(value))


@click.command(
    cls=Command,
    exits=_NAMED
    | {
        0: "a revision with the old spec is being started; with --wait: it serves",
        FAILED: "with --wait, a fork cannot; or the registry has a fault of its own",
        USAGE: "no such revision, or nothing to go back to; nothing was changed",
        NOT_READY: "with --wait: not yet in the given time",
        UNKNOWN_WORKLOAD: "with --wait: it forks a workload that nobody knows",
    },
)
@click.argument("name", shell_complete=sandbox_names)
@click.option(
    "--to", "revision", metavar="N", type=click.IntRange(1), help="Its spec.  [default: the newest before that served]"
)
@click.option("--wait", is_flag=True, help="Wait until it serves.")
@click.option(
    "--timeout", metavar="SECONDS", default=60.0, type=click.FloatRange(0, 3600), help="With --wait: how long, at most."
)
@registry_options
@output_option
def rollback(name: str, revision: int | None, wait: bool, timeout: float, registry: Registry, output: Output) -> None:
    """Go back to a spec that a sandbox had, as a new revision.

    `skycap sandbox history NAME` lists those that are kept. Labels, owner and description stay as they are.
    """
    body = {} if revision is None else {"revision": revision}
    applied = registry.post(f"sandboxes/{segment(name)}/rollback", body, read_sandbox)
    if wait:
        until_settled(name, timeout, registry, output)
    else:
        output.result(applied.document, lambda: applied.show(output))


@click.command(cls=Command, exits=_NAMED | {USAGE: "no time, or a longer one than a sandbox may live"})
@click.argument("name", shell_complete=sandbox_names)
@click.argument("ttl")
@registry_options
@output_option
def extend(name: str, ttl: str, registry: Registry, output: Output) -> None:
    """Let a sandbox live longer, by 90s, 30m, 4h or 7d.

    It is counted from when it would have expired. A later apply with the same ttl does not take it back.
    """
    found = registry.post(f"sandboxes/{segment(name)}/extend", {"ttl": ttl}, read_sandbox)
    until = f"sandbox {name} expires {left(found.expires)}" if found.expires else f"sandbox {name} is extended"
    output.result(found.document, lambda: output.say(until))
