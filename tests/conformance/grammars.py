"""Hypothesis strategies: requests and answers as they should be, and what can be done to them.

A *message* is drawn well-formed, so that most of its bytes get past the first check, and then perhaps bent in one or
two places: an octet that some parser treats specially is put in, doubled, swapped or taken away. `cuts` decides how
the bytes arrive.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import strategies as st

SPECIAL = [
    b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x0b", b"\x0c", b"\0", b"\x7f", b"\x85", b"\xa0", b"\xff", b":", b",", b";",
    b"=", b'"', b"\\", b"0", b"-", b"+", b"_", b"x", b"\r\n ", b"\r\n\r\n", b"\xef\xbc\x95",
]  # fmt: skip
"""What parsers have tripped over."""

HOSTILE_LINES = [
    b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Content-Length: +5\r\n", b"Content-Length: 5, 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding : chunked\r\n", b" Transfer-Encoding: chunked\r\n", b"Connection: content-length\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Host: evil\r\n",
    b"Expect: 100-continue\r\n", b"baggage: routing-key=nobody\r\n", b"Trailer: X\r\n", b"X: y\r\n z\r\n",
]  # fmt: skip
"""Whole lines that change what a message means."""

_token = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_.!~", min_size=1, max_size=12).map(str.encode)
_value = st.binary(max_size=20).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127).strip())
_space = st.sampled_from([b"", b" ", b"\t ", b"  "])
_field = st.builds(lambda name, space, value: b"X-%b:%b%b\r\n" % (name, space, value), _token, _space, _value)
_status = st.sampled_from([b"200 OK", b"404 Not Found", b"204 No Content", b"304 Not Modified", b"599 ", b"200"])
_body = st.one_of(
    st.binary(max_size=40),
    st.just(b"GET /hidden HTTP/1.1\r\nHost: shop\r\n\r\n"),
    st.just(b"0\r\n\r\n"),
    st.just(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
)
_size = st.sampled_from(["%x", "%X", "0%x", "000%x"])
_extension = st.sampled_from([b"", b"", b"", b";a", b";a=b", b';a="b;c"'])
_trailers = st.lists(_field, max_size=2).map(b"".join)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """The body in chunks of drawn sizes, with extensions and trailers."""
    parts = []
    while body:
        size = draw(st.integers(1, len(body)))
        line = (draw(_size) % size).encode() + draw(_extension)
        parts.append(line + b"\r\n" + body[:size] + b"\r\n")
        body = body[size:]
    return b"".join(parts) + draw(st.sampled_from([b"0", b"00"])) + b"\r\n" + draw(_trailers) + b"\r\n"


@st.composite
def framed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(field line, bytes on the wire) for a drawn body; both empty for no body at all."""
    body = draw(_body)
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "none":
        return b"", b""
    if kind == "length":
        return b"Content-Length: %d\r\n" % len(body), body
    return b"Transfer-Encoding: chunked\r\n", draw(chunked(body))


@st.composite
def request(draw: st.DrawFn) -> bytes:
    """One well-formed HTTP/1.1 request that keeps the connection open."""
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"]))
    target = draw(st.sampled_from([b"/", b"/a?b=c", b"//x", b"/%00", b"/a/../b"]))
    line, body = draw(framed())
    fields = draw(st.lists(_field, max_size=3))
    fields.insert(draw(st.integers(0, len(fields))), b"Host: shop\r\n")
    fields.insert(draw(st.integers(0, len(fields))), line)
    return method + b" " + target + b" HTTP/1.1\r\n" + b"".join(fields) + b"\r\n" + body


@st.composite
def response(draw: st.DrawFn) -> bytes:
    """One well-formed answer to a GET, perhaps with interim ones before it."""
    interim = draw(st.sampled_from([b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n",
                                    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]))  # fmt: skip
    status = draw(_status)
    line, body = draw(framed())
    if status[:3] in (b"204", b"304"):
        line = body = b""
    fields = draw(st.lists(_field, max_size=3))
    fields.insert(draw(st.integers(0, len(fields))), line)
    return interim + b"HTTP/1.1 " + status + b"\r\n" + b"".join(fields) + b"\r\n" + body


@st.composite
def bent(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with one or two places changed."""
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(["insert", "replace", "delete", "double", "line", "cut"]))
        if how == "insert":
            data = data[:at] + draw(st.sampled_from(SPECIAL)) + data[at:]
        elif how == "replace":
            data = data[:at] + draw(st.sampled_from(SPECIAL)) + data[at + 1 :]
        elif how == "delete":
            data = data[:at] + data[at + draw(st.integers(1, 3)) :]
        elif how == "double":
            data = data[:at] + data[max(0, at - draw(st.integers(1, 20))) :]
        elif how == "cut":
            data = data[:at]
        else:
            lines = [index + 2 for index in range(len(data) - 1) if data[index : index + 2] == b"\r\n"]
            place = draw(st.sampled_from(lines)) if lines else 0
            data = data[:place] + draw(st.sampled_from(HOSTILE_LINES)) + data[place:]
    return data


@dataclass(frozen=True)
class Cut:
    """Bytes and the pieces in which they arrive."""

    data: bytes
    pieces: tuple[bytes, ...]


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> Cut:
    """`data` whole, byte by byte, or in drawn pieces."""
    how = draw(st.sampled_from(["whole", "bytes", "pieces", "pieces"]))
    if how == "whole" or len(data) < 2:
        return Cut(data, (data,))
    if how == "bytes":
        return Cut(data, tuple(data[index : index + 1] for index in range(len(data))))
    places = sorted(draw(st.sets(st.integers(1, len(data) - 1), min_size=1, max_size=6)))
    edges = [0, *places, len(data)]
    return Cut(data, tuple(data[left:right] for left, right in itertools.pairwise(edges)))


requests = st.lists(request(), min_size=1, max_size=3).map(b"".join)
"""A connection's worth of good requests."""

bent_requests = requests.flatmap(bent)
bent_responses = response().flatmap(bent)
