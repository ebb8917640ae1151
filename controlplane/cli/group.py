"""`skycap group`: several sandboxes under one further routing key."""

from __future__ import annotations

from typing import Any

import click

from controlplane.cli.candidates import sandbox_names
from controlplane.cli.command import Command, Group
from controlplane.cli.failures import NOT_FOUND, REGISTRY_EXITS, USAGE
from controlplane.cli.feedback import feedback_of_group
from controlplane.cli.manifest import pairs
from controlplane.cli.output import Output, Row, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from controlplane.cli.traffic import traffic_of_group
from controlplane.rest import API_VERSION, GROUP
from controlplane.terminal import Text
from proxy.base.text import one_line, printable

_NAMED = REGISTRY_EXITS | {NOT_FOUND: "there is no route group of that name"}
_STYLES = {"Ready": "green", "Incomplete": "yellow", "Conflict": "red"}


@click.group(cls=Group)
def group() -> None:
    """Try the changes of several sandboxes together, with one key."""


@group.command(
    cls=Command,
    exits=REGISTRY_EXITS
    | {0: "its key is in force, or about to be", USAGE: "two of them fork the same workload, or the key is taken"},
)
@click.argument("name", shell_complete=sandbox_names)
@click.argument("members", nargs=-1, required=True, metavar="SANDBOX [SANDBOX]")
@click.option("--key", metavar="KEY", help="Its routing key.  [default: the name]")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label; may be repeated.")
@click.option("--owner", metavar="WHO", help="Whom to ask about it.")
@click.option("--description", metavar="WHAT", help="What is tried in it.")
@registry_options
@output_option
def apply(
    name: str,
    members: tuple[str, ...],
    key: str | None,
    labels: tuple[str, ...],
    owner: str | None,
    description: str | None,
    registry: Registry,
    output: Output,
) -> None:
    """Put sandboxes under one further key, or change which.

    \b
    skycap group apply checkout-together agent-42 agent-7
    skycap request checkout-together http://127.0.0.1:18080/
    """
    metadata: dict[str, Any] = {"name": name}
    metadata |= {field: text for field, text in (("owner", owner), ("description", description)) if text}
    if labels:
        metadata["labels"] = pairs(labels, "--label")
    spec: dict[str, Any] = {"members": list(members)} | ({"routingKey": key} if key else {})
    document = {"apiVersion": API_VERSION, "kind": GROUP, "metadata": metadata, "spec": spec}
    found = registry.put(f"groups/{segment(name)}", document, _read)
    output.result(found, lambda: _show(found, output))


@group.command("list", cls=Command, exits=REGISTRY_EXITS)
@registry_options
@output_option
def list_groups(registry: Registry, output: Output) -> None:
    """List route groups, by name."""
    found = registry.get("groups", lambda answer: list(map(_read, answer["items"])))

    def show() -> None:
        rows: list[Row] = [
            [item["metadata"]["name"], _key(item), _phase(item), ", ".join(item["spec"]["members"])] for item in found
        ]
        if rows:
            output.table(["name", "key", "phase", "sandboxes"], rows)
        else:
            output.say("there are no route groups")

    output.result({"items": found}, show)


group.add_command(traffic_of_group)
group.add_command(feedback_of_group)


@group.command(cls=Command, exits=_NAMED)
@click.argument("name", shell_complete=sandbox_names)
@registry_options
@output_option
def get(name: str, registry: Registry, output: Output) -> None:
    """Show where the key of a route group leads."""
    found = registry.get(f"groups/{segment(name)}", _read)
    output.result(found, lambda: _show(found, output))


@group.command(cls=Command, exits=_NAMED)
@click.argument("name", shell_complete=sandbox_names)
@registry_options
@output_option
def delete(name: str, registry: Registry, output: Output) -> None:
    """End a route group; its sandboxes go on."""
    registry.delete(f"groups/{segment(name)}")
    output.result({"name": name, "deleted": True}, lambda: output.say(f"route group {name} is deleted"))


def _read(answer: Any) -> dict[str, Any]:
    """Raises KeyError and TypeError for what is no group."""
    document = dict(answer)
    status = {"phase": "", "message": "", "members": [], "conflicts": [], "routes": []} | document.get("status", {})
    assert isinstance(document["metadata"]["name"], str)
    return document | {"status": status, "spec": {"members": [], **document["spec"]}}


def _key(item: dict[str, Any]) -> str:
    return str(item["spec"].get("routingKey") or item["metadata"]["name"])


def _phase(item: dict[str, Any]) -> Text:
    return Text(item["status"]["phase"], _STYLES.get(item["status"]["phase"], ""))


def _show(item: dict[str, Any], output: Output) -> None:
    metadata, status = item["metadata"], item["status"]
    output.say(Text(f"route group {metadata['name']} is ").append(_phase(item)).append(f", key {_key(item)}"))
    for told in ("owner", "description"):
        if metadata.get(told):
            output.say(f"{told}: {printable(metadata[told])}")
    led = {route["workload"]: route for route in status["routes"]}
    rows: list[Row] = []
    for member in status["members"]:
        for workload in member.get("workloads", ()) or ("-",):
            route = led.get(workload, {})
            state = "conflict" if route and route["sandbox"] != member["sandbox"] else route.get("state", "")
            rows.append([member["sandbox"], member.get("phase", "missing"), workload, state])
    output.table(["sandbox", "phase", "fork", "route"], rows)
    if status["message"]:
        output.say(one_line(status["message"]), "yellow")
