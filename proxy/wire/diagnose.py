"""Why a head did not match: incomplete, or bad, and what is bad about it.

Only heads that the pattern of `proxy.wire.head` refused come here, so nothing in this module is fast. A head is
judged line by line as far as it has come: a bare LF or a space before a colon is answered at once instead of
after a timeout, because the blank line that the sender believes to have sent will never arrive.
"""

from __future__ import annotations

import re

from proxy.errors import (
    BAD_REQUEST,
    BAD_RESPONSE,
    HEAD_TOO_LARGE,
    UNSUPPORTED_METHOD,
    UNSUPPORTED_VERSION,
    Failure,
    Refused,
)
from proxy.wire.grammar import BARE_LINE_END, FIELD_LINE, FIELD_VALUE, MAX_METHOD, METHOD, TARGET, TOKEN
from proxy.wire.repair import HEAD_END

_REQUEST_LINE = re.compile(METHOD + rb" " + TARGET + rb" HTTP/1\.[0-9]")
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] [1-9][0-9][0-9](?>(?: " + FIELD_VALUE + rb")?)")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_LONG_METHOD = re.compile(TOKEN + rb"{%d}" % (MAX_METHOD + 1))
_BARE_CR = re.compile(rb"\r(?!\n|\Z)")
_LINE_END = re.compile(rb"\r?\n")
_FIELD = re.compile(FIELD_LINE)
_SPACE_BEFORE_COLON = re.compile(TOKEN + rb"++[ \t]++:")
_REPAIRABLE = re.compile(rb"[ \t]|" + TOKEN + rb"++[ \t]++:")


def diagnose_request(data: bytes, head_bytes: int, header_lines: int) -> None:
    """Return when `data` may still become a request head, raise Refused when it never will."""
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[: end + 4]
    _check_octets(head, BARE_LINE_END, "a CR or LF that stands alone (RFC 9112 section 2.2)", BAD_REQUEST)
    if _LONG_METHOD.match(head):
        raise Refused(UNSUPPORTED_METHOD, f"the method has more than {MAX_METHOD} characters (RFC 9112 section 3)")
    lines = head.split(b"\r\n")[: -1 if end < 0 else -2]
    if lines and not _REQUEST_LINE.fullmatch(lines[0]):
        raise _bad_request_line(lines[0])
    for line in lines[1:]:
        if not _FIELD.fullmatch(line + b"\r\n"):
            raise Refused(BAD_REQUEST, _bad_field(line))
    _check_size(len(lines) - 1, header_lines, len(head), head_bytes, HEAD_TOO_LARGE)


def diagnose_response(data: bytes, head_bytes: int, header_lines: int) -> bool:
    """False when `data` may still become a response head, True when the head is complete and only its lines need the
    repair of `proxy.wire.repair`. Raises Refused otherwise."""
    end = HEAD_END.search(data)
    head = data if end is None else data[: end.end()]
    _check_octets(head, _BARE_CR, "a CR that stands alone (RFC 9112 section 2.2)", BAD_RESPONSE)
    lines = _LINE_END.split(head)[: -1 if end is None else -2]
    if lines and not _STATUS_LINE.fullmatch(lines[0]):
        raise Refused(BAD_RESPONSE, "the status line is malformed (RFC 9112 section 4)")
    if len(lines) > 1 and lines[1].startswith((b" ", b"\t")):
        raise Refused(BAD_RESPONSE, "white space between the status line and the first field (RFC 9112 section 2.2)")
    for line in lines[1:]:
        if not _FIELD.fullmatch(line + b"\r\n") and not _REPAIRABLE.match(line):
            raise Refused(BAD_RESPONSE, _bad_field(line))
    _check_size(len(lines) - 1, header_lines, len(head), head_bytes, BAD_RESPONSE)
    return end is not None


def _check_octets(head: bytes, line_end: re.Pattern[bytes], why: str, failure: Failure) -> None:
    """Refuse what must not stand anywhere in a head."""
    if line_end.search(head):
        raise Refused(failure, why)
    if b"\0" in head:
        raise Refused(failure, "a NUL character in the head (RFC 9110 section 5.5)")


def _check_size(lines: int, most_lines: int, size: int, most_bytes: int, failure: Failure) -> None:
    if lines > most_lines:
        raise Refused(failure, f"the head has more than {most_lines} field lines")
    if size > most_bytes:
        raise Refused(failure, f"the head has more than {most_bytes} bytes")


def _bad_request_line(line: bytes) -> Refused:
    parts = line.split(b" ")
    if len(parts) != 3 or not all(parts):
        return Refused(BAD_REQUEST, "the request line is not METHOD SP TARGET SP VERSION (RFC 9112 section 3)")
    method, target, version = parts
    if not re.fullmatch(TOKEN + rb"++", method):
        return Refused(BAD_REQUEST, "the method is not a token (RFC 9110 section 9.1)")
    if b"#" in target:
        return Refused(BAD_REQUEST, "the request target has a fragment (RFC 9112 section 3.2)")
    if not re.fullmatch(TARGET, target):
        why = "the request target has characters that must be percent-encoded (RFC 9112 section 3.2)"
        return Refused(BAD_REQUEST, why)
    if _VERSION.fullmatch(version):
        return Refused(UNSUPPORTED_VERSION, f"{version.decode()} is not spoken here (RFC 9110 section 2.5)")
    return Refused(BAD_REQUEST, f"the version {_show(version)} is neither HTTP/1.0 nor HTTP/1.1 (RFC 9112 section 2.3)")


def _bad_field(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "a folded field line (RFC 9112 section 5.2)"
    if _SPACE_BEFORE_COLON.match(line):
        return f"white space before the colon in {_show(line)} (RFC 9112 section 5.1)"
    return f"{_show(line)} is not a field line (RFC 9112 section 5)"


def _show(text: bytes) -> str:
    """A quotation for a person: short, and without characters that could play tricks in a log or a terminal."""
    shown = text[:40].decode("ascii", "backslashreplace")
    return repr(shown + ("..." if len(text) > 40 else ""))
