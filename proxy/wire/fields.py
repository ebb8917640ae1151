"""Fields that are added to messages: data, of which each protocol keeps what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Field = tuple[bytes, bytes]
"""A name in lower case, and a value without surrounding white space."""


class Addition:
    """Fields that are added to many messages.

    lines:    as HTTP/1 writes them, None until it has done so once (`field_lines`).
    literals: as HTTP/2 writes them, None until it has (`proxy.wire.h2.hpack`).
    """

    __slots__ = ("fields", "lines", "literals")

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = fields
        self.lines: bytes | None = None
        self.literals: bytes | None = None

    def __repr__(self) -> str:
        return f"<Addition {', '.join(name.decode() for name, _ in self.fields) or 'nothing'}>"


NOTHING_ADDED: Final = Addition(())


def lines_of(fields: Sequence[Field]) -> bytes:
    """The field lines of HTTP/1 (RFC 9112 section 5), each with its CRLF."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def field_lines(addition: Addition) -> bytes:
    """`lines_of` what is added, made once."""
    lines = addition.lines
    if lines is None:
        lines = addition.lines = lines_of(addition.fields)
    return lines
