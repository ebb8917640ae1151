"""Header blocks (RFC 7541): taken apart, made, and written again so that they need no table.

Both peers are told SETTINGS_HEADER_TABLE_SIZE 0, and the first block to each of them begins with a size update to 0
(sections 4.2 and 6.3). From then on a block means the same on every connection, so that it is passed on as the bytes
that came, and what is added to it is a literal. Until a peer has obeyed (its first blocks, and for good where it never
does) `Table` follows its table and writes its blocks again without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.wire.h2.faults import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault, StreamFault
from proxy.wire.h2.frames import MAX_BLOCK
from proxy.wire.h2.huffman import decode
from proxy.wire.h2.settings import DEFAULT_TABLE

NO_TABLE: Final = b"\x20"
"""A size update to 0."""

MAX_PARTS: Final = 4_096
"""More fields than any limit lets a block have: each may be one byte of it, and costs 2 us to read."""

_STATIC_TEXT: Final = (
    "|:authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204"
    "|:status=206|:status=304|:status=400|:status=404|:status=500|accept-charset|accept-encoding=gzip, deflate"
    "|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control"
    "|content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type"
    "|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since"
    "|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after"
    "|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)


def _static() -> list[tuple[bytes, bytes]]:
    found = []
    for field in _STATIC_TEXT.split("|"):
        name, _, value = field.partition("=")
        found.append((bytes([len(name)]) + name.encode(), bytes([len(value)]) + value.encode()))
    return found


STATIC: Final = _static()
"""Appendix A, as encoded strings; its first entry has the number 1."""


class Part(NamedTuple):
    """One representation of a block.

    start, stop: where it stands in the block; value_at: where its value does, `stop` when it is only an index.
    number:      of its name or field in the tables, 0 for none; the new size of a size update.
    name, value: encoded strings, b"" for both of a size update.
    """

    start: int
    value_at: int
    stop: int
    number: int
    name: bytes
    value: bytes


class Entry(NamedTuple):
    """size: section 4.1."""

    name: bytes
    value: bytes
    size: int


def integer(block: bytes, start: int, bits: int) -> tuple[int, int]:
    """The number whose prefix has so many bits, and where it ends (section 5.1). Raises ConnectionFault, IndexError."""
    limit = (1 << bits) - 1
    value, start = block[start] & limit, start + 1
    if value < limit:
        return value, start
    shift = 0
    while shift <= 21:
        byte = block[start]
        value, shift, start = value + ((byte & 127) << shift), shift + 7, start + 1
        if byte < 128:
            return value, start
    raise ConnectionFault(COMPRESSION_ERROR, "a number that is too large (RFC 7541 section 5.1)")


def write_integer(value: int, bits: int, first: int) -> bytes:
    """first: the bits in front of the prefix."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = [first | limit], value - limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: bytes) -> bytes:
    """As it stands, which costs nothing to read."""
    return write_integer(len(text), 7, 0) + text


def text_of(encoded: bytes) -> bytes:
    """What an encoded string says. Raises ConnectionFault."""
    first = encoded[0]
    start = 1
    if first & 127 == 127:
        start = integer(encoded, 0, 7)[1]
    return encoded[start:] if first < 128 else decode(encoded[start:])


def literal(name: bytes, value: bytes) -> bytes:
    """A field that needs no table (section 6.2.2)."""
    if len(name) < 127 and len(value) < 127:
        return b"\0%c%b%c%b" % (len(name), name, len(value), value)
    return b"\0" + string(name) + string(value)


def literals(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join([literal(name, value) for name, value in fields])


def part_at(block: bytes, start: int, entries: Sequence[Entry]) -> Part:
    """The representation that begins there. Raises ConnectionFault, IndexError where the block or the table ends."""
    byte = block[start]
    index, at = integer(block, start, 7 if byte & 128 else 6 if byte & 64 else 5 if byte & 32 else 4)
    if byte & 0xE0 == 0x20:
        return Part(start, at, at, index, b"", b"")
    value = b""
    if index > 61:
        entry = entries[index - 62]
        name, value = entry.name, entry.value
    elif index:
        name, value = STATIC[index]
    elif byte & 128:
        raise IndexError
    else:
        size, stop = integer(block, at, 7)
        name, at = block[at : stop + size], stop + size
    stop = at
    if byte < 128:
        size, stop = integer(block, at, 7)
        stop += size
        value = block[at:stop]
    if stop > len(block):
        raise IndexError
    return Part(start, at, stop, index, name, value)


_CUT: Final = "an index without an entry, or a block that ends within a field (RFC 7541 sections 2.3.3 and 6)"

_MANY: Final = "a header block of too many fields or size updates"


def walk(block: bytes, most: int = MAX_PARTS) -> list[Part]:
    """The parts of a block that needs no table. Raises StreamFault where there are more of them, ConnectionFault."""
    parts: list[Part] = []
    start = 0
    try:
        while start < len(block):
            part = part_at(block, start, ())
            if not part.name:
                raise ConnectionFault(COMPRESSION_ERROR, "a size update out of place (RFC 7541 section 4.2)")
            parts.append(part)
            if len(parts) > most:
                raise StreamFault(ENHANCE_YOUR_CALM, f"more than {most} fields")
            start = part.stop
    except IndexError:
        raise ConnectionFault(COMPRESSION_ERROR, _CUT) from None
    return parts


class Table:
    """The dynamic table of a peer that was not yet told, or does not heed, that we want none. It keeps encoded strings,
    so that what refers to them can be written again.

    allowed: what the peer may make it; 0 when it has acknowledged our settings.
    most:    fields and size updates of a block that are still read: what is refused has to be known as well, for others
             refer to it.
    """

    __slots__ = ("_entries", "_limit", "_most", "_size", "allowed")

    def __init__(self, most: int = MAX_PARTS) -> None:
        self._entries: list[Entry] = []
        self._most = most
        self._size = 0
        self._limit = DEFAULT_TABLE
        self.allowed = DEFAULT_TABLE

    def __repr__(self) -> str:
        return f"<Table entries={len(self._entries)} size={self._size} limit={self._limit} allowed={self.allowed}>"

    def plain(self, block: bytes) -> bytes:
        """The same block without a reference to the table. Raises ConnectionFault."""
        out: list[bytes] = []
        # What is written again may be larger than what came: an index of one byte may stand for 4,000.
        room = MAX_BLOCK
        start = parts = 0
        try:
            while start < len(block):
                part = part_at(block, start, self._entries)
                byte, start = block[start], part.stop
                parts += 1
                if parts > self._most:
                    raise ConnectionFault(ENHANCE_YOUR_CALM, _MANY)
                if not part.name:
                    if out or part.number > self.allowed:
                        raise ConnectionFault(COMPRESSION_ERROR, "a size update out of place (RFC 7541 section 4.2)")
                    self._limit = part.number
                    self._evict()
                    continue
                if part.number > 61:
                    never = byte & 0xF0 == 0x10
                    piece = (b"\x10" if never else b"\0") + part.name + part.value
                else:
                    piece = block[part.start : part.stop]
                out.append(piece)
                room -= len(piece)
                if room < 0:
                    raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block that is too large")
                if byte & 0xC0 == 0x40:
                    self._add(part)
        except IndexError:
            raise ConnectionFault(COMPRESSION_ERROR, _CUT) from None
        return b"".join(out)

    def _add(self, part: Part) -> None:
        size = len(text_of(part.name)) + len(text_of(part.value)) + 32
        self._entries.insert(0, Entry(part.name, part.value, size))
        self._size += size
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            self._size -= self._entries.pop().size
