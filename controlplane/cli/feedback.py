"""`skycap sandbox feedback`: what happened, why, and what to do now."""

from __future__ import annotations

from typing import Any

import click

from controlplane.asking.written import markdown
from controlplane.cli.candidates import sandbox_names
from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, NOT_FOUND, REGISTRY_EXITS
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from proxy.base.text import printable

PASSING = "passing"


def _read(answer: Any) -> dict[str, Any]:
    if not isinstance(answer["verdict"], str):
        raise TypeError
    return dict(answer)


@click.command(
    cls=Command,
    exits=REGISTRY_EXITS
    | {0: "passing", FAILED: "anything else, which the verdict says", NOT_FOUND: "there is no sandbox of that name"},
)
@click.argument("name", shell_complete=sandbox_names)
@click.option("--since", metavar="10m", help="Judge the last so many s, m or h, not only what came after the update.")
@registry_options
@output_option
def feedback(name: str, since: str | None, registry: Registry, output: Output) -> None:
    """Say what happened to its requests, and why.

    Each failure is told by its origin, with the real answer, the way to it and what the copies wrote; then what to do
    now.
    """
    found = registry.get(f"sandboxes/{segment(name)}/feedback", _read, {"since": since} if since else None)
    output.result(found, lambda: output.text(printable(markdown(found).rstrip("\n"))))
    if found["verdict"] != PASSING:
        raise click.exceptions.Exit(FAILED)


@click.command(
    "feedback",
    cls=Command,
    exits=REGISTRY_EXITS
    | {
        0: "passing for each of its sandboxes",
        FAILED: "anything else, which the verdicts say",
        NOT_FOUND: "there is no route group of that name",
    },
)
@click.argument("name")
@click.option("--since", metavar="10m", help="Judge the last so many s, m or h, not only what came after an update.")
@registry_options
@output_option
def feedback_of_group(name: str, since: str | None, registry: Registry, output: Output) -> None:
    """Say what happened to the requests with its key.

    Of each of its sandboxes in turn. What is one sandbox's to mend is told by the feedback for that one.
    """
    query = {"since": since} if since else None
    found = registry.get(f"groups/{segment(name)}/feedback", lambda answer: list(map(_read, answer["items"])), query)

    def show() -> None:
        if not found:
            output.say(f"none of the sandboxes of route group {name} is there")
        output.text("\n\n".join(printable(markdown(each).rstrip("\n")) for each in found))

    output.result({"items": found}, show)
    if not found or any(each["verdict"] != PASSING for each in found):
        raise click.exceptions.Exit(FAILED)
