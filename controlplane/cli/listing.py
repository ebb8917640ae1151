"""`skycap sandbox list`: one line a sandbox, however many agents are at work."""

from __future__ import annotations

from collections.abc import Callable

import click

from controlplane.cli.candidates import workload_names
from controlplane.cli.command import Command
from controlplane.cli.failures import REGISTRY_EXITS, USAGE
from controlplane.cli.manifest import pairs
from controlplane.cli.output import Output, Row, output_option
from controlplane.cli.registry import Registry, registry_options
from controlplane.cli.view import Sandbox, left, read_sandbox
from controlplane.terminal import Text
from proxy.base.text import one_line, printable

DESCRIPTION_CHARACTERS = 60
"""Of a description, in a list; `get` shows all of it."""

_Cell = Callable[[Sandbox], str | Text]

_COLUMNS: tuple[tuple[str, _Cell, Callable[[Sandbox], object]], ...] = (
    ("name", lambda item: item.name, bool),
    ("key", lambda item: item.key, lambda item: item.key != item.name),
    ("owner", lambda item: printable(item.owner), lambda item: item.owner),
    ("phase", lambda item: item.styled_phase(), bool),
    ("revision", lambda item: str(item.revision) if item.expires else "", bool),
    ("forks", lambda item: ", ".join(item.workloads), bool),
    ("expires", lambda item: left(item.expires) if item.expires else "", bool),
    ("labels", lambda item: printable(item.label_text()), lambda item: item.labels),
    ("description", lambda item: _short(item.description), lambda item: item.description),
)
"""A column, what stands in it, and which sandboxes have something to say there: without any it is left out."""


@click.command("list", cls=Command, exits=REGISTRY_EXITS | {USAGE: "what is looked for is malformed"})
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only those with it; may be repeated.")
@click.option("--owner", metavar="WHO", help="Only those of this owner.")
@click.option("--description", metavar="WORDS", help="Only those whose description has these in it.")
@click.option("--workload", metavar="NAMESPACE/NAME", shell_complete=workload_names, help="Only those that fork it.")
@registry_options
@output_option
def list_sandboxes(
    labels: tuple[str, ...],
    owner: str | None,
    description: str | None,
    workload: str | None,
    registry: Registry,
    output: Output,
) -> None:
    """List sandboxes, by name."""
    said = {"owner": owner, "description": description, "workload": workload}
    query: dict[str, str | list[str]] = {name: text for name, text in said.items() if text}
    if labels:
        query["label"] = [f"{name}={value}" for name, value in pairs(labels, "--label").items()]
    found = registry.get("sandboxes", lambda answer: list(map(read_sandbox, answer["items"])), query or None)

    def show() -> None:
        if not found:
            output.say("there are no sandboxes" + (" of that kind" if query else ""))
            return
        told = [column for column in _COLUMNS if any(column[2](item) for item in found)]
        rows: list[Row] = [[cell(item) for _, cell, _ in told] for item in found]
        output.table([name for name, _, _ in told], rows)
        for item in found:
            if item.unknown():
                output.remark(f"{item.name}: {item.unknown()}")

    output.result({"items": [item.document for item in found]}, show)


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= DESCRIPTION_CHARACTERS else f"{line[: DESCRIPTION_CHARACTERS - 3]}..."
