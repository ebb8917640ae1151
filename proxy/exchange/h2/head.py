"""The head of a stream's request in the form in which sides ask for it.

Its block is passed on as it came, and most of it is never looked at. What a side asks of nearly every request stands in
the attributes of `RequestHead`; the rest is taken out of the block when somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.wire.framing import NO_BODY
from proxy.wire.h2.template import fields_of
from proxy.wire.head import RequestHead, ResponseHead

Field = tuple[bytes, bytes]


class StreamHead(RequestHead):
    """
    block:   as it is passed on, without the `skycap-hop` of the sidecar before.
    grpc:    its content is gRPC.
    expects: the bytes of content that it announces, -1 when it does not.
    data:    method, target and version, and the `traceparent` as it came; all fields where a head is not plain.
    low:     empty, unless the head is large or not plain: then as long, and of as many lines, as the whole head.
    """

    __slots__ = ("_fields", "_values", "block", "expects", "grpc")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        block: bytes,
        low: bytes,
        parent: bytes | None,
        request_id: bytes | None,
        sent: bytes,
    ) -> None:
        super().__init__(b"%b %b HTTP/2\r\n%b" % (method, target, sent), low, method, NO_BODY, parent, request_id)
        self.block = block
        self.grpc = False
        self.expects = -1
        self._fields: Sequence[Field] | None = None
        self._values: dict[bytes, list[bytes]] | None = None

    @property
    def fields(self) -> Sequence[Field]:
        """All, pseudo-header fields included."""
        if self._fields is None:
            self._fields = fields_of(self.block)
        return self._fields

    def values(self, name: bytes, /) -> list[bytes]:
        if self._values is None:  # who asks for one usually asks for thirty
            self._values = {}
            for found, value in self.fields:
                self._values.setdefault(found, []).append(value.strip(b" \t"))
        return self._values.get(name, [])

    def among(self, names: frozenset[bytes], /) -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.fields:
            if name in names:
                found.setdefault(name, []).append(value.strip(b" \t"))
        return found

    def sent(self) -> bytes:
        return text_of_head(b"%b %b HTTP/2" % (self.method, self.target), self.fields)

    def spell(self) -> None:
        """Write it as HTTP/1 would, for questions that are asked of the text."""
        self.data = self.low = self.sent()
        self.end = len(self.low)


def answer_head(block: bytes, status: int) -> ResponseHead:
    """The head of an answer, or its trailers (status 0), as HTTP/1 would write it."""
    text = text_of_head(b"HTTP/2 %d" % status, fields_of(block))
    head = ResponseHead(text, text, status, NO_BODY)
    head.claims = True
    return head


def text_of_head(start: bytes, fields: Sequence[Field]) -> bytes:
    """Field lines behind a start line, and the blank line. `:authority` is written as the `host` that it stands for."""
    lines = [start]
    for name, value in fields:
        if name[:1] != b":":
            lines.append(b"%b: %b" % (name, value))
        elif name == b":authority":
            lines.append(b"host: " + value)
    return b"\r\n".join([*lines, b"", b""])
