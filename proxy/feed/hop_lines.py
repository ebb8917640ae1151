"""A hop as a line of its batch: what `proxy.contract.hops` describes, written at the price of a template.

What a stranger could have chosen (trace, method, path) goes through the JSON encoder when it has anything in it that
JSON would escape; the rest is our own. Bodies are shown as text where they are text: chunks are taken apart, gzip and
deflate are undone as far as MAX_BODY_BYTES of text go, and anything else is told by its type and length.

Redaction happens here, in the sidecar: the values of secret fields never leave it.
"""

from __future__ import annotations

import json
import re
import zlib

from proxy.contract.hops import MAX_BODY_BYTES
from proxy.errors import BAD_RESPONSE, Refused
from proxy.telemetry.hops import Told
from proxy.wire.chunked import ChunkedReader

REDACTED = "(redacted)"

SECRET_FIELDS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key"})
"""Fields whose values are never told; more can be configured."""

MAX_PATH_BYTES = 1_024
"""Of a path that is told."""

_PLAIN = re.compile(rb"[!#-\[\]-~]*+")
"""What stands in JSON as it is: visible ASCII without the quotation mark and the backslash."""

_TEXT_TYPES = re.compile(
    r"text/.*|application/(?:.*\+)?(?:json|xml|yaml|javascript|problem\+json|x-www-form-urlencoded|graphql|x-ndjson)"
)

_LINE = (
    b'{%b,"id":"%b","parent":"%b","time":%.3f,"trace":"%b","method":"%b","path":"%b","status":%d,"error":"%b",'
    b'"durationMs":%.2f,"firstByteMs":%.2f,"requestBytes":%d,"responseBytes":%d%b%b}\n'
)


def hop_line(told: Told, secret: frozenset[str] = SECRET_FIELDS) -> bytes:
    """One line, its line feed included."""
    messages = b""
    capture = told.capture
    if capture is not None:
        request = _message(capture.request, capture.request_end, told.request_bytes, capture.no_room, secret)
        answer = _message(capture.answer, capture.answer_end, told.answer_bytes, capture.no_room, secret)
        messages = b',"request":%b,"response":%b' % (request, answer)
    trace = told.trace.lstrip(b"~=")  # the marks of `proxy.routing.correlation`
    method, path = told.method, told.path[:MAX_PATH_BYTES]
    if _PLAIN.fullmatch(trace + method + path) is None:
        trace, method, path = _escaped(trace), _escaped(method), _escaped(path)
    return _LINE % (
        told.fixed, told.id, told.parent, told.began, trace, method, path, told.status, told.error.encode(),
        told.seconds * 1e3, told.first_byte * 1e3, told.request_bytes, told.answer_bytes, told.further, messages,
    )  # fmt: skip


def _escaped(text: bytes) -> bytes:
    """As it stands in JSON, between its quotation marks."""
    return json.dumps(text.decode("utf-8", "backslashreplace"))[1:-1].encode()


def _message(data: bytes, end: int, size: int, no_room: bool, secret: frozenset[str]) -> bytes:
    """A captured message as JSON. `end` is where its body begins in `data`, `size` how long that was in all."""
    fields = _fields(data[:end])
    known = dict(fields)
    document: dict[str, object] = {
        "headers": [[name, REDACTED if name in secret else value] for name, value in fields],
        "length": size,
    }
    raw = data[end:]
    if not raw:
        if size:
            document["omitted"] = "no room" if no_room else "not captured"
        return json.dumps(document, separators=(",", ":")).encode()
    whole = len(raw) == size
    body, cut = _payload(raw, known)
    text = _text(body, known.get("content-type", ""), whole and not cut) if body is not None else None
    if text is None:
        document["omitted"] = "not text"
    else:
        document["body"] = text
        if cut or not whole:
            document["truncated"] = True
    return json.dumps(document, separators=(",", ":")).encode()


def _fields(head: bytes) -> list[tuple[str, str]]:
    fields = []
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields.append((name.decode("latin-1").lower(), value.strip(b" \t").decode("utf-8", "backslashreplace")))
    return fields


def _payload(raw: bytes, fields: dict[str, str]) -> tuple[bytes | None, bool]:
    """The content that some bytes of a body stand for, None where that cannot be told; and whether it was cut."""
    if fields.get("transfer-encoding"):
        reader = ChunkedReader(BAD_RESPONSE, padded=True)
        reader.payload = []
        try:
            reader.feed(raw)
        except Refused:
            return None, False
        raw = b"".join(reader.payload)
    coding = fields.get("content-encoding", "identity").lower()
    if coding in ("gzip", "x-gzip", "deflate"):
        try:
            undone = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of the two formats, by its first bytes
            return undone.decompress(raw, MAX_BODY_BYTES), bool(undone.unconsumed_tail)
        except zlib.error:
            return None, False
    if coding != "identity":
        return None, False
    return raw[:MAX_BODY_BYTES], len(raw) > MAX_BODY_BYTES


def _text(body: bytes, media: str, whole: bool) -> str | None:
    """The text of a body, None when it is none. What is not whole may end inside a character."""
    kind = media.partition(";")[0].strip().lower()
    if kind and not _TEXT_TYPES.fullmatch(kind):
        return None
    for end in range(len(body), max(len(body) - (1 if whole else 4), -1), -1):
        try:
            return body[:end].decode()
        except UnicodeDecodeError:
            continue
    return None
