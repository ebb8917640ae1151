"""Answers that we make ourselves: `application/problem+json` (RFC 9457), recognisable by `skycap-error`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus

from proxy.errors import Failure
from proxy.wire.fields import Field, lines_of

REASONS = {
    303: b"See Other",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    408: b"Request Timeout",
    421: b"Misdirected Request",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    508: b"Loop Detected",
}
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
"""Those that only a rule asks for."""


def reason(status: int) -> bytes:
    """The phrase behind a status, which means nothing to programs (RFC 9112 section 4); b"" for one without."""
    return REASONS.get(status) or _PHRASES.get(status, b"")


def reply_head(status: int, fields: Sequence[Field], length: int, *, close: bool) -> bytes:
    """The head of an answer of which all but its length is known. close: announce that the connection is closed."""
    framing = b"" if status == 204 or status == 304 else b"content-length: %d\r\n" % length
    end = b"connection: close\r\n" if close else b""
    return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (status, reason(status), lines_of(fields), framing, end)


CONNECTED = b"HTTP/1.1 200 OK\r\n\r\n"
"""The answer to CONNECT; no framing fields (RFC 9110 section 9.3.6)."""


def problem(
    failure: Failure, detail: str, *, workload: str, sandbox: str, close: bool, fields: Sequence[Field]
) -> tuple[bytes, bytes]:
    """Head and body of the answer for one failure.

    detail:  one sentence about this occurrence.
    sandbox: whose request it was, empty for the baseline's.
    close:   announce that the connection will be closed.
    fields:  further ones.
    """
    document = {
        "type": f"urn:skycap:error:{failure.code}",
        "title": failure.title,
        "status": failure.status,
        "detail": detail,
        "code": failure.code,
        "workload": workload,
        "sandbox": sandbox,
        "hint": failure.hint,
    }
    body = json.dumps({name: value for name, value in document.items() if value != ""}).encode() + b"\n"
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\nskycap-error: %b\r\n" % (
        failure.status,
        reason(failure.status),
        len(body),
        failure.code.encode(),
    )
    if failure.status == 503:
        head += b"retry-after: 1\r\n"
    if close:
        head += b"connection: close\r\n"
    return head + lines_of(fields) + b"\r\n", body
