"""Mending an application's answer that can be read in one way only, as RFC 9112 lets a recipient or asks a proxy to.

Answers come from our own side: whoever is behind the application's sloppiness, its clients work with it, and what is
forwarded can be made unambiguous. So it is mended instead of refused, and its connection is not used again, because
whoever writes one message carelessly may be wrong about where it ends. Requests are never mended: there, whatever two
parsers may read in two ways is an attack.

lines     a bare LF ends a line (section 2.2), a folded line is joined (5.2), white space before a colon goes (5.1)
framing   equal lengths become one (6.3 step 5), a length beside chunks goes (6.3 step 3), `identity` goes: it was the
          name of no coding until RFC 7230 removed it
version   a higher minor version is processed as 1.1 (RFC 9110 section 2.5)
"""

from __future__ import annotations

import re

from proxy.wire.framing import Fields
from proxy.wire.grammar import CONTENT_LENGTH, TOKEN

HEAD_END = re.compile(rb"\n\r?\n")
"""Of a head whose lines may end in LF alone."""

_FOLDS = re.compile(rb"(?<![ \t])[ \t]*+(?>(?:\r\n[ \t]++)+)")
"""Obsolete line folding, with the white space in front of it. Not tried from the middle of a run of white space: a
long one that ends in no fold would be searched once from each of its characters."""

_NAME_AND_SPACE = re.compile(rb"(\r\n" + TOKEN + rb"++)[ \t]++:")

_FRAMING_LINE = re.compile(rb"\r\n(?:content-length|transfer-encoding):[^\r]*+", re.IGNORECASE)


def repair_lines(data: bytes) -> bytes:
    """Give the head at the start of `data`, which has come whole, the lines that it should have. Nothing behind it is
    touched."""
    match = HEAD_END.search(data)
    assert match is not None
    end = match.end()
    head = b"\r\n".join(line.removesuffix(b"\r") for line in data[:end].split(b"\n"))[:-4]
    return b"%b\r\n\r\n%b" % (_NAME_AND_SPACE.sub(rb"\1:", _FOLDS.sub(b" ", head)), data[end:])


def repairable_framing(fields: Fields) -> bytes | None:
    """The one field line, with its CRLF, that says what these fields say twice or in a way of old; b"" when they say
    nothing; None when there is nothing to repair, or more than can be: what is ambiguous is for
    `proxy.wire.framing.response_framing` to refuse."""
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    members = [member.strip(b" \t") for value in lengths for member in value.split(b",")]
    if members and (members != members[:1] * len(members) or not CONTENT_LENGTH.fullmatch(members[0])):
        return None
    if codings == [b"identity"]:
        return b"content-length: %b\r\n" % members[0] if members else b""
    if codings == [b"chunked"]:
        return b"transfer-encoding: chunked\r\n" if members else None
    if not codings and len(members) > 1:
        return b"content-length: %b\r\n" % members[0]
    return None


def replace_framing(data: bytes, end: int, line: bytes) -> bytes:
    """`data` with `line` in place of all framing fields of the head that ends at `end`."""
    return b"%b\r\n%b\r\n%b" % (_FRAMING_LINE.sub(b"", data[: end - 4]), line, data[end:])
