"""`skycap proxy` and `skycap gateway`: become the sidecar, or the same program in the gateway's role.

The control plane does not import the sidecar: this process turns into `python -m proxy`, with the same arguments
and environment, so that signals and exit codes are the sidecar's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click

from controlplane.cli.command import Command
from controlplane.cli.failures import InvalidError
from controlplane.rest import DEFAULT_URL


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
    _become(arguments)


@click.command(
    cls=Command,
    exits={0: "stopped as asked: Ctrl-C or SIGTERM", 1: "a failure", 2: "not started: a bad option, or a busy port"},
    context_settings={"ignore_unknown_options": True},
)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:7080", help="Where browsers reach it.")
@click.option("--domain", metavar="NAME", default="localhost", help="Below which the hosts of preview links are.")
@click.option("--registry", metavar="URL", default=DEFAULT_URL, envvar="SKYCAP_REGISTRY", help="Which has the links.")
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
def gateway(listen: str, domain: str, registry: str, arguments: tuple[str, ...]) -> None:
    """Serve preview links: who has one is carried into its sandbox.

    The registry has to be told where browsers reach it: `skycap controlplane --gateway http://localhost:7080`. `skycap
    up` does both. Other options are those of `skycap proxy`: --token-file, --admin, --log-format and so on.
    """
    from proxy.contract.previews import GATEWAY  # here, since another package may stand in the place of ours

    own = ("--workload", GATEWAY, "--gateway", listen, "--gateway-domain", domain, "--registry", registry)
    _become((*own, *arguments))


def _become(arguments: Sequence[str]) -> NoReturn:
    if not _is_ours():
        raise InvalidError(
            "the package `proxy` beside skycap is another one, such as that of proxy.py",
            hint="install skycap into an environment of its own: python -m venv .venv",
        )
    # -P: a folder named `proxy` where the person stands is not the sidecar.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "proxy", *arguments])  # noqa: S606 (no shell is wanted)
