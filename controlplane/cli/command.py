"""What the commands have in common: the exit codes at the end of --help."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.failures import EXIT_CODES


class Command(click.Command):
    """A command whose --help ends with the exit codes."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{"epilog": EXIT_CODES, **settings})
