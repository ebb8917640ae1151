"""`skycap doctor`: is the environment whole, and what to do where it is not."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict

import click

from controlplane.asking.answer import NoAnswerError, send
from controlplane.asking.doctor import Check, clock, examine, lost_keys, ports, versions
from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, INTERRUPTED, MEANINGS, UnreachableError
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, refusal, registry_options
from controlplane.client import Client, RegistryError
from controlplane.terminal import Text
from proxy import __version__
from proxy.base.text import printable

LIVE_SECONDS = 5.0

MAX_QUESTIONS = 16
"""At once."""


@click.command(
    cls=Command,
    exits={0: "all is well", FAILED: "something is wrong, or no registry answers", INTERRUPTED: MEANINGS[INTERRUPTED]},
)
@registry_options
@output_option
def doctor(registry: Registry, output: Output) -> None:
    """Check that an environment is whole, and say what to do where it is not.

    Asks the registry, the sidecar and the application of every workload, the
    phase of every sandbox, and where its requests may have lost the key; looks
    for versions and clocks that are too far apart, and for addresses that two share.

    On a cluster it looks, as you, at the webhook and its certificate, at what the
    control plane may do, at workloads without a sidecar and why, and at Services
    that select a shadow.
    """
    checks = asyncio.run(_all(registry))
    good = all(check.ok for check in checks)

    def show() -> None:
        for check in checks:
            line = Text("ok    " if check.ok else "WRONG ", style="green" if check.ok else "bold red")
            line.append(printable(f"{check.subject}: {check.found}"))
            if check.advice:
                line.append(f"; {check.advice}", style="yellow")
            output.say(line)

    output.result({"ok": good, "checks": [asdict(check) for check in checks]}, show)
    if not good:
        raise click.exceptions.Exit(FAILED)


async def _all(registry: Registry) -> list[Check]:
    if registry.context is None:
        return await _checks(registry)
    from controlplane.kubernetes.client import Kubernetes
    from controlplane.kubernetes.credentials import find
    from controlplane.kubernetes.examination import examine_cluster

    kubernetes = Kubernetes(find(os.environ, registry.context, within=False))
    try:
        checks = await examine_cluster(kubernetes)
    finally:
        await kubernetes.close()
    try:
        return checks + await _checks(registry)
    except UnreachableError as error:
        return [*checks, Check(False, "registry", error.message.replace("\n", " "), error.hint)]


async def _checks(registry: Registry) -> list[Check]:
    """The registry itself, and what it knows. Without a registry there is but one check."""
    try:
        async with registry.client() as client:
            known = await asyncio.gather(client.workloads(), client.sidecars(), client.sandboxes())
            lost = await _lost(client, [sandbox.name for sandbox in known[2]])
            theirs = await client.version()
    except RegistryError as error:
        failure = refusal(error, registry.url)
        return [Check(False, "registry", failure.message.replace("\n", " "), failure.hint)]
    cluster = registry.context is not None  # whose addresses are not those of this machine
    return [
        Check(True, "registry", f"{registry.place} answers"),
        *versions(__version__, theirs, known[1]),
        *await _clock(registry.url),
        *(ports(known[0]) if not cluster else ()),
        *await examine([] if cluster else known[0], *known[1:], cluster=cluster),
        *lost,
    ]


async def _clock(url: str) -> list[Check]:
    try:
        answer = await send("GET", f"{url}/live", seconds=LIVE_SECONDS)
    except NoAnswerError:
        return []  # it has answered a moment ago, and its end is told by the rest
    told = [value for name, value in answer.headers if name.lower() == "date"]
    return clock(told[0], time.time()) if told else []


async def _lost(client: Client, names: list[str]) -> list[Check]:
    """Where the newest requests of each sandbox may have lost its key."""
    at_once = asyncio.Semaphore(MAX_QUESTIONS)

    async def ask(name: str) -> list[Check]:
        async with at_once:
            try:
                return lost_keys(name, (await client.feedback(name)).lost_keys)
            except RegistryError as error:
                if error.status == 0:
                    raise
                return []  # it is gone by now, or this registry keeps no requests

    return [check for checks in await asyncio.gather(*map(ask, names)) for check in checks]
