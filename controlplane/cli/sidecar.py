"""`skycap proxy` and `skycap gateway`: become the sidecar, or the same program in the gateway's role.

The control plane does not import the sidecar: this process turns into that one, with the same arguments and
environment, so that signals and exit codes are the sidecar's own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

import click

from controlplane.cli.command import Command
from controlplane.rest import DEFAULT_URL
from proxy.base.programs import program
from proxy.contract.previews import GATEWAY


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
    own = ("--workload", GATEWAY, "--gateway", listen, "--gateway-domain", domain, "--registry", registry)
    _become((*own, *arguments))


def _become(arguments: Sequence[str]) -> NoReturn:
    command = (*program("proxy"), *arguments)
    os.execv(command[0], command)  # noqa: S606 (no shell is wanted)
