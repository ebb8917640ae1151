"""What a command prints: text for people, or one JSON document for programs.

On a terminal the text has tables and colour (NO_COLOR and TERM=dumb are heeded); elsewhere it is plain columns
that are never wrapped, so that `grep` and `awk` see whole lines. The JSON shapes are stable: fields are added,
never renamed.

What services answer is printed with its control characters made visible: an escape sequence in a body would
otherwise be obeyed by the terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 10_000
"""Columns where there is no terminal: more than any row of ours, so that none is wrapped."""

Row = Sequence[str | Text]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

_F = TypeVar("_F", bound=Callable[..., Any])


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let `skycap` end the way it ends for every broken pipe."""
        raise BrokenPipeError


class Output:
    """Where a command's result goes.

    json:    the result is one JSON document; `say` prints nothing.
    console: for people; `print` of it only inside a `render` given to `result`.
    """

    def __init__(self, form: str) -> None:
        self.json = form == "json"
        self.terminal = sys.stdout.isatty()
        self.console = _Console(
            width=None if self.terminal else PIPE_WIDTH, highlight=False, markup=False, emoji=False, soft_wrap=True
        )

    def result(self, document: object, render: Callable[[], None]) -> None:
        """Print `document` as JSON, or call `render` to print it for people."""
        if self.json:
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            render()

    def say(self, text: str | Text = "", style: str = "") -> None:
        """A line for people."""
        if not self.json:
            self.console.print(text, style=style or None)

    def text(self, text: str) -> None:
        """Foreign text for people, already `printable`: tabs and long lines stay as they are."""
        if not self.json:
            click.echo(text)

    def waiting(self) -> Status:
        """A line that shows that something goes on, until it is stopped; on a terminal only."""
        shown = self.console if self.terminal and not self.json else Console(quiet=True)
        return Status("starting", console=shown)

    def table(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Rows for people, the column names above them."""
        if not self.terminal:
            self._columns([[name.upper() for name in columns], *rows])
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console.print(table, soft_wrap=False)

    def _columns(self, rows: Sequence[Row]) -> None:
        lines = [[str(cell).replace("\n", " ") for cell in row] for row in rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(cells).rstrip())


def output_option(command: _F) -> _F:
    """Give a command `--output`; it is called with an `Output` as `output`."""

    def make(_context: click.Context, _parameter: click.Parameter, value: str) -> Output:
        return Output(value)

    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        envvar="SKYCAP_OUTPUT",
        show_envvar=True,
        callback=make,
        help="Text for people, or JSON of a stable shape.",
    )(command)


def printable(text: str) -> str:
    """The text with control characters written out, line breaks and tabs kept."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))
