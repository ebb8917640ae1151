"""`skycap sandbox report`: what a sandbox changes and what speaks for it, for a pull request."""

from __future__ import annotations

from typing import Any

import click

from controlplane.asking.report import markdown
from controlplane.cli.command import Command
from controlplane.cli.failures import NOT_FOUND, REGISTRY_EXITS
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from proxy.base.text import printable


def _read(answer: Any) -> dict[str, Any]:
    if not isinstance(answer["verdict"], str):
        raise TypeError
    return dict(answer)


@click.command(cls=Command, exits=REGISTRY_EXITS | {NOT_FOUND: "there is no sandbox of that name"})
@click.argument("name")
@registry_options
@output_option
def report(name: str, registry: Registry, output: Output) -> None:
    """Say what it changes and what speaks for it.

    Markdown, for a pull request: what changed, the assertions and tests that ran, a request
    through it, links to try it, and what reviewers said.
    """
    found = registry.get(f"sandboxes/{segment(name)}/report", _read)
    output.result(found, lambda: output.text(printable(markdown(found).rstrip("\n"))))
