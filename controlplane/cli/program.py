"""`skycap`: the commands and how each of them ends.

A command is imported when it is called, so that `skycap version` does not wait for an HTTP client. Whatever goes
wrong ends as one line or one JSON object on standard error, and with one of the exit codes; a traceback is for who
asks for it with SKYCAP_DEBUG=1.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from controlplane.cli.command import Group
from controlplane.cli.complaint import Complaint, wants_json
from controlplane.cli.failures import FAILED, INTERRUPTED, MEANINGS, PIPE_CLOSED, USAGE, exit_codes
from proxy.base.problems import ConfigurationError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "demo": ("controlplane.demo.command:demo", "See it work: a shop, two sandboxes, one broken contract."),
    "up": ("controlplane.local.command:up", "Run an environment on this machine."),
    "down": ("controlplane.local.everyday:down", "Stop an environment."),
    "restart": ("controlplane.local.everyday:restart", "Start one service of an environment anew."),
    "logs": ("controlplane.local.everyday:logs", "Show what a service of an environment wrote."),
    "sandbox": ("controlplane.cli.sandbox:sandbox", "Create, look at and remove sandboxes."),
    "group": ("controlplane.cli.group:group", "Try the changes of several sandboxes together."),
    "request": ("controlplane.cli.request:request", "Send a request with a routing key; see who served it."),
    "run": ("controlplane.cli.run:run", "Run a command whose requests carry a routing key."),
    "workloads": ("controlplane.cli.workloads:workloads", "List what can be forked, and who does."),
    "trace": ("controlplane.cli.traffic:trace", "Show what a request led to, as a tree."),
    "page": ("controlplane.cli.page:page", "Show the environment in a browser."),
    "explain": ("controlplane.cli.explain:explain", "Say where a request with a key goes, and why."),
    "explain-file": ("controlplane.cli.explain_file:explain_file", "Say which fields a file may have."),
    "doctor": ("controlplane.cli.doctor:doctor", "Check that an environment is whole."),
    "mcp": ("controlplane.mcp.command:mcp", "Serve the tools of an agent (Model Context Protocol)."),
    "controlplane": ("controlplane.__main__:command", "Run the registry, which owns the sandboxes."),
    "proxy": ("controlplane.cli.sidecar:proxy", "Run a sidecar."),
    "gateway": ("controlplane.cli.sidecar:gateway", "Serve preview links."),
    "intercept": ("controlplane.cli.intercept:intercept", "Redirect connections to a sidecar."),
    "inject": ("controlplane.cli.inject:inject", "Put a sidecar into the pods of Kubernetes manifests."),
    "attach": ("controlplane.cli.attach:attach", "Give pods that run a sidecar, without a restart."),
    "detach": ("controlplane.cli.attach:detach", "Take it away again."),
    "completion": ("controlplane.cli.completion:completion", "Let a shell complete commands and names."),
    "version": ("controlplane.cli.version:version", "Say which version this is."),
}
"""Name -> MODULE:ATTRIBUTE and what it is for in a few words, in the order of `skycap --help`."""


class LazyGroup(Group):
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

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, none of which is imported for it; options as ever."""
        from click.shell_completion import CompletionItem  # only a shell that completes waits for it

        if incomplete.startswith("-"):
            return super().shell_complete(context, incomplete)
        found = ((name, purpose) for name, (_, purpose) in COMMANDS.items() if name.startswith(incomplete))
        return [CompletionItem(name, help=purpose) for name, purpose in found]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        place, purpose = COMMANDS[name]
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        command.short_help = purpose
        return command


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from controlplane.cli.output import Output
        from controlplane.cli.version import say

        say(Output(os.environ.get("SKYCAP_OUTPUT", "text")))
        context.exit()


@click.group(
    cls=LazyGroup,
    epilog=exit_codes("Exit codes, of which each command has its own in its --help:", MEANINGS),
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SKYCAP", "show_default": True},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, allow_from_autoenv=False,
    show_default=False, help="Say which version this is.",
)  # fmt: skip
def skycap() -> None:
    """Try a change of one service inside the environment that everybody shares.

    A sandbox replaces a service for the requests that carry its routing key, and for no other.

    Every option can be given as an environment variable instead: the one that help shows as [env var], else
    SKYCAP_COMMAND_OPTION, as SKYCAP_REQUEST_TIMEOUT for skycap request --timeout.
    """


def kubectl() -> None:
    """`kubectl skycap`: the same program, which looks into the cluster of the kubeconfig."""
    os.environ.setdefault("SKYCAP_REGISTRY", "kubernetes")
    main()


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
    given = sys.argv[1:] if arguments is None else arguments
    complaint = Complaint(json=wants_json(given, os.environ))
    try:
        code = skycap.main(given, prog_name="skycap", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        if complaint.json:
            complaint.usage(click.UsageError("a command is missing", error.ctx))
        else:
            click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        complaint.usage(error)
        return error.exit_code
    except click.ClickException as error:
        complaint.failure(error)
        return error.exit_code
    except ConfigurationError as error:
        complaint.configuration(error)
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except OSError as error:
        if os.environ.get("SKYCAP_DEBUG"):
            sys.excepthook(type(error), error, error.__traceback__)
        complaint.machine(error)
        return FAILED
    except Exception as error:  # noqa: BLE001 (the last line before a traceback on a person's terminal)
        if os.environ.get("SKYCAP_DEBUG"):
            sys.excepthook(type(error), error, error.__traceback__)
        complaint.defect(error)
        return FAILED
