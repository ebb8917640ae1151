"""`skycap page`: the registry's page, signed in."""

from __future__ import annotations

import webbrowser
from typing import Any

import click

from controlplane.cli.command import Command
from controlplane.cli.failures import REGISTRY_EXITS
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options


def _read(answer: Any) -> str:
    code = answer["code"]
    if not isinstance(code, str):
        raise TypeError
    return code


@click.command(cls=Command, exits=REGISTRY_EXITS)
@click.option("--open", "opened", is_flag=True, help="Open it in a browser as well.")
@registry_options
@output_option
def page(opened: bool, registry: Registry, output: Output) -> None:
    """Say where the page of the environment is, with a link that signs a browser in.

    The link works once, within a minute. It shows the services, the sandboxes, and their requests as they come.
    """
    code = registry.post("/session/code", {}, _read)
    link = f"{registry.url}/#code={code}"
    output.result({"url": f"{registry.url}/", "link": link}, lambda: output.say(link))
    if opened:
        webbrowser.open(link)
