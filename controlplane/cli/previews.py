"""`skycap sandbox link` and `skycap sandbox preview`: links into a sandbox, for who has a browser and nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from controlplane.cli.candidates import sandbox_names, workload_names
from controlplane.cli.command import Command
from controlplane.cli.failures import NOT_FOUND, REGISTRY_EXITS, USAGE
from controlplane.cli.output import Output, Row, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from controlplane.cli.view import left
from proxy.base.text import one_line

_EXITS = REGISTRY_EXITS | {NOT_FOUND: "there is no sandbox of that name, or no such link"}


def _read(answer: Any) -> dict[str, Any]:
    if not isinstance(answer["id"], str) or not isinstance(answer["name"], str):
        raise TypeError
    return {"url": None, "group": None, "handoff": None, "note": None, "password": None, "login": False, **answer}


def _entered(link: dict[str, Any]) -> str:
    return str(link["workload"]) + (f", key of {link['group']}" if link["group"] else "")


def _until(link: dict[str, Any]) -> str:
    return left(datetime.fromisoformat(link["expires"]))


@click.command(cls=Command, exits=_EXITS | {USAGE: "wrong usage, or there can be no such link; none was made"})
@click.argument("name", shell_complete=sandbox_names)
@click.option(
    "--workload",
    metavar="NAMESPACE/NAME",
    shell_complete=workload_names,
    help="Where the browser enters.  [default: what nobody calls]",
)
@click.option("--name", "called", metavar="NAME", help="A part of the link.  [default: the workload's name]")
@click.option("--ttl", metavar="TTL", help="How long it leads there, 7d at most.  [default: as long as the sandbox]")
@click.option("--password", is_flag=True, help="Whoever follows it is asked for a second secret, which is shown now.")
@click.option("--group", metavar="GROUP", help="Meet the changes of all sandboxes of this route group, by its key.")
@click.option("--note", metavar="WORDS", help="What to look at, for whoever reviews it.")
@registry_options
@output_option
def link(
    name: str,
    workload: str | None,
    called: str | None,
    ttl: str | None,
    password: bool,
    group: str | None,
    note: str | None,
    registry: Registry,
    output: Output,
) -> None:
    """Make a link that leads a browser into the sandbox.

    Who has it needs no key and no proxy, and sees this sandbox only. It ends with the sandbox, or when it is revoked:
    `skycap sandbox preview NAME --revoke ID`.
    """
    login = "token" if password else None
    said = {"workload": workload, "name": called, "ttl": ttl, "login": login, "group": group, "note": note}
    wanted = {field: value for field, value in said.items() if value is not None}
    made = registry.post(f"sandboxes/{segment(name)}/previews", wanted, _read)

    def show() -> None:
        output.say(one_line(str(made["url"])), "bold")
        if made["password"]:
            output.say(f"password: {one_line(made['password'])} (any user name; it is not shown again)")
        output.say(f"what changed, and room for a review: {one_line(str(made['handoff']))}")
        output.say(f"enters by {_entered(made)}, expires {_until(made)}, is called {made['id']}", "dim")

    output.result(made, show)


@click.command("preview", cls=Command, exits=_EXITS)
@click.argument("name", shell_complete=sandbox_names)
@click.option("--revoke", metavar="ID", help="End this link at once; a name ends all links of that name.")
@registry_options
@output_option
def previews(name: str, revoke: str | None, registry: Registry, output: Output) -> None:
    """List the links into a sandbox, or revoke one."""
    path = f"sandboxes/{segment(name)}/previews"
    if revoke is not None:
        registry.delete(f"{path}/{segment(revoke)}")
        output.result({"revoked": revoke}, lambda: output.say(f"{revoke} leads nowhere any more"))
        return
    found = registry.get(path, lambda answer: list(map(_read, answer["items"])))

    def show() -> None:
        if not found:
            output.say(f"there are no links into {name}; `skycap sandbox link {name}` makes one")
            return
        rows: list[Row] = [
            [each["id"], each["name"], _entered(each), _until(each), each["url"] or "(only its hash is known)"]
            for each in found
        ]
        output.table(["id", "name", "enters by", "expires", "link"], rows)

    output.result({"items": found}, show)
