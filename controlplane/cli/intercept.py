"""`skycap intercept`: redirect this machine's connections to the sidecar, and stop doing so.

A machine is what has a network of its own: a host, a virtual machine, a pod, a network namespace.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

import click

from controlplane.cli.command import Command, Group
from controlplane.cli.failures import FAILED, CommandError
from controlplane.cli.output import Output, output_option
from controlplane.intercept import nft
from controlplane.intercept.nft import InterceptError
from controlplane.intercept.reading import read_direct_ports, read_networks, read_ports
from controlplane.intercept.ruleset import Interception, ruleset
from controlplane.terminal import Text
from proxy.contract.interception import INBOUND_PORT, OUTBOUND_PORT, SIDECAR_ID

_REFUSED = {FAILED: "nft is missing, or it or the kernel refuses; nothing was changed"}

_F = TypeVar("_F", bound=Callable[..., Any])


def _reading(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str], Any]:
    def callback(_context: click.Context, _parameter: click.Parameter, value: str) -> Any:
        try:
            return read(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


_PORTS: dict[str, Any] = {"metavar": "PORTS", "default": "", "show_default": False, "callback": _reading(read_ports)}
_NETWORKS: dict[str, Any] = _PORTS | {"metavar": "NETWORKS", "callback": _reading(read_networks)}
_PAIRS: dict[str, Any] = _PORTS | {"metavar": "PORT=PORT", "callback": _reading(read_direct_ports)}
_ID: dict[str, Any] = {"metavar": "ID", "type": click.IntRange(0, 2**32 - 2), "default": SIDECAR_ID}


def _port(default: int, low: int = 1) -> dict[str, Any]:
    return {"metavar": "PORT", "type": click.IntRange(low, 65535), "default": default}


_OPTIONS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("include-inbound-ports", _PORTS, "Redirect connections to these ports only, like 80,8000-8100."),
    ("exclude-inbound-ports", _PORTS, "Leave connections to these ports alone."),
    ("exclude-outbound-ports", _PORTS, "Leave calls to these ports alone."),
    ("exclude-outbound-cidrs", _NETWORKS, "Leave calls to these networks alone, like 10.0.0.0/8,fd00::/8."),
    (
        "direct-ports",
        _PAIRS,
        "Lead connections to a port to one of the application, past the sidecar, like 15080=8080.",
    ),
    ("admin-port", _port(9901, 0), "The sidecar's --admin port, which stays reachable; 0 for none."),
    ("proxy-uid", _ID, "The user that the sidecar runs as."),
    ("proxy-gid", _ID, "The group that the sidecar runs as."),
    ("transparent-inbound", _port(INBOUND_PORT), "The sidecar's --transparent-inbound."),
    ("transparent-outbound", _port(OUTBOUND_PORT), "The sidecar's --transparent-outbound."),
)


def _interception_options(command: _F) -> _F:
    """Give a command all that decides about the rules; it is called with them by name."""
    for name, settings, text in reversed(_OPTIONS):
        variable = "SKYCAP_" + name.upper().replace("-", "_")
        command = click.option(f"--{name}", envvar=variable, show_envvar=True, help=text, **settings)(command)
    return command


def _interception(given: dict[str, Any]) -> Interception:
    given["inbound_port"] = given.pop("transparent_inbound")
    given["outbound_port"] = given.pop("transparent_outbound")
    if given["inbound_port"] == given["outbound_port"]:
        raise click.UsageError(f"--transparent-inbound and --transparent-outbound are both {given['inbound_port']}")
    return Interception(**given)


def _document(options: Interception) -> dict[str, Any]:
    """The options as JSON, in the words of the command line."""

    def shown(value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        return [f"{item[0]}-{item[1]}" if isinstance(item, tuple) else str(item) for item in value]

    document = {_camel(field.name): shown(getattr(options, field.name)) for field in fields(options)}
    return document | {"directPorts": [f"{port}={application}" for port, application in options.direct_ports]}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


@contextmanager
def _told() -> Iterator[None]:
    """What nft or the kernel refuses is the command's failure."""
    try:
        yield
    except InterceptError as error:
        raise CommandError(str(error), hint=error.hint) from None


@click.group(cls=Group)
def intercept() -> None:
    """Redirect connections to `skycap proxy --transparent`.

    Nothing about the application changes: its clients and its calls meet the sidecar without knowing. All rules stand
    in one table of nftables, `inet skycap`. Needs root or CAP_NET_ADMIN.
    """


@intercept.command(cls=Command, exits=_REFUSED)
@_interception_options
@output_option
def install(output: Output, **given: Any) -> None:
    """Put the rules in force, all at once, in place of earlier ones.

    Start the sidecar first, as the user that --proxy-uid names: connections are refused while it does not run.

    \b
    skycap proxy --transparent --workload shop/users --registry URL
    skycap intercept install --exclude-inbound-ports 22
    """
    options = _interception(given)
    with _told():
        replaced = nft.install(options)
    document = {"installed": True, "replaced": replaced, "options": _document(options)}
    done = "replaced the interception" if replaced else "installed the interception"

    def show() -> None:
        output.say(f"{done}: inbound to port {options.inbound_port}, outbound to port {options.outbound_port}")

    output.result(document, show)


@intercept.command(cls=Command, exits=_REFUSED, hidden=True)
@_interception_options
@click.option("--seconds", type=click.FloatRange(min=1), required=True, metavar="N", help="Until it ends by itself.")
@click.argument("command", metavar="[COMMAND]...", nargs=-1, required=True, type=click.UNPROCESSED)
def hold(seconds: float, command: tuple[str, ...], **given: Any) -> None:
    """Run a sidecar, and redirect connections to it for as long as it runs: what `skycap attach` puts into a pod.

    COMMAND is `skycap proxy --transparent` with all but --token-file and --admin; the token is in SKYCAP_HELD_TOKEN.
    """
    from controlplane.intercept.held import hold as held
    from proxy.base.log import configure

    configure("info", "text")
    token = os.environ.get("SKYCAP_HELD_TOKEN", "")
    with _told():
        held(_interception(given), command, token, seconds)


@intercept.command(cls=Command, exits=_REFUSED)
@output_option
def remove(output: Output) -> None:
    """Take the rules out of force; nothing of them stays.

    New connections go where they want to. Those that are redirected now break.
    """
    with _told():
        removed = nft.remove()
    said = "removed the interception" if removed else "there was no interception"
    output.result({"removed": removed}, lambda: output.say(said))


@intercept.command(cls=Command)
@_interception_options
@output_option
def show(output: Output, **given: Any) -> None:
    """Print the rules that `install` would put in force, for `nft -f`."""
    options = _interception(given)
    text = ruleset(options)
    output.result({"ruleset": text, "options": _document(options)}, lambda: click.echo(text, nl=False))


@intercept.command(
    cls=Command, exits={0: "they are redirected", FAILED: "they are not, or that cannot be seen: it says why"}
)
@output_option
def verify(output: Output) -> None:
    """Check that connections really reach a sidecar."""
    from controlplane.intercept.verify import examine

    with _told():
        checks = examine()
    good = all(check.ok for check in checks)

    def render() -> None:
        for check in checks:
            line = Text("ok    " if check.ok else "WRONG ", style="green" if check.ok else "bold red")
            line.append(f"{check.subject}: {check.found}")
            if check.advice:
                line.append(f"; {check.advice}", style="yellow")
            output.say(line)

    output.result({"ok": good, "checks": [check.document() for check in checks]}, render)
    if not good:
        raise click.exceptions.Exit(FAILED)
