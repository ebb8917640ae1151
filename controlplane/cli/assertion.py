"""`skycap sandbox assert`: whether requests really reached the code under test."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.candidates import sandbox_names, workload_names
from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, NOT_FOUND, REGISTRY_EXITS, USAGE
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from controlplane.terminal import Text
from proxy.base.text import one_line


def _read(answer: Any) -> dict[str, Any]:
    if not isinstance(answer["holds"], bool) or not isinstance(answer["sentence"], str):
        raise TypeError
    return dict(answer)


@click.command(
    "assert",
    cls=Command,
    exits=REGISTRY_EXITS
    | {
        0: "it holds",
        FAILED: "it does not hold, and what speaks against it is said",
        USAGE: "wrong usage, or the sandbox does not fork that workload",
        NOT_FOUND: "there is no sandbox of that name",
    },
)
@click.argument("name", shell_complete=sandbox_names)
@click.argument("workload", shell_complete=workload_names, metavar="NAMESPACE/NAME")
@click.option("--requests", metavar="COUNT", default=1, type=click.IntRange(1, 5000), help="At least so many.")
@click.option(
    "--revision", metavar="REVISION", type=click.IntRange(1), help="That answered.  [default: the current one]"
)
@click.option("--since", metavar="10m", help="In the last so many s, m or h.  [default: since its last update]")
@registry_options
@output_option
def assertion(
    name: str, workload: str, requests: int, revision: int | None, since: str | None, registry: Registry, output: Output
) -> None:
    """Assert that requests reached its shadow.

    It fails on a fallback, on a bad answer, on another revision, and on a key that may be lost: a green test on the
    wrong code does not pass it.
    """
    claim = {"workload": workload, "requests": requests, "revision": revision, "since": since}
    asked = {field: value for field, value in claim.items() if value is not None}
    found = registry.post(f"sandboxes/{segment(name)}/assertions", asked, _read)
    output.result(found, lambda: _show(output, found))
    if not found["holds"]:
        raise click.exceptions.Exit(FAILED)


def _show(output: Output, found: dict[str, Any]) -> None:
    if found["holds"]:
        output.say(Text("holds", "green").append(f": {one_line(found['sentence'])}"))
    for objection in found.get("objections", []):
        output.say(Text("does not hold", "bold red").append(f": {one_line(objection)}"))
    for trace in found.get("traces", []):
        output.say(f"see `skycap trace {one_line(trace)}`", "dim")
