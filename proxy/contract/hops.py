"""Hop records: one keyed request as one sidecar saw it, on one side.

    POST /v1/hops     application/x-ndjson, one hop on a line, at most MAX_BATCH_HOPS lines

    {"id": "9f3c01b200000007", "parent": "77aa01c300000003", "time": 1764280000.123, "key": "agent-42",
     "trace": "4bf92f3577b34da6a3ce929d0e0e4736", "workload": "shop/users", "instance": "users-7f9c",
     "side": "inbound", "decision": "shadow", "sandbox": "agent-42", "revision": 3, "protocol": "http/1.1",
     "method": "GET", "path": "/users/ada", "status": 500, "durationMs": 12.4, "firstByteMs": 12.1,
     "requestBytes": 0, "responseBytes": 113,
     "response": {"headers": [["content-type", "application/json"]], "body": "{\\"error\\": ...}", "length": 113}}

Causes are exact. The outbound side sends its hop's id in the request field HOP_FIELD; the next inbound side takes the
field off again and names that id as its `parent`, so no application sees it. An outbound hop's parent is the inbound
hop to whose trace the call belongs. So the hops of one chain are a tree.

A line is read leniently, since sidecar and control plane are updated at different times: unknown fields are ignored,
absent ones have their defaults. What makes a line useless (no id, no key, a field of another type) is a HopError,
and the other lines of its batch are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.contract.names import ROUTING_KEY, WORKLOAD
from proxy.errors import ContractError

HOP_FIELD = "skycap-hop"
"""The request field between two sidecars; its value is a hop id."""

HOPS_PATH = "/v1/hops"
HOPS_TYPE = "application/x-ndjson"

HOP_ID = re.compile(r"[0-9a-f]{16}")
"""A random prefix of the process, 8 digits, and a counter, 8 digits."""

MAX_BATCH_HOPS = 500
MAX_BATCH_BYTES = 4 << 20
"""Of one POST. 500 hops without bodies are 250 KiB; a batch of large bodies holds fewer hops."""

MAX_HOP_BYTES = 256 * 1024
"""Of one line: two bodies and two heads of MAX_BODY_BYTES each, all of it escaped, and room for the rest."""

MAX_BODY_BYTES = 16 * 1024
"""Of one body that a hop keeps, before it is written as JSON."""

INBOUND = "inbound"
OUTBOUND = "outbound"


class HopError(ContractError):
    """A line that is no hop."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One message as a hop keeps it.

    headers:   names in lower case, in the order in which they came; values of secret fields are redacted.
    body:      its text as far as it is kept, None when it is no text or was not kept.
    length:    bytes of the whole body, as far as it passed.
    truncated: `body` is only its beginning.
    omitted:   why there is no body, "" when there is one: `not text`, `no room`.
    """

    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    length: int = 0
    truncated: bool = False
    omitted: str = ""


@dataclass(frozen=True, slots=True)
class Hop:
    """One request at one side of one sidecar. Times are seconds since 1970, durations milliseconds.

    parent:      the hop that caused it, "" for an entry or where nobody knows.
    trace:       the trace id that the sidecars correlate by, "" when the request had none.
    peer:        outbound: where the call went, as HOST:PORT or as the target of the listener. Else "".
    decision:    what was decided, a word of the sidecar's decision table (`baseline`, `shadow`, `forward`, ...).
    reason:      why it was not the usual decision, "" when it was: `unsynced`, `shadow-unreachable`, ...
    stub:        the name of the rule of its key that answered, failed or delayed it, "" for none.
    sandbox:     whose shadow served it, "" for the baseline; `revision` is that shadow's, 0 for the baseline.
    status:      of the answer, 0 when there was none.
    grpc_status: of a gRPC call, None otherwise.
    error:       the code of the answer that a sidecar made itself, or of the way in which the exchange ended early.
    lost:        the call may have lost its key at this hop.
    request, response: what was captured, None when nothing was.
    """

    id: str
    key: str
    workload: str
    side: str
    time: float = 0.0
    parent: str = ""
    trace: str = ""
    instance: str = ""
    peer: str = ""
    decision: str = ""
    reason: str = ""
    stub: str = ""
    sandbox: str = ""
    revision: int = 0
    protocol: str = "http/1.1"
    method: str = ""
    path: str = ""
    status: int = 0
    grpc_status: int | None = None
    error: str = ""
    lost: bool = False
    duration_ms: float = 0.0
    first_byte_ms: float = 0.0
    request_bytes: int = 0
    response_bytes: int = 0
    request: Captured | None = None
    response: Captured | None = None

    @property
    def failed(self) -> bool:
        """The answer was no good one: 400 or more, a gRPC status other than 0, or none at all."""
        return not 100 <= self.status < 400 or bool(self.grpc_status) or bool(self.error)


_TEXTS = {
    "id": "id", "key": "key", "workload": "workload", "side": "side", "parent": "parent", "trace": "trace",
    "instance": "instance", "peer": "peer", "decision": "decision", "reason": "reason", "stub": "stub",
    "sandbox": "sandbox",
    "protocol": "protocol", "method": "method", "path": "path", "error": "error",
}  # fmt: skip
"""Field on the wire -> attribute, for those of each type."""

_NUMBERS = {
    "time": "time", "revision": "revision", "status": "status", "grpcStatus": "grpc_status",
    "durationMs": "duration_ms", "firstByteMs": "first_byte_ms",
    "requestBytes": "request_bytes", "responseBytes": "response_bytes",
}  # fmt: skip

_DEFAULTS = {name: Hop.__dataclass_fields__[name].default for name in (*_TEXTS.values(), *_NUMBERS.values())}

_DECODER = json.JSONDecoder()


def hop_document(hop: Hop) -> dict[str, Any]:
    """The JSON form of a hop, without what has its default."""
    document: dict[str, Any] = {}
    for name, attribute in (*_TEXTS.items(), *_NUMBERS.items()):
        value = getattr(hop, attribute)
        if value != _DEFAULTS[attribute]:
            document[name] = value
    if hop.lost:
        document["lost"] = True
    for name, captured in (("request", hop.request), ("response", hop.response)):
        if captured is not None:
            document[name] = _captured_document(captured)
    return document


def encode_hop(hop: Hop) -> bytes:
    """One line of a batch, its line feed included."""
    return json.dumps(hop_document(hop), separators=(",", ":")).encode() + b"\n"


def decode_hop(line: bytes) -> Hop:
    """The hop on one line. Raises HopError for a line that is of no use."""
    try:
        document = _DECODER.decode(line.decode())
    except (ValueError, RecursionError) as error:
        raise HopError([("", f"a line that is not JSON: {error}")]) from None
    if not isinstance(document, dict):
        raise HopError([("", "a line that is not an object")])
    return read_hop(document)


def read_hop(document: Mapping[str, Any]) -> Hop:
    """The hop of its JSON form. Raises HopError with every problem."""
    problems: list[tuple[str, str]] = []
    values: dict[str, Any] = {}
    for name, attribute in _TEXTS.items():
        value = document.get(name)
        if value is None:
            continue
        if type(value) is not str:
            problems.append((name, "must be text"))
        values[attribute] = value
    for name, attribute in _NUMBERS.items():
        value = document.get(name)
        if value is None:
            continue
        if type(value) not in (int, float):
            problems.append((name, "must be a number"))
        values[attribute] = value
    for name in ("request", "response"):
        value = document.get(name)
        if isinstance(value, dict):
            values[name] = _read_captured(value)
    values["lost"] = document.get("lost") is True
    for name, pattern, what in (
        ("id", HOP_ID, "16 hexadecimal digits"),
        ("key", ROUTING_KEY, "a routing key"),
        ("workload", WORKLOAD, "NAMESPACE/NAME"),
    ):
        value = values.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            problems.append((name, f"is not {what}"))
    if values.get("side") not in (INBOUND, OUTBOUND):
        problems.append(("side", "is neither inbound nor outbound"))
    if problems:
        raise HopError(problems)
    return Hop(**values)


def _captured_document(captured: Captured) -> dict[str, Any]:
    document: dict[str, Any] = {"headers": [list(field) for field in captured.headers], "length": captured.length}
    if captured.body is not None:
        document["body"] = captured.body
    if captured.truncated:
        document["truncated"] = True
    if captured.omitted:
        document["omitted"] = captured.omitted
    return document


def _read_captured(document: Mapping[str, Any]) -> Captured:
    headers = document.get("headers")
    body, length, omitted = document.get("body"), document.get("length"), document.get("omitted")
    return Captured(
        headers=tuple(
            (field[0], field[1])
            for field in (headers if isinstance(headers, list) else ())
            if isinstance(field, list) and len(field) == 2 and all(isinstance(part, str) for part in field)
        ),
        body=body if isinstance(body, str) else None,
        length=length if isinstance(length, int) else 0,
        truncated=document.get("truncated") is True,
        omitted=omitted if isinstance(omitted, str) else "",
    )
