"""`skycap sandbox traffic` and `skycap trace`: requests as the sidecars saw them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from controlplane.asking.calls import Call, Placed, calls, drawn
from controlplane.cli.candidates import sandbox_names, workload_names
from controlplane.cli.command import Command
from controlplane.cli.failures import NOT_FOUND, REGISTRY_EXITS, CommandError, NotFoundError
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, refusal, registry_options, segment
from controlplane.terminal import Text, dumps
from proxy.base.text import one_line
from proxy.contract.hops import Hop, HopError, hop_document, read_hop

TOLD_SECONDS = 0.9
LOOK_SECONDS = 0.15
"""For the hops of a request to be told, and between two looks: sidecars tell within 0.1 s."""

SHOWN_PATH = 60
"""Characters of a path in a table."""


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    """With the options of traffic, whoseever it is."""
    options = (
        click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C or its end."),
        click.option(
            "--workload", metavar="NAMESPACE/NAME", shell_complete=workload_names, help="Only at this workload."
        ),
        click.option("--side", type=click.Choice(["inbound", "outbound"]), help="Only on this side."),
        click.option("--method", metavar="METHOD", help="Only with this method."),
        click.option("--path", metavar="PREFIX", help="Only paths that begin so."),
        click.option("--status", metavar="404|5xx", help="Only with this status, or of this class; 000 is no answer."),
        click.option("--trace", metavar="ID", help="Only of this trace."),
        click.option("--failed", is_flag=True, help="Only without a good answer."),
        click.option("--since", metavar="10m", help="Only the last so many s, m or h."),
        click.option("--limit", metavar="COUNT", default=20, type=click.IntRange(1, 1000), help="At most so many."),
        registry_options,
        output_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(cls=Command, exits=REGISTRY_EXITS | {NOT_FOUND: "there is no sandbox of that name"})
@click.argument("name", shell_complete=sandbox_names)
@_filtered
def traffic(name: str, **given: Any) -> None:
    """Show its requests as the sidecars saw them.

    The newest stand last. `skycap trace ID` shows what one of them led to.
    """
    _show_traffic(_Whose("sandbox", name), **given)


@click.command("traffic", cls=Command, exits=REGISTRY_EXITS | {NOT_FOUND: "there is no route group of that name"})
@click.argument("name")
@_filtered
def traffic_of_group(name: str, **given: Any) -> None:
    """Show the requests with its key as the sidecars saw them.

    The newest stand last. `skycap trace ID` shows what one of them led to.
    """
    _show_traffic(_Whose("group", name), **given)


class _Whose(NamedTuple):
    """kind: sandbox or group."""

    kind: str
    name: str

    @property
    def path(self) -> str:
        return f"{'groups' if self.kind == 'group' else 'sandboxes'}/{segment(self.name)}/traffic"


def _show_traffic(
    whose: _Whose, *, follow: bool, failed: bool, limit: int, registry: Registry, output: Output, **given: str | None
) -> None:
    """given: the other filters, by the names of their parameters."""
    filters = {parameter: value for parameter, value in given.items() if value} | ({"failed": "true"} if failed else {})
    seen = _newest(registry, whose, filters, limit)
    if not follow:
        items = [{"position": position, **hop_document(hop)} for position, hop in seen]
        output.result({"items": items}, lambda: _table(output, [hop for _, hop in seen]))
        return
    for _, hop in seen:
        _one(output, hop)
    _follow(registry, output, whose, filters, seen[-1].position if seen else None)


class _Seen(NamedTuple):
    position: int
    hop: Hop


def _page(answer: Any) -> tuple[list[_Seen], int | None]:
    return [_Seen(item["position"], _hop(item)) for item in answer["items"]], answer.get("before")


def _hop(document: Any) -> Hop:
    try:
        return read_hop(document)
    except HopError as error:
        raise ValueError(str(error)) from None


def _newest(registry: Registry, whose: _Whose, filters: dict[str, str], limit: int) -> list[_Seen]:
    """The newest that match, the oldest first."""
    found: list[_Seen] = []
    before: int | None = None
    while True:
        query = {**filters, "limit": str(limit - len(found))} | ({"before": str(before)} if before is not None else {})
        items, before = registry.get(whose.path, _page, query)
        found += items
        if before is None or len(found) >= limit:
            return found[::-1]


def _follow(registry: Registry, output: Output, whose: _Whose, filters: dict[str, str], after: int | None) -> None:
    import asyncio

    from controlplane.client import RegistryError  # a stream is worth the time that its library takes to import

    async def print_all() -> None:
        async with registry.client() as client:
            stream = client.follow_traffic(whose.name, filters, after, group=whose.kind == "group")
            async for record in stream:
                _one(output, read_hop(record.model_dump(mode="json", by_alias=True, exclude_none=True)))
        output.say(f"{'route group' if whose.kind == 'group' else 'sandbox'} {whose.name} has ended", "dim")

    try:
        asyncio.run(print_all())
    except RegistryError as error:
        raise refusal(error, registry.url) from None


def _table(output: Output, hops: list[Hop]) -> None:
    if not hops:
        output.say("no request with its key was seen yet, or none that matches")
        return
    output.table(
        ["time", "workload", "side", "request", "status", "ms", "decision", "trace"],
        [[_time(hop), *_cells(hop), hop.trace] for hop in hops],
    )


def _cells(hop: Hop) -> list[str | Text]:
    peer = f" -> {hop.peer}" if hop.peer else ""
    whose = f"{hop.decision} rev {hop.revision}" if hop.sandbox else hop.decision
    return [
        hop.workload,
        f"{hop.side}{peer}",
        f"{one_line(hop.method)} {one_line(hop.path[:SHOWN_PATH])}",
        status_text(hop),
        f"{hop.duration_ms:.0f}",
        " ".join(filter(None, (whose, hop.reason, hop.error))),
    ]


def _one(output: Output, hop: Hop) -> None:
    if output.json:
        click.echo(dumps(hop_document(hop)))
    else:
        line = Text(_time(hop))
        for cell in _cells(hop):
            line.append("  ").append(cell)
        output.say(line)


def _time(hop: Hop) -> str:
    return datetime.fromtimestamp(hop.time, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def status_text(hop: Hop) -> Text:
    """A status with its colour, and the gRPC status where there is one."""
    text = str(hop.status or "none") + (f"/{hop.grpc_status}" if hop.grpc_status is not None else "")
    return Text(text, "bold red" if hop.failed else "green")


@click.command(cls=Command, exits=REGISTRY_EXITS | {NOT_FOUND: "no hop of this trace is kept"})
@click.argument("ident", metavar="ID")
@click.option("--sandbox", metavar="NAME", help="Look among the hops of this sandbox only.")
@registry_options
@output_option
def trace(ident: str, sandbox: str | None, registry: Registry, output: Output) -> None:
    """Show the calls that one request led to, as a tree: who served each, how it ended, how long it took.

    ID is the trace id that `skycap sandbox traffic` shows.
    """
    query = {"sandbox": sandbox} if sandbox else None
    found = registry.get(f"traces/{segment(ident)}", _read_trace, query)
    tops = calls(found.hops)
    whose = {"sandbox": found.sandbox} if not found.group else {"group": found.group}
    document = {"id": found.id, **whose, "calls": [call.document() for call in tops]}
    output.result(document, lambda: show(output, tops))


class _Trace(NamedTuple):
    id: str
    sandbox: str
    group: str
    hops: list[Placed]


def _read_trace(answer: Any) -> _Trace:
    hops = [Placed(item["depth"], _hop(item), item.get("detached", False)) for item in answer["hops"]]
    return _Trace(answer["id"], answer.get("sandbox", ""), answer.get("group", ""), hops)


def settled_calls(registry: Registry, ident: str) -> list[Call]:
    """The calls of a trace that has just ended, as soon as no more hops of it come; empty when a registry tells none
    within TOLD_SECONDS, or there is no registry."""
    found: list[Placed] = []
    end = time.monotonic() + TOLD_SECONDS
    while time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        before = len(found)
        try:
            found = registry.get(f"traces/{segment(ident)}", _read_trace).hops
        except NotFoundError:
            continue
        except CommandError:
            return []
        if len(found) == before:
            break
    return calls(found)


def show(output: Output, tops: list[Call]) -> None:
    """The tree for a person."""
    lines = drawn(tops)
    requests = [f"{line.branch}{one_line(line.call.hop.method)} {one_line(line.call.hop.path)}" for line in lines]
    output.table(
        ["request", "status", "ms", "served by", ""],
        [
            [
                request,
                status_text(line.call.hop),
                f"{line.call.hop.duration_ms:.0f}",
                Text(one_line(line.call.who), "bold magenta" if line.call.hop.sandbox else ""),
                Text(one_line(", ".join(line.call.remarks)), "yellow"),
            ]
            for request, line in zip(requests, lines, strict=True)
        ],
    )
