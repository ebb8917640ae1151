"""`skycap proxy`: become the sidecar.

The control plane does not import the sidecar: this process turns into `python -m proxy`, with the same arguments
and environment, so that signals and exit codes are the sidecar's own.
"""

from __future__ import annotations

import os
import sys

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def proxy(arguments: tuple[str, ...]) -> None:
    """Run a sidecar (skycap proxy --help tells its options)."""
    # -P: a folder named `proxy` where the person stands is not the sidecar.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "proxy", *arguments])  # noqa: S606 (no shell is wanted)
