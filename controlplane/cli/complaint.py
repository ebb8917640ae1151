"""An error on standard error: lines for people, or with `--output json` one problem document (RFC 9457) for programs.

    {"type": "urn:skycap:problem:not-found", "title": "There is no such thing", "code": "not-found",
     "detail": "...", "exitCode": 3}

The document of a registry that said no is passed on as it came, `status` included: everything else has none, because
no server has answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from controlplane.cli.failures import CommandError, InvalidError
from controlplane.terminal import dumps
from proxy.base.problems import ConfigurationError
from proxy.base.text import printable


def wants_json(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether `--output json` was asked for, read from the raw arguments: an error may come before they are parsed."""
    found = environ.get("SKYCAP_OUTPUT", "")
    rest = list(arguments)
    while rest and (argument := rest.pop(0)) != "--":
        if argument in ("-o", "--output"):
            found = rest.pop(0) if rest else ""
        elif argument.startswith("--output="):
            found = argument.partition("=")[2]
        elif argument.startswith("-o"):
            found = argument.removeprefix("-o")
    return found == "json"


class Complaint:
    """Where errors go. `json`: as one object."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def usage(self, error: click.UsageError) -> None:
        """Wrong usage; the command's own help says how it is right."""
        command = error.ctx.command_path if error.ctx else "skycap"
        hint = f"see {command} --help"
        said = error.format_message().rstrip(".")
        self._say([f"{said} ({hint})"], _problem("usage", "Wrong usage", said, hint), error.exit_code)

    def failure(self, error: click.ClickException) -> None:
        lines = error.format_message().splitlines()
        if isinstance(error, CommandError):
            document = error.document or _problem(error.code, error.title, error.message, error.hint)
        else:
            document = _problem(CommandError.code, CommandError.title, error.format_message())
        self._say(lines, document, error.exit_code)

    def configuration(self, error: ConfigurationError) -> None:
        problems = [{"path": "", "message": problem} for problem in error.problems]
        document = _problem(InvalidError.code, InvalidError.title, "; ".join(error.problems))
        self._say(error.problems, document | {"problems": problems}, InvalidError.exit_code)

    def machine(self, error: OSError) -> None:
        """The machine refuses: a full disk, a file that may not be read, a program that is not there."""
        where = f"{error.filename}: " if error.filename is not None else ""
        what = f"{where}{error.strerror or error}"
        self._say([what], _problem("machine", "The machine refuses", what), CommandError.exit_code)

    def defect(self, error: Exception) -> None:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = "SKYCAP_DEBUG=1 shows where"
        document = _problem("defect", "This is a defect of skycap", what, hint)
        self._say([f"this is a defect of skycap: {what} ({hint})"], document, CommandError.exit_code)

    def _say(self, lines: Sequence[str], document: Mapping[str, Any], code: int) -> None:
        if self.json:
            click.echo(dumps({**document, "exitCode": code}), err=True)
            return
        for line in lines:
            click.echo(f"skycap: {printable(line.strip())}", err=True)


def _problem(code: str, title: str, detail: str, hint: str = "") -> dict[str, Any]:
    document = {"type": f"urn:skycap:problem:{code}", "title": title, "code": code, "detail": detail}
    return document | ({"hint": hint} if hint else {})
