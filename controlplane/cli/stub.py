"""`skycap sandbox stub`: stubs and faults for the requests of one's own key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from controlplane.cli.command import Command, Group
from controlplane.cli.failures import NOT_FOUND, REGISTRY_EXITS, USAGE, InvalidError, NotFoundError
from controlplane.cli.manifest import pairs
from controlplane.cli.output import Output, Row, output_option
from controlplane.cli.registry import Registry, registry_options, segment
from proxy.base.text import printable

_NAMED = REGISTRY_EXITS | {NOT_FOUND: "there is no such sandbox, or no such stub"}


@click.group(cls=Group)
def stub() -> None:
    """Answer, delay or fail requests of one key."""


@stub.command("set", cls=Command, exits=_NAMED | {USAGE: "no request can match it; nothing was changed"})
@click.argument("sandbox")
@click.argument("name")
@click.option("--workload", metavar="NAMESPACE/NAME", help="Whose requests.")
@click.option("--host", metavar="HOST[:PORT]", help="Or calls to this host, which has no sidecar.")
@click.option("--method", metavar="METHOD", help="Only these, as POST.")
@click.option("--path", metavar="PATH", help='Only these; * stands for anything, as in "/items/*".')
@click.option("--when", multiple=True, metavar="NAME=VALUE", help="Only with this header, * for any value; repeatable.")
@click.option("--respond", metavar="STATUS", type=click.IntRange(200, 599), help="Answer with this status.")
@click.option("--body", metavar="BODY", help="With --respond: the body, or @FILE.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="With --respond: a header; repeatable.")
@click.option("--fail", metavar="STATUS", type=click.IntRange(400, 599), help="Fail with an error of this status.")
@click.option("--reset", is_flag=True, help="Reset the connection.")
@click.option("--no-answer", is_flag=True, help="Leave it without an answer.")
@click.option("--delay", metavar="TIME", help="Wait so long first, as 250ms or 2s.")
@click.option("--percent", metavar="N", type=click.IntRange(1, 100), help="Of the requests that match.")
@click.option("--times", metavar="N", type=click.IntRange(1), help="How often, at each sidecar.")
@registry_options
@output_option
def set_stub(sandbox: str, name: str, registry: Registry, output: Output, **said: Any) -> None:
    """Add the stub NAME to a SANDBOX, or replace it.

    \b
    skycap sandbox stub set agent-42 no-stock --workload shop/catalog \\
        --path '/items/*' --respond 404 --body '{"error": "sold out"}'
    skycap sandbox stub set agent-42 slow --host api.bank.example --delay 2s
    """
    wanted = _stub(name, said)
    before = _get(registry, sandbox)
    places = [item["name"] for item in before]
    after = [wanted if item["name"] == name else item for item in before] + ([] if name in places else [wanted])
    items = _put(registry, sandbox, after)
    output.result({"items": items}, lambda: _show(output, items))


@stub.command("list", cls=Command, exits=_NAMED)
@click.argument("sandbox")
@registry_options
@output_option
def list_stubs(sandbox: str, registry: Registry, output: Output) -> None:
    """Show the stubs of a SANDBOX, the first that matches first."""
    items = _get(registry, sandbox)
    output.result({"items": items}, lambda: _show(output, items))


@stub.command(cls=Command, exits=_NAMED)
@click.argument("sandbox")
@click.argument("name", required=False)
@registry_options
@output_option
def clear(sandbox: str, name: str | None, registry: Registry, output: Output) -> None:
    """End the stub NAME of a SANDBOX; without NAME, all of them."""
    before = _get(registry, sandbox)
    if name is not None and name not in [item["name"] for item in before]:
        there = ", ".join(item["name"] for item in before) or "none"
        raise NotFoundError(f"sandbox {sandbox} has no stub {name!r}", hint=f"its stubs: {there}")
    items = _put(registry, sandbox, [item for item in before if name is not None and item["name"] != name])
    output.result({"items": items}, lambda: _show(output, items))


def _stub(name: str, said: dict[str, Any]) -> dict[str, Any]:
    """The document of one. Raises click.UsageError."""
    stub: dict[str, Any] = {"name": name}
    stub |= {field: said[field] for field in ("workload", "host", "times") if said[field] is not None}
    match: dict[str, Any] = {field: said[field] for field in ("method", "path") if said[field] is not None}
    if said["when"]:
        match["headers"] = pairs(said["when"], "--when")
    if match:
        stub["match"] = match
    ways = [said["respond"] is not None, said["fail"] is not None, said["reset"], said["no_answer"]]
    if sum(ways) > 1 or not (any(ways) or said["delay"]):
        raise click.UsageError("say one of --respond, --fail, --reset, --no-answer and --delay")
    if (said["body"] is not None or said["headers"]) and said["respond"] is None:
        raise click.UsageError("--body and --header are for --respond")
    percent = {"percent": said["percent"]} if said["percent"] is not None else {}
    if said["respond"] is not None:
        answer: dict[str, Any] = {"status": said["respond"]}
        answer |= {"body": _body(said["body"])} if said["body"] is not None else {}
        answer |= {"headers": pairs(said["headers"], "--header")} if said["headers"] else {}
        stub["respond"] = answer | ({"delay": said["delay"]} if said["delay"] else {})
    elif said["fail"] is not None:
        stub["fault"] = {"status": said["fail"], **percent}
    elif said["reset"] or said["no_answer"]:
        stub["fault"] = "reset" if said["reset"] else "timeout"
    else:
        stub["fault"] = {"delay": said["delay"], **percent}
    if percent and not isinstance(stub.get("fault"), dict):
        raise click.UsageError("--percent is for --fail and --delay")
    if said["delay"] and any(ways[1:]):
        raise click.UsageError("--delay stands alone, or with --respond")
    return stub


def _body(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except OSError as error:
        raise InvalidError(f"{text[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidError(f"{text[1:]}: is not UTF-8") from None


def _get(registry: Registry, sandbox: str) -> list[dict[str, Any]]:
    return registry.get(f"sandboxes/{segment(sandbox)}/stubs", _items)


def _put(registry: Registry, sandbox: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return registry.put(f"sandboxes/{segment(sandbox)}/stubs", {"items": items}, _items)


def _items(answer: Any) -> list[dict[str, Any]]:
    return [{"name": "", **item} for item in answer["items"]]


def _show(output: Output, items: list[dict[str, Any]]) -> None:
    if not items:
        output.say("there are no stubs")
        return
    rows: list[Row] = [[printable(text) for text in _row(item)] for item in items]
    output.table(["stub", "where", "requests", "does", "times"], rows)


def _row(item: dict[str, Any]) -> list[str]:
    match = item.get("match") or {}
    which = " ".join(filter(None, (match.get("method"), match.get("path")))) or "all"
    which += "".join(f" {name}={value}" for name, value in (match.get("headers") or {}).items())
    answer, fault = item.get("respond"), item.get("fault")
    if answer is not None:
        does = f"answers {answer.get('status', 200)}" + (f" after {answer['delay']}" if answer.get("delay") else "")
    elif isinstance(fault, dict):
        does = f"waits {fault['delay']}" if fault.get("delay") else f"fails with {fault.get('status')}"
        does += f", {fault['percent']} %" if fault.get("percent") else ""
    else:
        does = str(fault)
    return [item["name"], item.get("workload") or item.get("host") or "", which, does, str(item.get("times") or "")]
