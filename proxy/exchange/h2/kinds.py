"""Kinds of requests and answers: what is known of a header block by the template that it matches.

A block is checked in full when its template is made; of one that matches, only what stands in the holes is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from proxy.exchange.caching import CACHING, UNCACHED
from proxy.exchange.h2.head import StreamHead, text_of_head
from proxy.routing.context import CONTEXT_FIELDS, MAX_HEAD_BYTES, MAX_HEAD_LINES
from proxy.wire.h2.faults import ENHANCE_YOUR_CALM, StreamFault
from proxy.wire.h2.frames import MAX_BLOCK
from proxy.wire.h2.hpack import text_of
from proxy.wire.h2.huffman import suspect
from proxy.wire.h2.rules import (
    check_answer,
    check_ends,
    check_path,
    check_request,
    check_trailers,
    check_value,
    length_of,
)
from proxy.wire.h2.template import RECENT, Shapes, Template
from proxy.wire.head import Limits

OTHER: Final = 0
TRACEPARENT: Final = 1
REQUEST_ID: Final = 2
BAGGAGE: Final = 3
PATH: Final = 4
LENGTH: Final = 5
_ROLES: Final = {
    b"traceparent": TRACEPARENT, b"x-request-id": REQUEST_ID, b"baggage": BAGGAGE, b":path": PATH,
    b"content-length": LENGTH,
}  # fmt: skip

_PARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ID: Final = re.compile(rb"[!-~]{1,200}+")
"""As in `proxy.wire.head`: what is not of this form is found by those who ask for all fields."""

_PLAIN_PARENT: Final = re.compile(rb"\x37" + _PARENT.pattern)
_SPACE: Final = 0b010100
"""Of the Huffman code."""
_PLAIN_ID: Final = re.compile(rb"[\x01-\x7e][!-@\[-~]++")
"""Encoded as they stand and in lower case, as nearly all are: then there is no more to check."""

MAX_KNOWN: Final = 1_024
MAX_KNOWN_BYTES: Final = 512
"""Paths and baggages that are remembered as they are encoded, 128 bytes each: 0.5 MiB of each for each side, with what
they say. When they are full they start over. Bytes: of an answer's block."""

MAX_ANSWERS: Final = 128
"""Blocks of answers, each with its fields: 13 KiB at most, so 2 MiB for each side."""

GRPC: Final = b"application/grpc"


def is_grpc(content_type: bytes) -> bool:
    """`application/grpc`, with a suffix or parameters, but not `application/grpc-web`, which is HTTP."""
    return content_type.startswith(GRPC) and content_type[len(GRPC) : len(GRPC) + 1] in (b"", b"+", b";", b" ")


def check_hole(encoded: bytes) -> None:
    """A value that nobody asks for must not have what no value has. Raises StreamFault, ConnectionFault."""
    if encoded[0] & 128:
        if suspect(encoded, 1):
            check_value(text_of(encoded))
    elif 0 in encoded or 13 in encoded or 10 in encoded:  # or it is as long
        check_value(text_of(encoded))


def check_asked(encoded: bytes) -> None:
    """The same of a request, which has no white space around it either. Raises StreamFault, ConnectionFault."""
    if encoded[0] & 128:
        if not suspect(encoded, 1):  # a tab would be
            if len(encoded) == 1:
                return
            last = encoded[-2] << 8 | encoded[-1]
            bit = (last + 1) & ~last  # behind the padding, which is of ones: the code of a space ends with a zero
            if encoded[1] >> 2 != _SPACE and last & 63 * bit != _SPACE * bit:
                return
    elif not (0 in encoded or 13 in encoded or 10 in encoded) and encoded[1] > 32 and encoded[-1] > 32:
        return
    value = text_of(encoded)
    check_value(value)
    check_ends(value)


class RequestKind:
    """
    template:  which blocks are of this kind.
    usual:     `baggage` says all about the key, and no field of a sidecar stands there.
    """

    __slots__ = (
        "_authority", "_baggage", "_expects", "_grpc", "_low", "_method", "_parent", "_path", "_request_id", "_roles",
        "_traced", "protocol", "template", "usual",
    )  # fmt: skip

    def __init__(self, template: Template, carriers: frozenset[bytes]) -> None:
        """carriers: further fields that may have a key or a trace. Raises StreamFault."""
        fields = template.fields
        pseudo = check_request(fields)
        values: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            values.setdefault(name, []).append(value)
        self.template = template
        self.protocol = pseudo.get(b":protocol", b"")
        self._method = pseudo[b":method"]
        self._path = pseudo.get(b":path", b"") or pseudo.get(b":authority", b"")
        self._authority = pseudo.get(b":authority", b"")
        self._grpc = is_grpc(values.get(b"content-type", [b""])[0])
        self._expects = length_of(values.get(b"content-length", []))
        once = all(len(values.get(name, ())) < 2 for name in (b"baggage", b"traceparent", b"x-request-id"))
        self.usual = (
            once
            and not any(name in carriers and name != b"baggage" for name in values)
            and not any(name.startswith(b"skycap-") for name in values)
        )
        known = {b"traceparent", b"x-request-id"}
        self._traced = any(name in CONTEXT_FIELDS and name not in known for name in values)
        self._baggage = values.get(b"baggage", [None])[0]
        self._parent = values.get(b"traceparent", [None])[0]
        self._request_id = values.get(b"x-request-id", [None])[0]
        self._roles = [_ROLES.get(name, OTHER) for name in template.names]
        text = text_of_head(b"%b %b HTTP/2" % (self._method, self._path), fields)
        self._low = text if len(text) > MAX_HEAD_BYTES or text.count(b"\r\n") > MAX_HEAD_LINES else b""

    def __repr__(self) -> str:
        return f"<RequestKind {self._method.decode('latin-1')} {self.template!r}>"

    def read(self, block: bytes, encoded: Sequence[bytes], kinds: Kinds, *, asleep: bool) -> StreamHead:
        """The head of a block with these values in its holes. asleep: nobody asks for traces of what has no key, for
        which its fields are there. Raises StreamFault, ConnectionFault."""
        path, baggage, parent, request_id, expects = (
            self._path, self._baggage, self._parent, self._request_id, self._expects,
        )  # fmt: skip
        untraced = asleep and baggage is None
        traced = self._traced
        checked = 0  # which of parent and request id are as they have to be
        roles = self._roles
        for place, value in enumerate(encoded):
            role = roles[place]
            if role == OTHER or (untraced and role < BAGGAGE):
                check_asked(value)
            elif role == TRACEPARENT:
                if _PLAIN_PARENT.fullmatch(value):
                    parent = value[1:]
                    checked |= TRACEPARENT
                else:
                    parent = text_of(value)
                    check_value(parent)
                    check_ends(parent)
            elif role == REQUEST_ID:
                if _PLAIN_ID.fullmatch(value):
                    request_id = value[1:]
                    checked |= REQUEST_ID
                else:
                    request_id = text_of(value)
                    check_value(request_id)
                    check_ends(request_id)
            elif role == BAGGAGE:
                baggage = kinds.text(value)
            elif role == PATH:
                path = kinds.path(value, self._method)
            else:
                expects = length_of([text_of(value)])
        sent = parent or b""
        if untraced:
            parent, request_id, sent, traced = None, None, b"", True
        elif checked != TRACEPARENT | REQUEST_ID:
            if parent is not None and not checked & TRACEPARENT:
                parent = parent.lower()
                if not _PARENT.fullmatch(parent):
                    parent, traced = None, True
            if request_id is not None and not checked & REQUEST_ID:
                request_id = request_id.lower()
                if not _ID.fullmatch(request_id):
                    request_id, traced = None, True
        head = StreamHead(self._method, path, block, self._low, parent, request_id, sent)
        head.baggage = baggage
        head.traced = traced
        head.grpc = self._grpc
        head.expects = expects
        head.authority = self._authority
        if not self.usual:
            head.plain = False
            head.spell()
        return head


class AnswerKind:
    """
    status:      0 for trailers.
    grpc_status: -1 when it is not there.
    claims:      it has fields that only sidecars may say.
    caching:     it has fields that let a cache keep it.
    uncached:    a sidecar on the way has said that none may.
    expects:     its content-length, -1 without one.
    """

    __slots__ = ("caching", "claims", "expects", "grpc", "grpc_status", "status", "template", "uncached", "varying")

    def __init__(self, template: Template) -> None:
        """Raises StreamFault."""
        fields = template.fields
        names = [name for name, _ in fields]
        self.template = template
        self.status = 0
        self.expects = -1
        self.grpc = False
        if names[:1] == [b":status"]:
            self.status = check_answer(fields)
            self.expects = length_of([value for name, value in fields if name == b"content-length"])
            self.grpc = any(name == b"content-type" and is_grpc(value) for name, value in fields)
        else:
            check_trailers(fields)
        codes = [value for name, value in fields if name == b"grpc-status"]
        self.grpc_status = int(codes[0]) if codes and codes[0].isdigit() and len(codes[0]) < 4 else -1
        self.claims = any(name.startswith(b"skycap-") for name in names)
        self.caching = any(name in CACHING for name in names)
        self.uncached = all(field in fields for field in UNCACHED.fields)
        self.varying = b"content-length" in template.names

    def __repr__(self) -> str:
        return f"<AnswerKind {self.status or 'trailers'} {self.template!r}>"

    def check(self, encoded: Sequence[bytes]) -> int:
        """Values in the holes of a block. Returns its content-length, as in `expects`. Raises StreamFault."""
        expects = self.expects
        for name, value in zip(self.template.names, encoded, strict=True):
            if name == b"content-length":
                expects = length_of([text_of(value)])
            else:
                check_hole(value)
        return expects


class Kinds:
    """What one side has learned of the blocks that pass it.

    carriers:   names of the fields that may carry a key or a trace besides the usual ones.
    limits:     of one block, which counts as it is written without a table; 64 KiB at most.
    max_bytes, max_fields: of a block.
    """

    __slots__ = (
        "_answers", "_carriers", "_known_answers", "_paths", "_requests", "_shapes", "_texts",
        "max_bytes", "max_fields",
    )  # fmt: skip

    def __init__(self, carriers: frozenset[bytes], limits: Limits) -> None:
        self._carriers = carriers
        self.max_fields = limits.header_lines
        self.max_bytes = min(limits.head_bytes, MAX_BLOCK)
        self._shapes = Shapes(self.max_fields)
        self._requests: list[RequestKind] = []
        self._answers: list[AnswerKind] = []
        self._known_answers: dict[bytes, AnswerKind] = {}
        self._texts: dict[bytes, bytes] = {}
        self._paths: dict[bytes, bytes] = {}

    def __repr__(self) -> str:
        return f"<Kinds requests={len(self._requests)} answers={len(self._answers)} shapes={len(self._shapes)}>"

    def text(self, encoded: bytes) -> bytes:
        """A request's value that came out of a hole, and is short; remembered. Raises StreamFault, ConnectionFault."""
        found = self._texts.get(encoded)
        if found is None:
            found = text_of(encoded)
            check_value(found)
            check_ends(found)
            if len(self._texts) >= MAX_KNOWN:
                self._texts.clear()
            self._texts[encoded] = found
        return found

    def path(self, encoded: bytes, method: bytes) -> bytes:
        """As `text`, of a path."""
        found = self._paths.get(encoded)
        if found is None:
            found = text_of(encoded)
            check_path(found, method)
            if len(self._paths) >= MAX_KNOWN:
                self._paths.clear()
            if found != b"*":  # which not every method may ask for
                self._paths[encoded] = found
        return found

    def request(self, block: bytes, *, asleep: bool) -> tuple[RequestKind, StreamHead]:
        """A request's kind and its head; asleep: as in `RequestKind.read`. Raises StreamFault, ConnectionFault."""
        if len(block) > self.max_bytes:
            raise StreamFault(ENHANCE_YOUR_CALM, f"a head of more than {self.max_bytes} bytes")
        for kind in self._requests:
            encoded = kind.template.match(block)
            if encoded is not None:
                return kind, kind.read(block, encoded, self, asleep=asleep)
        template = self._shapes.template(block)
        kind = RequestKind(template, self._carriers)
        encoded = template.match(block)
        assert encoded is not None
        head = kind.read(block, encoded, self, asleep=asleep)
        self._requests = [kind, *self._requests[: RECENT - 1]]
        return kind, head

    def answer(self, block: bytes) -> tuple[AnswerKind, int]:
        """An answer's kind, or that of trailers, and its content-length. Raises StreamFault, ConnectionFault."""
        if len(block) > self.max_bytes:
            raise StreamFault(ENHANCE_YOUR_CALM, f"a head of more than {self.max_bytes} bytes")
        known = self._known_answers.get(block)
        if known is not None:
            return known, known.expects
        for kind in self._answers:
            encoded = kind.template.match(block)
            if encoded is not None:
                return kind, kind.check(encoded)
        template = self._shapes.template(block)
        kind = AnswerKind(template)
        self._answers = [kind, *self._answers[: RECENT - 1]]
        if len(block) <= MAX_KNOWN_BYTES:
            if len(self._known_answers) >= MAX_ANSWERS:
                self._known_answers.clear()
            self._known_answers[block] = kind
        return kind, kind.expects
