"""What a command prints: text for people, or one JSON document for programs.

On a terminal the text has colour (NO_COLOR and TERM=dumb are heeded); elsewhere it has none. Rows are never wrapped,
so that `grep` and `awk` see whole lines. The JSON shapes are stable: fields are added, never renamed.

What services answer is printed with its control characters made visible: an escape sequence in a body would
otherwise be obeyed by the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from controlplane.terminal import Text, Waiting, dumps, has_colour

Row = Sequence[str | Text]

_F = TypeVar("_F", bound=Callable[..., Any])


class Output:
    """Where a command's result goes.

    json: the result is one JSON document; `say` prints nothing.
    """

    def __init__(self, form: str) -> None:
        self.json = form == "json"
        self._colour = has_colour(sys.stdout, os.environ)

    def result(self, document: object, render: Callable[[], None]) -> None:
        """Print `document` as JSON, or call `render` to print it for people."""
        if self.json:
            click.echo(dumps(document, indent=2))
        else:
            render()

    def say(self, text: str | Text = "", style: str = "") -> None:
        """A line for people. style: of a `str`; a `Text` has its own."""
        if not self.json:
            click.echo(self._painted(Text(text, style) if isinstance(text, str) else text))

    def text(self, text: str) -> None:
        """Foreign text for people, already `printable`."""
        if not self.json:
            click.echo(text)

    def remark(self, text: str) -> None:
        """A line for people that is not the result: it goes to standard error, and does not spoil a pipe."""
        if not self.json:
            click.echo(f"skycap: {text}", err=True)

    def waiting(self) -> Waiting:
        """A line that shows that something goes on, until it is stopped; on a terminal only."""
        return Waiting(sys.stderr if self.json else sys.stdout)

    def table(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Rows for people, the column names above them."""
        lines = [[Text(name.upper(), "bold") for name in columns], *(list(map(_cell, row)) for row in rows)]
        widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
        for line in lines:
            whole = Text()
            for index, (cell, width) in enumerate(zip(line, widths, strict=True)):
                last = index == len(columns) - 1
                whole.append(cell).append("" if last else " " * (width - len(cell) + 2))
            click.echo(self._painted(whole).rstrip())

    def _painted(self, text: Text) -> str:
        return text.painted() if self._colour else str(text)


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value.replace("\n", " "))


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
