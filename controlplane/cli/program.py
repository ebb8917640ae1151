"""`skycap`: the commands and how each of them ends.

A command is imported when it is called, so that `skycap version` does not wait for an HTTP client. Whatever goes
wrong ends as one line on standard error and one of the exit codes below; a traceback is for who asks for it with
SKYCAP_DEBUG=1.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from controlplane.cli.failures import EXIT_CODES, FAILED, INTERRUPTED, PIPE_CLOSED, USAGE
from controlplane.cli.output import printable
from proxy.errors import ConfigurationError

COMMANDS = {
    "demo": ("controlplane.demo.command:demo", "See it work: a shop, two sandboxes, one broken contract."),
    "up": ("controlplane.local.command:up", "Run an environment on this machine."),
    "sandbox": ("controlplane.cli.sandbox:sandbox", "Create, look at and remove sandboxes."),
    "request": ("controlplane.cli.request:request", "Send a request with a routing key; see who served it."),
    "explain": ("controlplane.cli.explain:explain", "Say where a request with a key goes, and why."),
    "doctor": ("controlplane.cli.doctor:doctor", "Check that an environment is whole."),
    "controlplane": ("controlplane.__main__:command", "Run the registry, which owns the sandboxes."),
    "proxy": ("controlplane.cli.sidecar:proxy", "Run a sidecar."),
    "intercept": ("controlplane.cli.intercept:intercept", "Redirect connections to a sidecar."),
    "version": ("controlplane.cli.version:version", "Say which version this is."),
}
"""Name -> MODULE:ATTRIBUTE and what it is for in a few words, in the order of `skycap --help`."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed.

    A broken pipe gets its exit code here: click's `main` would make it a plain failure.
    """

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            raise click.exceptions.Exit(PIPE_CLOSED) from None

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise click.exceptions.Exit(PIPE_CLOSED) from None

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        place, purpose = COMMANDS[name]
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        command.short_help = purpose
        command.epilog = command.epilog or EXIT_CODES
        return command


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SKYCAP", "show_default": True},
)
def skycap() -> None:
    """Try a change of one service inside the environment that everybody shares.

    A sandbox replaces a service for the requests that carry its routing key, and for no other.

    Where help shows an [env var], it does the same as the option: SKYCAP_REGISTRY for --registry.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `skycap` and exit. Never raises anything but SystemExit."""
    code = _run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or PIPE_CLOSED
    if code == PIPE_CLOSED:
        # What is still buffered has no reader: the interpreter would fail to flush it once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = skycap.main(arguments, prog_name="skycap", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "skycap"
        _complain([f"{error.format_message().rstrip('.')} (see {command} --help)"])
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message().splitlines())
        return error.exit_code
    except ConfigurationError as error:
        _complain(error.problems)
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except Exception as error:  # noqa: BLE001 (the last line before a traceback on a person's terminal)
        if os.environ.get("SKYCAP_DEBUG"):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _complain([f"this is a defect of skycap: {what} (SKYCAP_DEBUG=1 shows where)"])
        return FAILED


def _complain(problems: Sequence[str]) -> None:
    for problem in problems:
        click.echo(f"skycap: {printable(problem.strip())}", err=True)
