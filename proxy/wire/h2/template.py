"""A block looks like the last one: templates of blocks that were taken apart once.

A template is fixed bytes with holes between them, for the values that change: those of `HOLES`, and whatever differed
from the last block with the same fields. The next block is compared with the fixed bytes, and only what stands in the
holes is looked at (1.2 us, where a decoder takes 100). That is sound because representations without a table are a
prefix code: known bytes between known holes are the same fields. A hole is a value of less than 127 bytes as it is
encoded, and of a field whose values are not bound to others (`FIXED`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.wire.h2.hpack import MAX_PARTS, text_of, walk

HOLES: Final = frozenset(
    {
        b"traceparent", b"x-request-id", b"baggage", b":path", b"grpc-timeout", b"date", b"content-length",
    }
)  # fmt: skip
"""Fields whose values vary from message to message."""

FIXED: Final = frozenset(
    {
        b":method", b":scheme", b":authority", b":protocol", b":status", b"host", b"te", b"content-type",
        b"grpc-status",
    }
)  # fmt: skip
"""Fields of which a template knows the value: what they say decides how the message is read."""

MAX_SHAPES: Final = 256
"""Shapes of blocks that are remembered, more than a service has kinds of messages; when they are full they start over.
At 12 KiB each (MAX_TEMPLATE and MAX_FIELDS, as they weigh) 3 MiB for each side, and 300 KiB as things are."""

MAX_TEMPLATE: Final = 4_096
"""Bytes of a block that becomes one; larger ones are taken apart each time."""

MAX_FIELDS: Final = 64
"""Of such a block. A field may be one byte of it, and weighs 100 as an object."""

RECENT: Final = 8
"""Templates that a block is compared with: most messages have few shapes, and each costs 0.2 us to rule out."""


class Template:
    """
    fields: names and values of the block that it was made of, pseudo-header fields included.
    names:  of the holes, in their order.
    """

    __slots__ = ("_parts", "_tail", "fields", "names", "varying")

    def __init__(self, block: bytes, before: Template | None = None, most: int = MAX_PARTS) -> None:
        """before: the last one of this shape; most: fields that it may have. Raises StreamFault, ConnectionFault."""
        parts = walk(block, most)
        fields = [(text_of(part.name), text_of(part.value)) for part in parts]
        varying = HOLES
        if before is not None:
            both = zip(fields, before.fields, strict=True)
            varying = (before.varying | {name for (name, value), (_, other) in both if value != other}) - FIXED
        self.fields: list[tuple[bytes, bytes]] = fields
        self.varying: frozenset[bytes] = varying
        self.names: list[bytes] = []
        self._parts: list[tuple[bytes, int]] = []
        begin = 0
        for part, (name, _) in zip(parts, fields, strict=True):
            if name in varying and 0 < part.stop - part.value_at <= 127:
                self._parts.append((block[begin : part.value_at], part.value_at - begin))
                self.names.append(name)
                begin = part.stop
        self._tail = block[begin:]

    def __repr__(self) -> str:
        return f"<Template {len(self.fields)} fields, holes: {b', '.join(self.names).decode('latin-1')}>"

    def match(self, block: bytes) -> list[bytes] | None:
        """The encoded strings in the holes; None when the block is not of this kind."""
        start = 0
        end = len(block)
        values: list[bytes] = []
        for part, size in self._parts:
            stop = start + size
            if stop >= end or block[start:stop] != part:
                return None
            length = block[stop] & 127
            if length == 127:
                return None
            start = stop + 1 + length
            values.append(block[stop:start])
        return values if block[start:] == self._tail else None


def shape_of(block: bytes, most: int = MAX_PARTS) -> tuple[bytes, ...]:
    """What blocks of one kind have in common: the names of their fields in order, and the indexes that stand for whole
    fields. Raises StreamFault, ConnectionFault."""
    parts = walk(block, most)
    return tuple([part.name if part.value_at < part.stop else block[part.start : part.stop] for part in parts])


class Shapes:
    """The last template of each shape.

    most: fields that a block may have.
    """

    __slots__ = ("_known", "_most")

    def __init__(self, most: int = MAX_PARTS) -> None:
        self._most = most
        self._known: dict[tuple[bytes, ...], Template] = {}

    def __len__(self) -> int:
        return len(self._known)

    def template(self, block: bytes) -> Template:
        """A new one for a block that matches none. Raises StreamFault, ConnectionFault."""
        if len(block) > MAX_TEMPLATE:
            return Template(block, None, self._most)
        shape = shape_of(block, self._most)
        if len(shape) > MAX_FIELDS:
            return Template(block)
        template = Template(block, self._known.get(shape))
        if len(self._known) >= MAX_SHAPES:
            self._known.clear()
        self._known[shape] = template
        return template


def without(block: bytes, names: frozenset[bytes]) -> bytes:
    """A block without the fields that have one of the names; a name that ends with a dash stands for all that begin
    with it. Raises ConnectionFault."""
    prefixes = tuple([name for name in names if name.endswith(b"-")])
    out: list[bytes] = []
    begin = 0
    for part in walk(block):
        name = text_of(part.name)
        if name in names or name.startswith(prefixes):
            out.append(block[begin : part.start])
            begin = part.stop
    if not begin:
        return block
    out.append(block[begin:])
    return b"".join(out)


def fields_of(block: bytes, most: int = MAX_PARTS) -> Sequence[tuple[bytes, bytes]]:
    """Names and values. Raises StreamFault where there are more of them, ConnectionFault."""
    return [(text_of(part.name), text_of(part.value)) for part in walk(block, most)]
