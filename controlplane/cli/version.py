"""`skycap version`."""

from __future__ import annotations

import platform

import click

from controlplane.cli.command import Command
from controlplane.cli.output import Output, output_option
from proxy import BUILD


@click.command(cls=Command)
@output_option
def version(output: Output) -> None:
    """Say which version this is."""
    say(output)


def say(output: Output) -> None:
    """The answer of `skycap version` and of `skycap --version`; the build is that of the data path."""
    from importlib.metadata import version as installed  # with it comes a parser of mail

    document = {"skycap": installed("skycap"), "build": BUILD, "python": platform.python_version()}
    output.result(document, lambda: click.echo(f"skycap {document['skycap']} ({BUILD}, Python {document['python']})"))
