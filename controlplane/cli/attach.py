"""`skycap attach` and `skycap detach`: a sidecar for pods that run, without a restart, and without it again."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, INTERRUPTED, MEANINGS, UNREACHABLE, UnreachableError
from controlplane.cli.output import Output, output_option
from controlplane.terminal import Text
from proxy.base.problems import ConfigurationError
from proxy.contract.names import WORKLOAD

if TYPE_CHECKING:
    from controlplane.kubernetes.attached import Outcome, Workload

MIN_HOURS, MAX_HOURS = 0.25, 24.0

_EXITS = {
    0: "every pod that runs has it, or has it no more",
    FAILED: "one of them has not; it says why",
    UNREACHABLE: "the cluster cannot be reached, or refuses you",
    INTERRUPTED: MEANINGS[INTERRUPTED],
}


def _workload(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not WORKLOAD.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not NAMESPACE/NAME")
    return value


_context_option = click.option(
    "--context", default="", metavar="NAME", help="Of the kubeconfig.  [default: its current one]", show_default=False
)


@click.command(cls=Command, exits=_EXITS)
@click.argument("workload", metavar="NAMESPACE/NAME", callback=_workload)
@click.option(
    "--hours", type=click.FloatRange(MIN_HOURS, MAX_HOURS), default=8.0, metavar="N", help="How long, at most."
)
@_context_option
@output_option
def attach(workload: str, hours: float, context: str, output: Output) -> None:
    """Give the pods of a workload that run now a sidecar, without a restart.

    For a look at a workload of which no pod may be restarted: an ephemeral
    container holds sidecar and rules, as root with NET_ADMIN for as long as it
    stays. What injection does better: pods that are made later have none,
    connections that are open stay past it, probes that only connect meet the
    sidecar instead of the application, nobody limits its memory, and its token
    stands in the pod, for whoever may read that. It ends after --hours, or by
    `skycap detach`.
    """
    from controlplane.kubernetes.attached import connecting_probes

    async def work(found: Workload) -> tuple[list[Outcome], list[str]]:
        outcomes = await found.attach(int(hours * 3600))
        return outcomes, connecting_probes(await found.pods())

    outcomes, probes = _run(workload, context, work)
    _tell(workload, outcomes, output)
    if probes:
        output.remark(f"probes of {', '.join(probes)} only connect: they are told that all is well while it stays")
    if not all(one.ok for one in outcomes):
        raise click.exceptions.Exit(FAILED)
    output.remark("pods that are made from now on have none; connections that are open stay past it")


@click.command(cls=Command, exits=_EXITS)
@click.argument("workload", metavar="NAMESPACE/NAME", callback=_workload)
@_context_option
@output_option
def detach(workload: str, context: str, output: Output) -> None:
    """End the sidecars that `skycap attach` has given to a workload.

    Rules and sidecar go, connections through it break; the cluster goes on
    listing the container as ended for as long as the pod lives.
    """

    async def work(found: Workload) -> tuple[list[Outcome], list[str]]:
        return await found.detach(), []

    outcomes, _ = _run(workload, context, work)
    _tell(workload, outcomes, output)
    if not all(one.ok for one in outcomes):
        raise click.exceptions.Exit(FAILED)


def _tell(workload: str, outcomes: list[Outcome], output: Output) -> None:
    def show() -> None:
        if not outcomes:
            output.say(f"{workload} has no pod of that kind")
        for one in outcomes:
            output.say(
                Text("ok    " if one.ok else "WRONG ", "green" if one.ok else "bold red").append(
                    f"{one.pod}: {one.said}"
                )
            )

    output.result({"items": [asdict(one) for one in outcomes]}, show)


def _run(workload: str, context: str, work: object) -> tuple[list[Outcome], list[str]]:
    from controlplane.kubernetes.attached import Workload
    from controlplane.kubernetes.client import Kubernetes, KubernetesError
    from controlplane.kubernetes.credentials import find

    assert callable(work)

    async def main() -> tuple[list[Outcome], list[str]]:
        kubernetes = Kubernetes(find(os.environ, context, within=False))
        try:
            found: tuple[list[Outcome], list[str]] = await work(Workload(kubernetes, workload))
            return found
        finally:
            await kubernetes.close()

    try:
        return asyncio.run(main())
    except KubernetesError as error:
        raise UnreachableError(str(error)) from None
    except ConfigurationError as error:
        raise UnreachableError(*error.problems) from None
