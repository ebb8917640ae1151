"""How the tests of this folder read: whole, byte by byte, and expecting a refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.errors import Failure, Refused
from proxy.wire.body import BodyReader
from proxy.wire.head import HeadParser, Limits, RequestHead, ResponseHead

PARSER = HeadParser(Limits())


def get(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    """A request with a Host and these further lines."""
    return b"\r\n".join((start, b"Host: shop", *lines, b"", b""))


def answer(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((start, *lines, b"", b""))


def read_request(data: bytes, parser: HeadParser = PARSER) -> RequestHead:
    """The head of `data`, read whole; and every beginning that is shorter than the head is found incomplete."""
    head = parser.request(data)
    assert head is not None
    for size in range(head.end):
        assert parser.request(data[:size]) is None, f"a head after {size} bytes of {head.end}"
    assert parser.request(data[: head.end]) is not None
    return head


def read_response(data: bytes, method: bytes = b"GET", parser: HeadParser = PARSER) -> ResponseHead:
    """As `read_request`. A head that had to be repaired is as long in `data` as its CRLF CRLF says."""
    head = parser.response(data, method)
    assert head is not None
    size_as_sent = data.index(b"\r\n\r\n") + 4
    for size in range(size_as_sent):
        assert parser.response(data[:size], method) is None, f"a head after {size} bytes of {size_as_sent}"
    assert parser.response(data[:size_as_sent], method) is not None
    return head


def refusal(call: Callable[[], object]) -> tuple[Failure, str]:
    """What the call is refused with."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.failure, caught.value.detail


def refused_request(data: bytes, parser: HeadParser = PARSER) -> tuple[Failure, str]:
    """How `data` is refused as a whole. Byte by byte it is refused, too, no later than with its last byte, for the
    same failure, and no beginning of it is taken for a head."""
    failure, detail = refusal(lambda: parser.request(data))
    assert _first_refusal(parser.request, data) is failure
    return failure, detail


def refused_response(data: bytes, method: bytes = b"GET", parser: HeadParser = PARSER) -> tuple[Failure, str]:
    """As `refused_request`."""
    failure, detail = refusal(lambda: parser.response(data, method))
    assert _first_refusal(lambda part: parser.response(part, method), data) is failure
    return failure, detail


def _first_refusal(read: Callable[[bytes], object], data: bytes) -> Failure | None:
    for size in range(len(data) + 1):
        try:
            assert read(data[:size]) is None, f"a head after {size} bytes"
        except Refused as refused:
            return refused.failure
    return None


def feed_in_pieces(reader: BodyReader, pieces: list[bytes]) -> int:
    """Feed until the body ends or the pieces do. Returns how many bytes of all pieces belong to the body."""
    taken = 0
    for piece in pieces:
        if reader.done:
            break
        stop = reader.feed(piece)
        assert 0 <= stop <= len(piece)
        assert stop == len(piece) or reader.done, "a reader stops early only at the end of the body"
        taken += stop
    return taken


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]
