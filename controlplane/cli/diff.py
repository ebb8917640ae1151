"""`skycap sandbox diff`: how the answers of its shadows differ from the baseline's."""

from __future__ import annotations

import json
from typing import Any

import click

from controlplane.cli.candidates import sandbox_names, workload_names
from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, NOT_FOUND, REGISTRY_EXITS, USAGE
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from controlplane.terminal import Text
from proxy.base.text import one_line

SECONDS = 120.0
"""For all answers of one diff."""

SHOWN = 80
"""Characters of a value on a terminal."""


def _read(answer: Any) -> dict[str, Any]:
    if not isinstance(answer["same"], bool) or not isinstance(answer["sentence"], str):
        raise TypeError
    return {"compared": [], "skipped": {}, **answer}


@click.command(
    cls=Command,
    exits=REGISTRY_EXITS
    | {
        0: "every request is answered as the baseline answers it",
        FAILED: "one is not, or none could be compared, which is said",
        USAGE: "wrong usage, or the sandbox does not fork that workload",
        NOT_FOUND: "there is no sandbox of that name",
    },
)
@click.argument("name", shell_complete=sandbox_names)
@click.option(
    "--workload",
    metavar="NAMESPACE/NAME",
    shell_complete=workload_names,
    help="Only requests to this one.  [default: all that it forks]",
)
@click.option("--path", metavar="PREFIX", help="Only paths that begin so.")
@click.option("--since", metavar="10m", help="In the last so many s, m or h.  [default: since its last update]")
@click.option("--requests", metavar="COUNT", default=10, type=click.IntRange(1, 50), help="At most so many.")
@registry_options
@output_option
def diff(
    name: str,
    workload: str | None,
    path: str | None,
    since: str | None,
    requests: int,
    registry: Registry,
    output: Output,
) -> None:
    """Say how its shadows answer otherwise than the baseline.

    Recorded requests that change nothing (GET, HEAD, OPTIONS) are sent again, to the baseline twice and to the shadow;
    status, header fields and JSON bodies are compared field by field. What differs between the two answers of the
    baseline is noise, and named so.
    """
    query = {"workload": workload, "path": path, "since": since, "requests": requests}
    asked = {field: value for field, value in query.items() if value is not None}
    found = registry.post(f"sandboxes/{segment(name)}/diff", asked, _read, seconds=SECONDS)
    output.result(found, lambda: _show(output, found))
    if not found["same"]:
        raise click.exceptions.Exit(FAILED)


def _show(output: Output, found: dict[str, Any]) -> None:
    output.say(Text(one_line(found["sentence"]), "green" if found["same"] else "bold red"))
    for one in found["compared"]:
        statuses = f"{one['baselineStatus']} -> {one['shadowStatus']}" if one.get("baselineStatus") else ""
        output.say(
            Text(" ".join(filter(None, ("", one_line(one["request"]), f"({one['workload']})", statuses))), "bold")
        )
        if one.get("problem"):
            output.say(Text(f"  not compared: {one_line(one['problem'])}", "yellow"))
        for each in one.get("differs", []):
            output.say(Text(f"  {each['change']:8}{one_line(each['path'])}", "red").append(f"  {_values(each)}"))
        if one.get("noise"):
            output.say(Text(f"  noise   {one_line(', '.join(one['noise']))}", "dim"))
        elif not one.get("differs") and not one.get("problem"):
            output.say("  the same")
    for why, count in found["skipped"].items():
        output.say(Text(f" {count} not sent again: {one_line(why)}", "dim"))


def _values(difference: dict[str, Any]) -> str:
    """What the baseline has there, and what the shadow."""
    values = [_value(difference.get(whose)) for whose in ("baseline", "shadow")]
    if difference["change"] == "removed":
        return f"the baseline sends {values[0]}"
    return f"the shadow sends {values[1]}" if difference["change"] == "added" else f"{values[0]} -> {values[1]}"


def _value(value: Any) -> str:
    text = one_line(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
