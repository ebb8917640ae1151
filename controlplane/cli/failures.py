"""How a command ends when it does not end well: the exit codes, and an exception for each.

Most are one line on standard error; a bad document has one per problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_READY = 4
UNREACHABLE = 5
UNKNOWN_WORKLOAD = 6
INTERRUPTED = 130
"""128 + SIGINT, as shells count."""
PIPE_CLOSED = 141
"""128 + SIGPIPE: the reader of our output went away, as `head` does."""

MEANINGS = {
    0: "done",
    FAILED: "the answer is no, or something failed: a sandbox, a request, a check",
    USAGE: "wrong usage or configuration; nothing was done",
    NOT_FOUND: "there is no such thing",
    NOT_READY: "not ready in time",
    UNREACHABLE: "the registry or the URL cannot be reached, or refuses us",
    UNKNOWN_WORKLOAD: "it serves, but forks a workload that nobody knows",
    INTERRUPTED: "interrupted (Ctrl-C)",
    PIPE_CLOSED: "the reader of the output went away",
}
"""What a code means whichever command returns it."""

REGISTRY_EXITS = {
    FAILED: "the registry has a fault of its own",
    UNREACHABLE: "the registry cannot be reached, or refuses us",
    INTERRUPTED: MEANINGS[INTERRUPTED],
}
"""Of every command that asks a registry; the command adds its own."""


def exit_codes(title: str, meanings: Mapping[int, str]) -> str:
    """For the end of --help; click keeps the lines of a paragraph that begins with \\b."""
    return "\n".join(["\b", title, *(f"  {code:<4} {meanings[code]}" for code in sorted(meanings))])


class CommandError(click.ClickException):
    """The command failed for a reason that the message tells.

    problems: one line each, the most important first.
    hint:     what to do about it, or "".
    document: the problem document (RFC 9457) of the registry, when it is the one that said no.
    """

    exit_code = FAILED
    code = "failed"
    title = "The answer is no"

    def __init__(self, *problems: str, hint: str = "", document: Mapping[str, Any] | None = None) -> None:
        super().__init__("\n".join(problems))
        self.hint = hint
        self.document = document

    def format_message(self) -> str:
        first, *others = self.message.split("\n")
        return "\n".join([f"{first} ({self.hint})" if self.hint else first, *others])


class InvalidError(CommandError):
    """What was given cannot work."""

    exit_code = USAGE
    code = "invalid"
    title = "What was given cannot work"


class NotFoundError(CommandError):
    exit_code = NOT_FOUND
    code = "not-found"
    title = "There is no such thing"


class NotReadyError(CommandError):
    exit_code = NOT_READY
    code = "not-ready"
    title = "Not ready in time"


class UnreachableError(CommandError):
    exit_code = UNREACHABLE
    code = "unreachable"
    title = "It cannot be reached"


class UnknownWorkloadError(CommandError):
    exit_code = UNKNOWN_WORKLOAD
    code = "unknown-workload"
    title = "Nobody knows a workload that it forks"
