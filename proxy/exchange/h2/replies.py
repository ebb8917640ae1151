"""What is written as literals of HPACK: fields that are added, and answers that we make ourselves.

A gRPC caller reads `grpc-status` and `grpc-message` and nothing else, so that is where it is told (14, UNAVAILABLE,
which it may try again); everybody else gets the problem document that HTTP/1 gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

from proxy.errors import Failure
from proxy.exchange.caching import UNCACHED
from proxy.exchange.passage import Passage
from proxy.exchange.plan import Plan
from proxy.routing.template import Template
from proxy.wire.fields import Addition, Field
from proxy.wire.h2.hpack import literal, literals
from proxy.wire.replies import problem

UNAVAILABLE: Final = 14
"""google.golang.org/grpc/codes: "most likely a transient condition", which all of ours are to a caller."""


def field_literals(addition: Addition) -> bytes:
    """`literals` of what is added, made once."""
    found = addition.literals
    if found is None:
        found = addition.literals = literals(addition.fields)
    return found


def request_literals(passage: Passage, plan: Plan) -> bytes:
    """What a request gets: its plan's fields, its trace context, what else is its own, and last the hop that caused it,
    where the next sidecar finds it at no cost."""
    added = field_literals(plan.request)
    if passage.template is not None:
        form, lengths = template_literals(passage.template)
        filling = passage.filling
        arguments: list[object] = [*filling]
        for place, grows, length in lengths:
            arguments.insert(place, len(filling[grows]) + length)
        added += form % tuple(arguments)
    if passage.fields:
        added += literals(passage.fields)
    if plan.chained and passage.hop:
        added += HOP_LITERAL + passage.hop
    return added


_PERCENT: Final = ord("%")


def template_literals(template: Template) -> tuple[bytes, list[tuple[int, int, int]]]:
    """The fields of a template, whose values all have less than 127 bytes, and how their lengths get into its filling:
    place, which of the filling grows, what is added to its length; the last place first. Made once."""
    found = template.literals
    if found is None:
        form, lengths, place = b"", [], 0
        for (name, value), (length, grows) in zip(template.fields, template.lengths, strict=True):
            form += b"\0%c%b" % (len(name), name)
            if grows < 0:
                form += b"%c" % length if length != _PERCENT else b"%%"
            else:
                form += b"%c"
                lengths.append((place, grows, length))
            form += value
            place += value.count(b"%b")
        found = template.literals = form, lengths[::-1]
    return found


HOP_LITERAL: Final = b"\0\x0askycap-hop\x10"
"""In front of the sixteen digits of a hop."""
HOP_BYTES: Final = len(HOP_LITERAL) + 16


class Reply(NamedTuple):
    """status: that of HTTP; text: as HTTP/1 would write the head, for the hop; grpc_status: -1 to others."""

    block: bytes
    body: bytes
    status: int
    grpc_status: int
    text: bytes


def own_answer(
    failure: Failure,
    detail: str,
    *,
    workload: str,
    sandbox: str,
    fields: Sequence[Field],
    grpc: bool,
    bodiless: bool,
    room: int,
) -> Reply:
    """room: what the client takes of a body. Without enough of it the answer has none, and announces none."""
    text, body = problem(failure, detail, workload=workload, sandbox=sandbox, close=False, fields=fields)
    if grpc:
        added = [
            (b":status", b"200"),
            (b"content-type", b"application/grpc"),
            (b"grpc-status", b"%d" % UNAVAILABLE),
            (b"grpc-message", quote(f"{failure.title}: {detail}", safe=" !#$&'()*+,/:;=?@[]").encode()),
            (b"skycap-error", failure.code.encode()),
            *[field for field in fields if field not in UNCACHED.fields],  # no cache keeps what gRPC says
        ]
        shown = b"HTTP/2 200\r\n" + b"".join([b"%b: %b\r\n" % field for field in added[1:]]) + b"\r\n"
        return Reply(literals(added), b"", 200, UNAVAILABLE, shown)
    lines = [line.partition(b": ") for line in text.split(b"\r\n")[1:-2]]
    if not bodiless and room < len(body):
        body = b""
        lines = [line for line in lines if line[0] != b"content-length"]
    block = literal(b":status", b"%d" % failure.status) + literals([(name, value) for name, _, value in lines])
    if bodiless:
        body = b""
    return Reply(block, body, failure.status, -1, text)
