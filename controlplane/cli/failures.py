"""How a command ends when it does not end well: the exit codes, and an exception for each.

Most are one line on standard error; a bad document has one per problem.
"""

from __future__ import annotations

import click

FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_READY = 4
UNREACHABLE = 5
INTERRUPTED = 130
"""128 + SIGINT, as shells count."""
PIPE_CLOSED = 141
"""128 + SIGPIPE: the reader of our output went away, as `head` does."""

EXIT_CODES = """\b
Exit codes:
  0    done
  1    the answer is no: a sandbox failed, a request or a check did
  2    wrong usage or configuration; nothing was changed
  3    there is no such thing
  4    not ready in time
  5    the registry or the URL cannot be reached, or refuses us
  130  interrupted (Ctrl-C)"""
"""For the end of --help; click keeps the lines of a paragraph that begins with \\b."""


class CommandError(click.ClickException):
    """The command failed for a reason that the message tells.

    problems: one line each, the most important first.
    hint:     what to do about it, or "".
    """

    exit_code = FAILED

    def __init__(self, *problems: str, hint: str = "") -> None:
        super().__init__("\n".join(problems))
        self.hint = hint

    def format_message(self) -> str:
        first, *others = self.message.split("\n")
        return "\n".join([f"{first} ({self.hint})" if self.hint else first, *others])


class InvalidError(CommandError):
    """What was given cannot work."""

    exit_code = USAGE


class NotFoundError(CommandError):
    exit_code = NOT_FOUND


class NotReadyError(CommandError):
    exit_code = NOT_READY


class UnreachableError(CommandError):
    exit_code = UNREACHABLE
