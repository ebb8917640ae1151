"""`skycap workloads`: what can be forked, and who does."""

from __future__ import annotations

import shlex
from typing import Any, NamedTuple

import click

from controlplane.cli.command import Command
from controlplane.cli.failures import REGISTRY_EXITS
from controlplane.cli.output import Output, Row, output_option
from controlplane.cli.registry import Registry, registry_options
from controlplane.terminal import Text
from proxy.base.text import one_line, printable


class _Service(NamedTuple):
    """One line. sidecars: connected ones. forks: the sandboxes."""

    document: dict[str, Any]
    workload: str
    forkable: bool
    sidecars: int
    address: str
    program: str
    forks: str


@click.command(cls=Command, exits=REGISTRY_EXITS)
@registry_options
@output_option
def workloads(registry: Registry, output: Output) -> None:
    """List what can be forked, whether a sidecar stands beside it, and which sandboxes fork it now.

    On a machine these are the services of the environment, in a cluster its
    Deployments, StatefulSets and DaemonSets. A workload without a sidecar can be
    forked, but no request finds the fork.
    """
    found = registry.get("map", lambda answer: list(map(_read, answer["services"])))

    def show() -> None:
        if not found:
            output.say("there are no workloads")
            return
        columns = ["workload", "sidecars", "address", "program", "forked by"]
        rows: list[Row] = [
            [each.workload, _sidecars(each), each.address, one_line(printable(each.program)), each.forks]
            for each in found
        ]
        told = [index for index in range(len(columns)) if index < 2 or any(str(row[index]) for row in rows)]
        output.table([columns[index] for index in told], [[row[index] for index in told] for row in rows])
        for each in found:
            if not each.forkable:
                output.remark(f"{each.workload}: is named, but there is nothing of it here that could be forked")

    output.result({"items": [each.document for each in found]}, show)


def _sidecars(service: _Service) -> Text:
    return Text(str(service.sidecars), "" if service.sidecars else "bold yellow")


def _read(item: dict[str, Any]) -> _Service:
    forks = ", ".join(fork["sandbox"] for fork in item.get("forks") or ())
    program = shlex.join(item.get("program") or ())
    return _Service(
        item, item["workload"], bool(item.get("baseline")), int(item.get("sidecars") or 0), item.get("address") or "",
        program, forks,
    )  # fmt: skip
