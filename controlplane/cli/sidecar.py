"""`skycap proxy`: become the sidecar.

The control plane does not import the sidecar: this process turns into `python -m proxy`, with the same arguments
and environment, so that signals and exit codes are the sidecar's own.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from controlplane.cli.failures import InvalidError


def _is_ours() -> bool:
    """Whether `python -m proxy` is the sidecar: another distribution may have put its files over ours."""
    package = find_spec("proxy")
    places = package.submodule_search_locations if package is not None else None
    try:
        return any("proxy.runtime" in Path(place, "__main__.py").read_text() for place in places or ())
    except OSError:
        return False


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def proxy(arguments: tuple[str, ...]) -> None:
    """Run a sidecar (skycap proxy --help tells its options)."""
    if not _is_ours():
        raise InvalidError(
            "the package `proxy` beside skycap is another one, such as that of proxy.py",
            hint="install skycap into an environment of its own: python -m venv .venv",
        )
    # -P: a folder named `proxy` where the person stands is not the sidecar.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "proxy", *arguments])  # noqa: S606 (no shell is wanted)
