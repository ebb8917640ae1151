"""`skycap request KEY URL`: one request with a routing key, and who served it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import click

from controlplane.asking.answer import BODY_LIMIT, Answer, NoAnswerError, NotAUrlError, send
from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, INTERRUPTED, MEANINGS, UNREACHABLE, InvalidError, UnreachableError
from controlplane.cli.output import Output, output_option
from controlplane.terminal import Text
from proxy.base.text import printable
from proxy.contract.names import ROUTING_KEY

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2: methods and field names
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5


def _key(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not ROUTING_KEY.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not 1 to 63 characters of A-Za-z0-9._-")
    return value


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
        FAILED: "it is 400 or above",
        UNREACHABLE: "nobody answers at the URL, or not in time",
        INTERRUPTED: MEANINGS[INTERRUPTED],
    },
)
@click.argument("key", callback=_key)
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
@output_option
def request(
    key: str,
    url: str,
    method: str | None,
    fields: list[tuple[str, str]],
    data: bytes | None,
    timeout: float,
    output: Output,
) -> None:
    """Send a request with the routing key KEY in its baggage to URL.

    Prints the status, who served each hop, and the body.
    """
    method = (method or ("POST" if data is not None else "GET")).upper()
    if data is not None and not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", "application/json" if _is_json(data) else "application/octet-stream"))
    try:
        answer = asyncio.run(send(method, url, key, fields, data, timeout))
    except NotAUrlError as error:
        raise InvalidError(str(error)) from None
    except NoAnswerError as error:
        raise UnreachableError(str(error)) from None
    output.result({"method": method, "url": url, "key": key, **answer.document()}, lambda: show(output, answer))
    if answer.status >= 400:
        raise click.exceptions.Exit(FAILED)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def show(output: Output, answer: Answer) -> None:
    """The answer for a person: status, hops, whose error it is, body."""
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


def body_text(answer: Answer) -> str:
    """The body as it may be shown to a person."""
    text = answer.text
    if text is None:
        return f"({len(answer.body)} bytes that are no text)"
    if not answer.body:
        return "(no body)"
    return printable(text.rstrip("\r\n")) + (f"\n(cut after {BODY_LIMIT} bytes)" if answer.cut else "")
