"""What commands and groups have in common: the exit codes at the end of --help, and what was probably meant."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from controlplane.cli.failures import exit_codes


class Command(click.Command):
    """A command whose --help ends with the exit codes that it can return.

    exits: code -> when. What every command has in common is added: 0 when nothing is said of it, 2 for wrong usage.
    """

    def __init__(self, *arguments: Any, exits: Mapping[int, str] | None = None, **settings: Any) -> None:
        self.exits = {0: "done", 2: "wrong usage; nothing was done", **(exits or {})}
        super().__init__(*arguments, **{"epilog": exit_codes("Exit codes:", self.exits), **settings})


class Group(click.Group):
    """A group that says which of its commands was probably meant.

    elsewhere: name -> MODULE:ATTRIBUTE in this package, of commands that are imported when they are called.
    """

    def __init__(self, *arguments: Any, elsewhere: Mapping[str, str] | None = None, **settings: Any) -> None:
        self._elsewhere = elsewhere or {}
        super().__init__(*arguments, **settings)

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*self.commands, *self._elsewhere})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in self._elsewhere and name not in self.commands:
            module, _, attribute = self._elsewhere[name].partition(":")
            command = getattr(import_module(f"controlplane.cli.{module}"), attribute)
            assert isinstance(command, click.Command)
            self.add_command(command, name)
        return super().get_command(context, name)

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0] if arguments else ""
        if arguments and not name.startswith("-") and self.get_command(context, name) is None:
            import difflib  # only who has mistyped waits for it

            near = difflib.get_close_matches(name, self.list_commands(context), n=1)
            meant = f", did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {name!r}{meant}", context)
        return super().resolve_command(context, arguments)
