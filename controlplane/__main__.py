"""The registry as a process: `skycap controlplane`, or this file by its path."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

if not __package__:  # by its path (`proxy.base.programs`)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from controlplane.settings import DEFAULT_LISTEN, DEFAULT_TTL, settings_from
from proxy.base.log import LEVELS
from proxy.base.problems import ConfigurationError

FLAG_PROBLEM = 2
"""Exit code for a configuration that cannot work."""


def _flag(name: str, text: str, **more: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option with its environment variable."""
    variable = "SKYCAP_" + name.strip("-").replace("-", "_").upper()
    return click.option(name, envvar=variable, show_envvar=True, help=text, **more)


EPILOG = """\b
Exit codes:
  0    stopped as asked: Ctrl-C or SIGTERM
  2    not started: a bad option, a busy port, a store that cannot be used"""


@click.command("controlplane", epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@_flag("--listen", f"Where the API answers; port 0: a free one.  [default: {DEFAULT_LISTEN}]", metavar="HOST:PORT")
@_flag("--store", "SQLite file with the state.  [default: ~/.local/state/skycap/registry.db]", metavar="FILE")
@_flag("--memory", "Keep the state in memory and forget it at the end.", is_flag=True)
@_flag("--token-file", "Holds the token that allows everything. Needed unless it listens on loopback.", metavar="FILE")
@_flag("--viewer-token-file", "Holds the token that allows to read. By default one is made.", metavar="FILE")
@_flag("--sidecar-token-file", "Holds the token of sidecars. By default one is made.", metavar="FILE")
@_flag("--default-ttl", f"Life of a sandbox that names none.  [default: {DEFAULT_TTL}]", metavar="TTL")
@_flag("--state-dir", "For the output of shadows.  [default: ~/.local/state/skycap/shadows]", metavar="FOLDER")
@_flag("--endpoint-networks", "Where static endpoints may be.  [default: anywhere but link-local]", metavar="CIDR,...")
@_flag("--keep-shadows", "Leave shadows running at the end, for the next registry to adopt.", is_flag=True)
@_flag("--hops", "Where requests are remembered: memory, or redis://HOST:PORT.  [default: memory]", metavar="URL")
@_flag("--gateway", "Where browsers reach `skycap gateway`, for preview links.", metavar="URL")
@_flag("--ended-keys", "error or baseline: for the key of a sandbox that ended.  [default: error]", metavar="POLICY")
@_flag("--max-sandboxes", "So many, of all owners together.  [default: 100000]", metavar="N")
@_flag("--max-sandboxes-per-owner", "So many of each; a sandbox then needs an owner.  [default: no limit]", metavar="N")
@_flag(
    "--engine",
    "Where sandboxes live: local, this machine, or kubernetes.  [default: local]",
    type=click.Choice(["local", "kubernetes"]),
)
@_flag(
    "--webhook-listen", "kubernetes: answers the API server about new pods, which get sidecars.", metavar="HOST:PORT"
)
@_flag(
    "--webhook-certificate",
    "kubernetes: own, or given: somebody else keeps it in the Secret skycap-webhook.  [default: own]",
    type=click.Choice(["own", "given"]),
)
@_flag("--metrics-listen", "kubernetes: for Prometheus, without a token: counts only.", metavar="HOST:PORT")
@_flag("--sidecar-image", "kubernetes: of the sidecars.  [default: that of our own pod]", metavar="IMAGE")
@_flag("--sidecar-pull-policy", "kubernetes: of that image.", type=click.Choice(["Always", "IfNotPresent", "Never"]))
@_flag(
    "--sidecar-registry",
    "kubernetes: where sidecars reach us.  [default: http://skycap.NAMESPACE.svc:7070]",
    metavar="URL",
)
@_flag("--shadow-namespaces", "kubernetes: where shadows may be.  [default: everywhere]", metavar="NAME,...")
@_flag("--shadow-memory", "So much for the processes of each shadow, as 512m.  [default: no limit]", metavar="SIZE")
@_flag("--shadow-cpus", "So many processors for each shadow, as 0.5.  [default: no limit]", metavar="N")
@_flag("--log-level", f"{', '.join(LEVELS[:-1])} or {LEVELS[-1]}.  [default: info]", metavar="LEVEL")
@_flag("--log-format", "text, or json: one object per line.  [default: text]", metavar="FORMAT")
def command(**given: Any) -> None:
    """Run the registry: it owns the sandboxes, starts their shadows and tells every sidecar its routes.

    It runs until Ctrl-C or SIGTERM. Standard output says where it listens; everything else goes to standard error as
    a log, whose form --log-format chooses.
    """
    from controlplane.runtime import run

    try:
        run(settings_from(given, os.environ), os.environ, _listening)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(f"skycap controlplane: {problem}", err=True)
        raise SystemExit(FLAG_PROBLEM) from None


def _listening(url: str) -> None:
    click.echo(f"skycap controlplane listens on {url}")


if __name__ == "__main__":
    command(prog_name="skycap controlplane")
