"""Where a message body ends: the one place that decides it, in the order of RFC 9112 section 6.3.

We are stricter than the RFC allows a recipient to be wherever leniency lets two parsers see two different
messages (section 11.2, request smuggling). Nothing here guesses: what is ambiguous is refused and the connection
closed.

Field values come in lower case, as `proxy.wire.head` found them.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, UNSUPPORTED_TRANSFER_CODING, Failure, Refused
from proxy.wire.grammar import CODINGS, CONTENT_LENGTH

NO_BODY: Final = 0
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

Fields = dict[bytes, list[bytes]]
"""Lower-case name -> its values in order, lower case, stripped of SP and HTAB."""


def collect(found: list[tuple[bytes, bytes]]) -> Fields:
    """Group (name, value) pairs by name."""
    fields: Fields = {}
    for name, value in found:
        fields.setdefault(name, []).append(value.strip(b" \t"))
    return fields


def request_framing(fields: Fields, http10: bool) -> int:
    """The body of a request: CHUNKED or its length in bytes. Raises Refused."""
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    # 6.3 (3): both at once is what smuggling looks like; section 6.1 lets a server refuse it.
    if codings is not None and lengths is not None:
        raise Refused(BAD_REQUEST, "content-length together with transfer-encoding (RFC 9112 section 6.3)")
    if codings is not None:
        # 6.1: HTTP/1.0 knows no transfer codings; a sender of one hides something from an older parser.
        if http10:
            raise Refused(BAD_REQUEST, "transfer-encoding in an HTTP/1.0 request (RFC 9112 section 6.1)")
        # 6.3 (4): a request whose final coding is not chunked has no reliable end.
        _check_chunked(codings, BAD_REQUEST)
        return CHUNKED
    if lengths is not None:
        # 6.3 (5) and (6)
        return content_length(lengths, BAD_REQUEST)
    # 6.3 (7)
    return NO_BODY


def response_framing(method: bytes, status: int, fields: Fields, http10: bool) -> int:
    """The body of a final response to `method`: CHUNKED, UNTIL_CLOSE or its length. Raises Refused."""
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    # 6.3 (1): no body, whatever the fields say; but what they say of a GET's has to make sense.
    # 6.3 (2): behind a 2xx to CONNECT comes a tunnel; fields that speak of a body are ignored.
    tunnel = method == b"CONNECT" and 200 <= status < 300
    bodiless = method == b"HEAD" or status < 200 or status in (204, 304) or tunnel
    # 6.3 (3)
    if codings is not None and lengths is not None:
        raise Refused(BAD_RESPONSE, "content-length together with transfer-encoding (RFC 9112 section 6.3)")
    if codings is not None:
        # 6.1: HTTP/1.0 knows no transfer codings
        if http10:
            raise Refused(BAD_RESPONSE, "transfer-encoding in an HTTP/1.0 response (RFC 9112 section 6.1)")
        # 6.3 (4): read until close would be legal here, but a next recipient could see chunks in it.
        _check_chunked(codings, BAD_RESPONSE)
        return NO_BODY if bodiless else CHUNKED
    if lengths is not None:
        # 6.3 (5) and (6)
        length = content_length(lengths, BAD_RESPONSE)
        return NO_BODY if bodiless else length
    # 6.3 (8)
    return NO_BODY if bodiless else UNTIL_CLOSE


def content_length(values: list[bytes], failure: Failure) -> int:
    """The one content-length. A list of equal values is refused too, though 6.3 (5) would allow it: a recipient
    that takes the list for a number is one smuggled request away."""
    if len(values) != 1:
        raise Refused(failure, "more than one content-length (RFC 9112 section 6.3)")
    if not CONTENT_LENGTH.fullmatch(values[0]):
        raise Refused(failure, "content-length is not a number (RFC 9110 section 8.6)")
    return int(values[0])


def _check_chunked(values: list[bytes], failure: Failure) -> None:
    """Exactly one coding, and it is `chunked`."""
    if values == [b"chunked"]:
        return
    # A well-formed list of codings that we do not know is one thing (501, section 6.1) ...
    if failure is BAD_REQUEST and len(values) == 1 and CODINGS.fullmatch(values[0]):
        codings = [coding.strip(b" \t") for coding in values[0].split(b",")]
        if b"chunked" not in codings[:-1] and b"identity" not in codings:
            raise Refused(
                UNSUPPORTED_TRANSFER_CODING,
                "only the transfer coding `chunked` is supported (RFC 9112 section 6.1)",
            )
    # ... an empty, repeated, misplaced or misspelt one another.
    raise Refused(failure, "transfer-encoding is not exactly one `chunked` (RFC 9112 section 6.1)")
