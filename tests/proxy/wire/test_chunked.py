"""The chunked coding: where a body ends, whole and in pieces, and every violation refused."""

from __future__ import annotations

import gc
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, Failure, Refused
from proxy.wire.chunked import MAX_LINE, MAX_TRAILER, ChunkedReader
from tests.proxy.wire.reading import bytewise, feed_in_pieces, refusal

SIZE = "the chunk size is not hexadecimal digits CRLF (RFC 9112 section 7.1)"
EXTENSION = "a chunk extension is not ;NAME or ;NAME=VALUE (RFC 9112 section 7.1.1)"
DATA = "chunk data does not end where its size says (RFC 9112 section 7.1)"
BARE_CR = "a bare CR in a chunk line (RFC 9112 section 7.1)"
NO_FIELD = "a trailer is not a field line (RFC 9112 section 7.1.2)"
FORBIDDEN = "a trailer carries framing, routing or authentication (RFC 9110 section 6.5.1)"

BEHIND = (b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"0\r\n\r\n", b"\0\n\r")


def payload_of(data: bytes, pieces: list[bytes], *, padded: bool = False) -> bytes:
    reader = ChunkedReader(BAD_REQUEST, padded=padded)
    reader.payload = []
    assert feed_in_pieces(reader, pieces) == len(data)
    assert reader.done
    return b"".join(reader.payload)


def assert_body(data: bytes, payload: bytes, *, padded: bool = False) -> None:
    """`data` is a whole body with this payload, however it comes and whatever stands behind it."""
    for behind in BEHIND:
        assert payload_of(data, [data + behind], padded=padded) == payload
        assert payload_of(data, [*bytewise(data), behind], padded=padded) == payload
    for cut in range(len(data)):
        assert payload_of(data, [data[:cut], data[cut:] + b"next"], padded=padded) == payload
    for size in range(len(data)):
        reader = ChunkedReader(BAD_REQUEST, padded=padded)
        assert reader.feed(data[:size]) == size
        assert not reader.done, f"done after {size} of {len(data)} bytes"


def refused(data: bytes, *, padded: bool = False, failure: Failure = BAD_REQUEST) -> str:
    """The sentence with which `data` is refused, whole and byte by byte."""
    found, detail = refusal(lambda: ChunkedReader(failure, padded=padded).feed(data))
    assert found is failure
    reader = ChunkedReader(failure, padded=padded)
    found, detail_bytewise = refusal(lambda: feed_in_pieces(reader, bytewise(data)))
    assert found is failure
    assert not reader.done
    if BARE_CR not in (detail, detail_bytewise):
        assert detail_bytewise == detail
    return detail


class TestWellFormed:
    @pytest.mark.parametrize(
        ("data", "payload"),
        [
            (b"0\r\n\r\n", b""),
            (b"000\r\n\r\n", b""),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"1\r\na\r\n002\r\nbc\r\n0\r\n\r\n", b"abc"),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
            (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
            (b"3\r\n\r\n\0\r\n2\r\n\n\r\r\n0\r\n\r\n", b"\r\n\0\n\r"),
        ],
    )
    def test_bodies_rfc_9112_7_1(self, data: bytes, payload: bytes) -> None:
        assert_body(data, payload)

    @pytest.mark.parametrize(
        "extension",
        [
            b";a", b";a=1", b" ;a", b"\t; a = 1", b";a;b=2;c", b';a="b c"', b';a="b;c\\"d"', b';a="0\\\\"', b';a="";b',
            b';a="\xe9"', b';a="\t"', b" ;a\t=\t1\t;b", b';!#$%="a\\\xe9"', b';a="";b=""',
        ],
    )  # fmt: skip
    def test_extensions_are_ignored_rfc_9112_7_1_1(self, extension: bytes) -> None:
        assert_body(b"2" + extension + b"\r\nok\r\n0" + extension + b"\r\n\r\n", b"ok")
        assert_body(b"2" + extension + b"\r\nok\r\n0" + extension + b"\r\n\r\n", b"ok", padded=True)

    @pytest.mark.parametrize(
        "trailers",
        [
            b"X-Checksum: abc\r\n", b"a:\r\nb: 1\r\nA: 2\r\n", b"Server-Timing: db;dur=53\r\n", b"grpc-status: 0\r\n",
            b"x-content-length: 5\r\n", b"hosts: a\r\n", b"baggage-x: a\r\n", b"tex: a\r\n", b"skycap: a\r\n",
        ],
    )  # fmt: skip
    def test_trailers_rfc_9112_7_1_2(self, trailers: bytes) -> None:
        assert_body(b"2\r\nok\r\n0\r\n" + trailers + b"\r\n", b"ok")

    @pytest.mark.parametrize("padding", [b" ", b"\t", b"   \t"])
    def test_padding_is_for_answers_only(self, padding: bytes) -> None:
        data = b"2" + padding + b"\r\nok\r\n0" + padding + b"\r\n\r\n"
        assert_body(data, b"ok", padded=True)
        assert refused(data) == SIZE

    def test_the_largest_chunk_fits_63_bits(self) -> None:
        reader = ChunkedReader(BAD_REQUEST)
        assert reader.feed(b"f" * 15 + b"\r\nmuch") == 21
        assert repr(reader) == f"<ChunkedReader data left={16**15 - 5}>"

    def test_nothing_is_collected_unless_it_is_asked_for(self) -> None:
        reader = ChunkedReader(BAD_REQUEST)
        reader.feed(b"5\r\nhello\r\n0\r\n\r\n")
        assert reader.done
        assert reader.payload is None

    def test_starts_in_the_middle_and_stays_done(self) -> None:
        reader = ChunkedReader(BAD_REQUEST)
        data = b"HEAD\r\n\r\n2\r\nok\r\n0\r\n\r\nnext"
        assert reader.feed(data, 8) == len(data) - 4
        assert reader.done
        assert reader.feed(b"more") == 0
        assert reader.feed(b"more", 2) == 2

    def test_repr_follows_along(self) -> None:
        reader = ChunkedReader(BAD_REQUEST)
        seen = []
        for piece in (b"2\r", b"\n", b"o", b"k", b"\r", b"\n0\r\n", b"A:", b" b\r\n"):
            reader.feed(piece)
            seen.append(repr(reader)[len("<ChunkedReader ") : -1])
        assert seen == [
            "size left=0", "data left=2", "data left=1", "crlf left=0", "crlf left=0", "trailer left=0",
            "trailer left=0", "trailer left=0",
        ]  # fmt: skip


class TestViolations:
    @pytest.mark.parametrize(
        "size",
        [
            b"", b"+2", b"-2", b"0x2", b"0X2", b"2_0", b" 2", b"\t2", b"g", b"2g", b"2h", b"2.0", b'"2"',
            b"2,2", b"2 2",
            b"2\x0b", b"2\x0c", b"2\0", b"\xa02", b"\xd9\xa2", b"f" * 16, b"0" * 16 + b"2", b"1" + b"0" * 16,
            b"=2", b";2", b"2=a", b"2 a",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("padded", [False, True])
    def test_sizes_rfc_9112_7_1(self, size: bytes, padded: bool) -> None:
        assert refused(size + b"\r\nok\r\n0\r\n\r\n", padded=padded) == SIZE
        assert refused(b"1\r\na\r\n" + size + b"\r\nok\r\n0\r\n\r\n", padded=padded) == SIZE

    @pytest.mark.parametrize("extension", [b";a\0b", b';a="b', b';a="b\\"', b';a="\0"', b'; a" b'])
    def test_extensions_rfc_9112_7_1_1(self, extension: bytes) -> None:
        for padded in (False, True):
            assert refused(b"2" + extension + b"\r\nok\r\n0\r\n\r\n", padded=padded) == EXTENSION

    @pytest.mark.parametrize(
        "extension",
        [
            b";", b"; ", b";a;", b";;a", b";a=", b";a= ;b", b";=1", b";a=b=c", b";a b", b";a ", b";a=1 ", b";\xe9",
            b";a=\xe9", b";a=\x01", b';a="b"c', b';a=b"c"', b';"a"', b';a="\x7f"', b';a="\x01"', b";a,b", b";a/b",
        ],
    )  # fmt: skip
    def test_extensions_outside_the_grammar_are_for_answers_only_rfc_9112_7_1_1(self, extension: bytes) -> None:
        """Who reads an answer behind us skips them; in a request they are a way to let two parsers disagree."""
        data = b"2" + extension + b"\r\nok\r\n0" + extension + b"\r\n\r\n"
        assert refused(data) == EXTENSION
        assert_body(data, b"ok", padded=True)

    @pytest.mark.parametrize(
        "data",
        [
            b"2\nok\r\n0\r\n\r\n",
            b"2;a\nb\r\nok\r\n",
            b'2;a="\r\n"\r\nok\r\n',
            b"2\r\r\nok",
            b"2;a\rb\r\nok",
            b"\n",
            b"2\rok",
        ],
    )
    def test_line_ends_rfc_9112_2_2(self, data: bytes) -> None:
        assert refused(data + b"\r\n0\r\n\r\n") in (SIZE, EXTENSION, BARE_CR)

    @pytest.mark.parametrize(
        "data",
        [
            b"2\r\noka\r\n", b"2\r\nok0\r\n\r\n", b"2\r\nok\n0\r\n\r\n", b"2\r\nok\r0\r\n\r\n",
            b"2\r\nok\r\r\n", b"2\r\nok\n",
            b"1\r\nok\r\n0\r\n\r\n", b"2\r\nok 0\r\n\r\n",
        ],
    )  # fmt: skip
    def test_data_longer_than_its_size_rfc_9112_7_1(self, data: bytes) -> None:
        assert refused(data) == DATA

    @pytest.mark.parametrize(
        ("data", "detail"),
        [(b"2\r\nokX", DATA), (b"2\r\nok\rX", DATA), (b"2\rX", BARE_CR), (b"0\r\nA: b\rX", BARE_CR)],
    )
    def test_what_cannot_be_mended_is_refused_before_its_line_ends(self, data: bytes, detail: str) -> None:
        """Who waits for our answer sends no more."""
        whole, pieces = ChunkedReader(BAD_REQUEST), ChunkedReader(BAD_REQUEST)
        assert refusal(lambda: whole.feed(data)) == (BAD_REQUEST, detail)
        assert refusal(lambda: feed_in_pieces(pieces, bytewise(data))) == (BAD_REQUEST, detail)

    @pytest.mark.parametrize(
        "trailer",
        [
            b"no colon", b": no name", b"a : b", b"a b: c", b" folded: a", b"\tfolded", b"\xe9: b", b"a: b\0c",
            b"GET / HTTP/1.1", b"a: b\r", b"\r",
        ],
    )  # fmt: skip
    def test_trailers_rfc_9112_7_1_2(self, trailer: bytes) -> None:
        for before in (b"", b"A: b\r\n"):
            assert refused(b"0\r\n" + before + trailer + b"\r\n\r\n") in (NO_FIELD, BARE_CR)

    def test_a_trailer_behind_a_bare_lf(self) -> None:
        assert refused(b"0\r\nA: b\n\r\n") == NO_FIELD
        assert refused(b"0\r\n\n") == NO_FIELD

    @pytest.mark.parametrize(
        "name",
        [
            b"transfer-encoding", b"content-length", b"host", b"connection", b"te", b"trailer", b"upgrade", b"expect",
            b"authorization", b"cookie", b"set-cookie", b"baggage", b"tracestate", b"traceparent", b"b3",
            b"x-b3-traceid",
            b"x-b3-sampled", b"skycap-served-by", b"skycap-error", b"skycap-visited",
        ],
    )  # fmt: skip
    def test_what_must_not_be_a_trailer_rfc_9110_6_5_1(self, name: bytes) -> None:
        for spelling in (name, name.upper(), name.title()):
            assert refused(b"0\r\n" + spelling + b": 1\r\n\r\n") == FORBIDDEN
            assert refused(b"0\r\nX: y\r\n" + spelling + b":\r\n\r\n") == FORBIDDEN

    def test_the_failure_is_the_one_given(self) -> None:
        assert refused(b"x\r\n", failure=BAD_RESPONSE) == SIZE
        assert refused(b"1\r\nok\r\n", failure=BAD_RESPONSE) == DATA
        assert refused(b"0\r\nHost: a\r\n\r\n", failure=BAD_RESPONSE) == FORBIDDEN
        assert refused(b"0\r\nHost\r\n\r\n", failure=BAD_RESPONSE) == NO_FIELD


class TestLimits:
    TOO_LONG = f"a line of a chunked body has more than {MAX_LINE} bytes"

    def test_a_size_line(self) -> None:
        longest = b"2;" + b"a" * (MAX_LINE - 4) + b"\r\n"
        assert len(longest) == MAX_LINE
        body = longest + b"ok\r\n0\r\n\r\n"
        for pieces in ([body], bytewise(body)):
            assert payload_of(body, pieces) == b"ok"
        assert refused(longest[:-2] + b"a\r\nok\r\n") == self.TOO_LONG

    @pytest.mark.parametrize(
        "endless", [b"2;" + b"a" * 65_536, b"2" + b" " * 65_536, b"0" * 65_536, b'2;"' + b"a" * 9_999]
    )
    def test_a_size_line_without_end(self, endless: bytes) -> None:
        assert refused(endless) == self.TOO_LONG

    def test_one_trailer(self) -> None:
        longest = b"a:" + b"b" * (MAX_TRAILER - 4) + b"\r\n"
        assert len(longest) == MAX_TRAILER
        body = b"0\r\n" + longest + b"\r\n"
        for pieces in ([body], [body[:9_000], body[9_000:]]):
            assert payload_of(body, pieces) == b""

    @pytest.mark.parametrize("behind", [b"", b"\r\n\r\n"])
    def test_one_that_is_too_long(self, behind: bytes) -> None:
        reader = ChunkedReader(BAD_REQUEST)
        found = refusal(lambda: reader.feed(b"0\r\na:" + b"b" * (MAX_TRAILER - 1) + behind))
        assert found == (BAD_REQUEST, f"a line of a chunked body has more than {MAX_TRAILER} bytes")

    def test_many_trailers(self) -> None:
        line = b"a: b\r\n"
        fitting = MAX_TRAILER // len(line)
        body = b"0\r\n" + line * fitting + b"\r\n"
        assert payload_of(body, [body]) == b""
        assert refused(b"0\r\n" + line * (fitting + 1)) == f"the trailers have more than {MAX_TRAILER} bytes"


def calls(body: bytes, *, padded: bool = False) -> int:
    """How many functions reading it takes, Python's and C's."""
    count = 0

    def event(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    reader = ChunkedReader(BAD_RESPONSE, padded=padded)
    gc.disable()  # its callbacks are calls, too
    sys.setprofile(event)
    try:
        reader.feed(body)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert reader.done
    return count


@pytest.mark.interpreted  # counted by a profiler, which compiled functions do not call
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        b"1\r\nx\r\n", b"01\r\nx\r\n", b"00001\r\nx\r\n", b"1;a\r\nx\r\n", b"1 ;a=b\r\nx\r\n", b'1;a=""\r\n\n\r\n',
        b"f\r\n%b\r\n" % (b"x" * 15), b"E\r\n%b\r\n" % (b"\r\n" * 7), b"10\r\n%b\r\n" % (b"x" * 16),
        b"10;a\r\n%b\r\n" % (b"x" * 16), b"0010\r\n%b\r\n" % (b"x" * 16), b"100\r\n%b\r\n" % (b"x" * 256),
    ],
)  # fmt: skip
def test_a_body_costs_by_its_bytes_however_many_chunks_it_makes(chunk: bytes, padded: bool) -> None:
    """Nobody can keep others waiting with a megabyte of chunks: per KiB of the dearest there are 300 calls at most,
    where a chunk of one byte once cost 15."""
    body = chunk * (65_536 // len(chunk))
    assert calls(body + b"0\r\n\r\n", padded=padded) <= 64 * 300


@pytest.mark.interpreted
def test_padded_chunks_and_trailers_cost_by_their_bytes() -> None:
    assert calls(b"1 \r\nx\r\n" * 8_000 + b"0 \r\n\r\n", padded=True) <= 64 * 300
    assert calls(b"0\r\n" + b"a:\r\n" * 4_000 + b"\r\n") <= 16 * 300


CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
EXTENSIONS = st.sampled_from([b"", b";a", b' ;a="b\\";"', b";a = 1;b"])
TRAILERS = st.lists(st.sampled_from([b"X: y\r\n", b"x-\xff:".replace(b"\xff", b"z") + b"\xff\r\n"]), max_size=2)


@st.composite
def split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


@given(chunks=CHUNKS, extension=EXTENSIONS, trailers=TRAILERS, behind=st.binary(max_size=9), data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_body_in_any_pieces(
    chunks: list[bytes], extension: bytes, trailers: list[bytes], behind: bytes, data: st.DataObject
) -> None:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    body += b"0" + extension + b"\r\n" + b"".join(trailers) + b"\r\n"
    pieces = data.draw(split(body + behind))
    reader = ChunkedReader(BAD_REQUEST)
    reader.payload = []
    assert feed_in_pieces(reader, pieces) == len(body)
    assert reader.done
    assert b"".join(reader.payload) == b"".join(chunks)


@given(
    place=st.integers(0, 60),
    cut=st.integers(0, 3),
    put=st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b";", b'"', b"0", b"\0", b"a", b":"]),
    padded=st.booleans(),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_pieces_never_change_the_verdict(place: int, cut: int, put: bytes, padded: bool, data: st.DataObject) -> None:
    body = b'5;a="b"\r\nhello\r\n10 ;c\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n'
    body = body[:place] + put + body[place + cut :]

    def verdict(pieces: list[bytes]) -> object:
        reader = ChunkedReader(BAD_RESPONSE, padded=padded)
        reader.payload = []
        try:
            taken = feed_in_pieces(reader, pieces)
        except Refused as refused:
            return refused.failure
        return taken, reader.done, b"".join(reader.payload)

    assert verdict(data.draw(split(body))) == verdict([body]) == verdict(bytewise(body))
