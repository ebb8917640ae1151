"""`skycap completion`: what a shell is told so that it completes the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from controlplane.cli.command import Command

SHELLS = {
    "bash": 'eval "$(skycap completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(skycap completion zsh)"  # in ~/.zshrc, behind compinit',
    "fish": "skycap completion fish | source  # in ~/.config/fish/config.fish",
}
"""Shell -> the line that switches it on, and where it belongs."""

VARIABLE = "_SKYCAP_COMPLETE"
"""By which a shell asks the program for what could stand next."""

_HELP = "\n\n".join(
    ["\b\n" + "\n".join(SHELLS.values()), "Names of sandboxes, routing keys and workloads are asked of the registry."]
)


@click.command(
    cls=Command,
    help=f"Print what makes a shell complete commands, options and names.\n\n{_HELP}",
    exits={0: "printed"},
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "skycap", VARIABLE).source())
