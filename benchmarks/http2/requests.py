"""Requests: fields as a gRPC client or a browser's fetch sends them; trace, span and request id differ in each.

Fields that stay the same are compressed as a real client does: where the peer keeps a table for header blocks, they are
put into it once per connection and named by their number from then on; where it keeps none, they are sent in full with
Huffman's code (RFC 7541). What changes with every request is sent as it is, to everybody.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from hpack import Encoder
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from benchmarks.http2 import frames

MESSAGE_BYTES = 100
"""Of a gRPC message, without the five bytes before it."""

_PREFIX_BYTES = 5
_NAMES = {
    ":path": 4, ":authority": 1, "accept": 19, "accept-encoding": 16, "authorization": 23, "content-length": 28,
    "content-type": 31, "user-agent": 58,
}  # fmt: skip
"""Of the static table (RFC 7541, appendix A)."""

_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def message(number: int) -> bytes:
    """The gRPC message of that number, with its prefix: not compressed, and its length."""
    return b"\0" + MESSAGE_BYTES.to_bytes(4, "big") + (b"%016x" % number).ljust(MESSAGE_BYTES, b".")


FRAMED_BYTES = _PREFIX_BYTES + MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    keys: routing keys in turn; none: `baggage` carries other members only.
    path: what is asked for.
    grpc: a call with messages; otherwise a GET, or with `body` a PUT of so many bytes.
    """

    keys: tuple[str, ...] = ()
    path: str = "/shop.Users/Get"
    grpc: bool = True
    body: int = -1

    @property
    def fixed(self) -> list[tuple[str, str]]:
        """The fields that stay the same."""
        method = "POST" if self.grpc else "GET" if self.body < 0 else "PUT"
        fields = [(":method", method), (":scheme", "http"), (":path", self.path), (":authority", "users:8080")]
        if self.grpc:
            return [
                *fields, ("content-type", "application/grpc"), ("user-agent", "grpc-go/1.60.0"), ("te", "trailers"),
                ("grpc-accept-encoding", "gzip"), ("grpc-timeout", "5000m"), ("x-tenant-id", "acme-europe-1"),
            ]  # fmt: skip
        fields += [("accept", "*/*"), ("accept-encoding", "gzip, deflate, br"), ("user-agent", "undici")]
        fields += [("x-tenant-id", "acme-europe-1")]
        return [*fields, ("content-length", str(self.body))] if self.body >= 0 else fields


class Blocks:
    """The header blocks of one connection, in their order. table: what the peer keeps, in bytes."""

    def __init__(self, kind: Kind, table: int) -> None:
        if table:
            encoder = Encoder()
            encoder.header_table_size = table
            self._first = encoder.encode(kind.fixed)
            fixed = encoder.encode(kind.fixed)
        else:
            fixed = b"".join(_literal(name, value) for name, value in kind.fixed)
            self._first = b"\x20" + fixed  # the table has no room (6.3)
        seed = secrets.token_hex(12).encode()
        changing = b"".join(
            (
                b"\0\x0btraceparent\x37",
                b"00-%b%%08x-%b%%08x-01" % (seed, seed[:8]),
                b"\0\x0cx-request-id\x24",
                b"%%08x-%b-4%b-8%b-%b" % (seed[0:4], seed[4:7], seed[7:10], seed[10:22]),
            )
        )
        ends = [_baggage(key) + changing for key in kind.keys or ("",)]
        self._firsts = [self._first.replace(b"%", b"%%") + end for end in ends]
        self._laters = [fixed.replace(b"%", b"%%") + end for end in ends]
        self._count = len(ends)

    def block(self, number: int, *, first: bool) -> bytes:
        """Of the `number`th request of a run; `first`: of its connection."""
        n = number & 0xFFFFFFFF
        return (self._firsts if first else self._laters)[number % self._count] % (n, n, n)


def _baggage(key: str) -> bytes:
    member = f"routing-key={key}," if key else ""
    value = f"tenant=acme,{member}user.tier=gold;source=gateway".encode()
    return b"\0\x07baggage" + bytes([len(value)]) + value


def _literal(name: str, value: str) -> bytes:
    """A field that is not for a table, in Huffman's code where that is shorter (RFC 7541, 6.2.2)."""
    if (name, value) in _INDEXED:
        return bytes([0x80 | _INDEXED[name, value]])
    number = _NAMES.get(name, 0)
    head = b"\0" + _string(name) if not number else bytes([number] if number < 15 else [15, number - 15])
    return head + _string(value)


_INDEXED = {(":method", "GET"): 2, (":method", "POST"): 3, (":scheme", "http"): 6}


def _string(text: str) -> bytes:
    plain = text.encode()
    short = _HUFFMAN.encode(plain)
    return bytes([0x80 | len(short)]) + short if len(short) < len(plain) else bytes([len(plain)]) + plain


def opened(block: bytes, stream: int, *, ends: bool) -> bytes:
    """The HEADERS frame of a request."""
    flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
    return frames.frame(frames.HEADERS, flags, stream, block)
