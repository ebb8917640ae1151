"""`skycap run --key K -- COMMAND`: a command whose requests go into a sandbox."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess

import click

from controlplane.asking.expected import Expected
from controlplane.asking.forwarder import Forwarder
from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, NOT_FOUND, CommandError, InvalidError, NotFoundError
from controlplane.cli.options import checked_key, expectations
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from controlplane.rest import DEFAULT_URL
from proxy.base.text import counted

_PROXY = ("HTTP_PROXY", "http_proxy")
_NO_PROXY = ("NO_PROXY", "no_proxy")


@click.command(
    cls=Command,
    exits={
        0: "the command ended with 0 and what was expected served",
        FAILED: "an expected shadow did not serve; any other code is the command's",
        NOT_FOUND: "there is no such command",
    },
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--key", required=True, metavar="KEY", callback=checked_key, help="The routing key of its requests.")
@click.option(
    "--expect",
    "expected",
    multiple=True,
    metavar="WORKLOAD[@REV]",
    callback=expectations,
    help="Fail unless a shadow of it served, of this revision; may be repeated.",
)
@registry_options
@output_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND")
def run(key: str, expected: list[Expected], registry: Registry, output: Output, command: tuple[str, ...]) -> None:
    """Run COMMAND so that its HTTP requests carry the routing key KEY.

    \b
    skycap run --key agent-42 --expect shop/users -- pytest tests/

    It is told a forward proxy in HTTP_PROXY, which adds the key, and the key itself in SKYCAP_ROUTING_KEY. Requests by
    HTTPS carry no key. At the end standard error says who served them, and the registry keeps the outcome for the
    sandbox's report, where there is one.
    """
    with Forwarder(key) as forwarder:
        code = _ended(command, forwarder.url, key)
    lines = told(forwarder, key)
    for line in lines:
        output.remark(line)
    unmet = [missing for each in expected if (missing := each.unmet(forwarder.hops))]
    if unmet and not forwarder.counts["requests"]:
        unmet = ["no request came through the proxy: does the command heed HTTP_PROXY?"]
    ended = f"it ended with exit code {code}" if code else unmet[0] if unmet else "it ended well"
    detail = "\n".join([*unmet, *lines])
    outcome = {
        "title": shlex.join(command)[:500], "passed": not code and not unmet,
        "sentence": f"{ended}; {lines[0]}"[:1000], "detail": detail[:8000],
    }  # fmt: skip
    _keep(registry, key, outcome, output)
    if code:
        raise click.exceptions.Exit(code)
    if unmet:
        raise CommandError(*unmet)


def _keep(registry: Registry, key: str, outcome: dict[str, object], output: Output) -> None:
    """Tell the registry how it ended. The routes may come from a file: then there is nobody to tell."""
    try:
        every = registry.get("sandboxes", lambda answer: list(answer["items"]))
        name = next(one["metadata"]["name"] for one in every if one["spec"].get("routingKey") == key)
        registry.post(f"sandboxes/{segment(name)}/evidence", outcome, lambda answer: answer["title"])
    except (StopIteration, KeyError):
        return
    except CommandError as error:
        if registry.url != DEFAULT_URL:
            output.remark(f"the outcome is not in the sandbox's report: {error}")


def _ended(command: tuple[str, ...], proxy: str, key: str) -> int:
    """The exit code of the command, as a shell counts it."""
    environ = dict(os.environ) | dict.fromkeys(_PROXY, proxy) | dict.fromkeys(_NO_PROXY, "")
    environ |= {"SKYCAP_ROUTING_KEY": key, "NODE_USE_ENV_PROXY": "1"}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's: it ends, and then so do we
    try:
        process = subprocess.Popen(command, env=environ, preexec_fn=_hears_ctrl_c)  # noqa: S603, PLW1509
        code = process.wait()
    except FileNotFoundError:
        raise NotFoundError(f"there is no program {command[0]!r}") from None
    except (OSError, ValueError) as error:
        raise InvalidError(f"{command[0]!r} cannot be run: {getattr(error, 'strerror', None) or error}") from None
    finally:
        signal.signal(signal.SIGINT, before)
    return 128 - code if code < 0 else code


def _hears_ctrl_c() -> None:
    """An ignored signal stays so in what is started."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def told(forwarder: Forwarder, key: str) -> list[str]:
    """Who served, one line per copy, and what could not be seen."""
    counts = forwarder.counts
    lines = [f"{counted(counts['requests'], 'request')} with the key {key}"]
    for hop, count in sorted(forwarder.hops.items(), key=str):
        lines.append(f"  {hop.workload}: {hop} ({count})")
    if counts["requests"] and not forwarder.hops:
        lines.append("  nothing says who served them: they did not come to a sidecar")
    if counts["tunnels"]:
        lines.append(f"  {counts['tunnels']} connections were TLS, whose requests carry no key")
    return lines
