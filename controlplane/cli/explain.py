"""`skycap explain KEY WORKLOAD`: what becomes of a request, and why."""

from __future__ import annotations

import click
from rich.text import Text

from controlplane.cli.command import Command
from controlplane.cli.failures import NOT_FOUND, REGISTRY_EXITS, NotFoundError
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options
from controlplane.model.explanation import Decision, Explanation

_STYLES = {Decision.SHADOW: "bold magenta", Decision.HOLD: "yellow", Decision.ERROR: "red", Decision.BASELINE: ""}


@click.command(cls=Command, exits=REGISTRY_EXITS | {NOT_FOUND: "the registry knows no such workload"})
@click.argument("key")
@click.argument("workload", metavar="NAMESPACE/NAME")
@registry_options
@output_option
def explain(key: str, workload: str, registry: Registry, output: Output) -> None:
    """Say where a request with the routing key KEY goes when it reaches a workload, and why."""
    found = registry.ask(lambda client: client.explain(key, workload))
    if not found.known:
        known = ", ".join(found.known_workloads)
        hint = f"known are: {known}" if known else "none is known: start an environment with `skycap up FILE`"
        raise NotFoundError(found.reason, hint=hint)
    output.result(found.model_dump(mode="json", by_alias=True), lambda: _show(output, found))


def _show(output: Output, found: Explanation) -> None:
    output.say(Text(found.decision.value, style=_STYLES[found.decision]).append(f": {found.reason}", style="default"))
    if not found.sidecars:
        output.say("no sidecar of this workload is connected, so nothing is in force anywhere", "yellow")
        return
    if not found.in_force:
        output.say("not yet in force everywhere", "yellow")
    rows = [
        [sidecar.id, "yes" if sidecar.connected else "no", "in force" if sidecar.in_sync else "behind"]
        for sidecar in found.sidecars
    ]
    output.table(["sidecar", "connected", "decision"], rows)
