"""`skycap request KEY URL`: one request with a routing key, and who served it."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from controlplane.asking.answer import BODY_LIMIT, Answer, NoAnswerError, NotAUrlError, send
from controlplane.asking.calls import Call
from controlplane.asking.expected import Expected
from controlplane.cli.candidates import routing_keys
from controlplane.cli.command import Command
from controlplane.cli.failures import (
    FAILED,
    INTERRUPTED,
    MEANINGS,
    UNREACHABLE,
    CommandError,
    InvalidError,
    UnreachableError,
)
from controlplane.cli.options import checked_key, expectations
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import Registry, registry_options
from controlplane.cli.traffic import settled_calls
from controlplane.cli.traffic import show as show_calls
from controlplane.cli.view import read_sandbox
from controlplane.terminal import Text
from proxy.base.text import printable

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2: methods and field names
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
        raise click.BadParameter(f"{text!r} is not NAME: VALUE")
    return name, value.strip(" \t")


def _fields(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    return [_field(value) for value in values]


def _method(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _TOKEN.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a method")
    return value


def _data(_context: click.Context, _parameter: click.Parameter, value: str | None) -> bytes | None:
    if value is None or not value.startswith("@"):
        return None if value is None else value.encode()
    try:
        return Path(value[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{value[1:]} cannot be read: {error.strerror}") from None


@click.command(
    cls=Command,
    exits={
        0: "the status of the answer is below 400",
        FAILED: "it is 400 or above, or the expected shadow did not serve",
        UNREACHABLE: "nobody answers at the URL, or not in time",
        INTERRUPTED: MEANINGS[INTERRUPTED],
    },
)
@click.argument("key", shell_complete=routing_keys, callback=checked_key)
@click.argument("url")
@click.option(
    "-X", "--method", metavar="METHOD", callback=_method, help="The method.  [default: POST with --data, else GET]"
)
@click.option(
    "-H",
    "--header",
    "fields",
    multiple=True,
    metavar="'NAME: VALUE'",
    callback=_fields,
    help="A header field; may be repeated.",
)
@click.option("-d", "--data", metavar="TEXT|@FILE", callback=_data, help="The body: a text, or what a file holds.")
@click.option(
    "--timeout", metavar="SECONDS", default=30.0, type=click.FloatRange(0, min_open=True), help="For all of it."
)
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
def request(
    key: str,
    url: str,
    method: str | None,
    fields: list[tuple[str, str]],
    data: bytes | None,
    timeout: float,
    expected: list[Expected],
    registry: Registry,
    output: Output,
) -> None:
    """Send a request with the routing key KEY in its baggage to URL.

    Prints the status, who served each hop, the body, and the calls that it led to, as far as a registry was told.
    """
    method = (method or ("POST" if data is not None else "GET")).upper()
    if data is not None and not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", "application/json" if _is_json(data) else "application/octet-stream"))
    trace = _trace(fields)
    try:
        answer = asyncio.run(send(method, url, key, fields, data, timeout))
    except NotAUrlError as error:
        raise InvalidError(str(error)) from None
    except NoAnswerError as error:
        raise UnreachableError(str(error)) from None
    made = settled_calls(registry, trace) if trace and answer.hops else []
    document = {"method": method, "url": url, "key": key, **answer.document(), "trace": trace or None}
    output.result(document | {"calls": [call.document() for call in made]}, lambda: show(output, answer, made))
    if made:
        output.remark(f"its bodies and more: `skycap trace {trace}`, `skycap sandbox traffic NAME --trace {trace}`")
    for line in remarks(answer, key, registry):
        output.remark(line)
    unmet = [missing for each in expected if (missing := each.unmet(answer.hops))]
    if unmet:
        raise CommandError(*unmet)
    if answer.status >= 400:
        raise click.exceptions.Exit(FAILED)


def remarks(answer: Answer, key: str, registry: Registry) -> list[str]:
    """What a person should know who believes this answer, a line each."""
    told = []
    for hop in answer.hops:
        if hop.lost:
            told.append(
                f"{hop.workload} made a call that may have lost the key, so the baseline may have served it: "
                "let it hand on traceparent, b3 or x-request-id of the request that it serves"
            )
        if hop.conflict:
            told.append(f"{hop.workload}: the request names the key {hop.conflict!r} as well, which lost")
    wrong = {hop.key for hop in answer.hops}
    if "invalid" in wrong:
        told.append(f"the key {key!r} cannot be read, so that it counts as none")
    if "unknown" in wrong:
        told.append(f"no sandbox has the routing key {key!r}, so the baseline served{_near(key, registry)}")
    if answer.more_hops:
        told.append("there were more hops than the answer had room for")
    return told


def _near(key: str, registry: Registry) -> str:
    """Which key was probably meant, as far as a registry answers."""
    from difflib import get_close_matches

    with suppress(CommandError):
        keys = registry.get("sandboxes", lambda answer: [read_sandbox(item).key for item in answer["items"]])
        near = get_close_matches(key, keys, n=3)
        if near:
            return f" (did you mean {' or '.join(map(repr, near))}?)"
    return ""


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _trace(fields: list[tuple[str, str]]) -> str:
    """The trace id under which the request is found again; one is made where the sender names none. "" when the one
    that is named cannot be read."""
    given = [value for name, value in fields if name.lower() == "traceparent"]
    if given:
        parts = given[-1].split("-")
        return parts[1].lower() if len(parts) >= 4 else ""
    trace = secrets.token_hex(16)
    fields.append(("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01"))
    return trace


def show(output: Output, answer: Answer, made: Sequence[Call] = ()) -> None:
    """The answer for a person: status, hops, whose error it is, body, and what it led to."""
    colour = "green" if answer.status < 400 else "red"
    status = Text(f"HTTP {answer.status} {printable(answer.reason)}".rstrip(), style=f"bold {colour}")
    output.say(status.append(f"  in {answer.seconds * 1000:.0f} ms"))
    output.say()
    if answer.hops:
        output.table(
            ["served by", "copy"],
            [
                [hop.workload, Text(str(hop), style="bold red" if hop.error else "bold magenta" if hop.sandbox else "")]
                for hop in answer.hops
            ],
        )
    else:
        output.say(answer.malformed or "nothing says who served it: the answer did not come through a sidecar")
    if answer.error:
        output.say(f"answered by the sidecar itself, not by an application: {printable(answer.error)}", "bold red")
    output.say()
    output.text(body_text(answer))
    if made:
        output.say()
        show_calls(output, list(made))


def body_text(answer: Answer) -> str:
    """The body as it may be shown to a person."""
    text = answer.text
    if text is None:
        return f"({len(answer.body)} bytes that are no text)"
    if not answer.body:
        return "(no body)"
    return printable(text.rstrip("\r\n")) + (f"\n(cut after {BODY_LIMIT} bytes)" if answer.cut else "")
