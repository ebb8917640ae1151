"""`skycap explain KEY WORKLOAD`: what becomes of a request, and why."""

from __future__ import annotations

from typing import Any, NamedTuple

import click

from controlplane.cli.candidates import routing_keys, workload_names
from controlplane.cli.command import Command
from controlplane.cli.failures import NOT_FOUND, REGISTRY_EXITS, NotFoundError
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options
from controlplane.terminal import Text
from proxy.base.text import printable

_STYLES = {"shadow": "bold magenta", "hold": "yellow", "error": "red", "baseline": ""}


class _Explanation(NamedTuple):
    """What is shown of an `Explanation` of the model; `document` is all of it."""

    document: dict[str, Any]
    decision: str
    reason: str
    known: bool
    known_workloads: list[str]
    in_force: bool
    sidecars: list[tuple[str, bool, bool]]
    stubs: list[str]


def _read(answer: Any) -> _Explanation:
    return _Explanation(
        answer,
        answer["decision"],
        answer["reason"],
        answer.get("known", True),
        list(answer.get("knownWorkloads", ())),
        answer["inForce"],
        [(item["id"], item["connected"], item["inSync"]) for item in answer.get("sidecars", ())],
        list(answer.get("stubs", ())),
    )


@click.command(cls=Command, exits=REGISTRY_EXITS | {NOT_FOUND: "the registry knows no such workload"})
@click.argument("key", shell_complete=routing_keys)
@click.argument("workload", shell_complete=workload_names, metavar="NAMESPACE/NAME")
@registry_options
@output_option
def explain(key: str, workload: str, registry: Registry, output: Output) -> None:
    """Say where a request with the routing key KEY goes when it reaches a workload, and why."""
    found = registry.get("explain", _read, {"key": key, "workload": workload})
    if not found.known:
        known = ", ".join(found.known_workloads)
        hint = f"known are: {known}" if known else "none is known: start an environment with `skycap up FILE`"
        raise NotFoundError(found.reason, hint=hint)
    output.result(found.document, lambda: _show(output, found))


def _show(output: Output, found: _Explanation) -> None:
    output.say(Text(found.decision, style=_STYLES.get(found.decision, "")).append(f": {found.reason}"))
    for stub in found.stubs:
        output.say(Text("before that, stub ", style="yellow").append(printable(stub)))
    if not found.sidecars:
        output.say("no sidecar of this workload is connected, so nothing is in force anywhere", "yellow")
        return
    if not found.in_force:
        output.say("not yet in force everywhere", "yellow")
    rows = [
        [name, "yes" if connected else "no", "in force" if in_sync else "behind"]
        for name, connected, in_sync in found.sidecars
    ]
    output.table(["sidecar", "connected", "decision"], rows)
