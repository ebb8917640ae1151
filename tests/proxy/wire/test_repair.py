"""Answers that can be read in one way only are mended; what is ambiguous stays as it is, to be refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BAD_RESPONSE
from proxy.wire.framing import CHUNKED, NO_BODY, UNTIL_CLOSE
from proxy.wire.repair import repair_lines
from tests.proxy.wire.reading import PARSER, answer, refused_response

LENGTH = b"content-length: 2"
CHUNKS = b"transfer-encoding: chunked"


def mended(data: bytes, method: bytes = b"GET") -> bytes:
    """The head that is forwarded in place of that of `data`. It is found no sooner than it is complete."""
    head = PARSER.response(data, method)
    assert head is not None
    behind = len(head.data) - head.end
    for size in range(len(data) - behind):
        assert PARSER.response(data[:size], method) is None, f"a head after {size} bytes"
    assert head.data[head.end :] == data[len(data) - behind :]
    assert not head.keep_alive, "who writes carelessly may be wrong about where the message ends"
    again = PARSER.response(head.data[: head.end], method)
    assert again is not None
    assert (again.body, again.data) == (head.body, head.data[: head.end]), "what is forwarded needs no repair"
    return head.data[: head.end]


@pytest.mark.parametrize(
    ("lines", "line", "body"),
    [
        ((LENGTH, LENGTH), LENGTH, 2),
        ((b"Content-Length: 2", b"A: b", b"CONTENT-LENGTH:\t2 ", b"content-length:2"), LENGTH, 2),
        ((b"content-length: 2, 2",), LENGTH, 2),
        ((b"content-length: 2\t,2", b"content-length: 2 ,\t2"), LENGTH, 2),
        ((LENGTH, CHUNKS), CHUNKS, CHUNKED),
        ((b"Transfer-Encoding: Chunked", b"Content-Length: 2, 2"), CHUNKS, CHUNKED),
        ((b"transfer-encoding: Identity", LENGTH), LENGTH, 2),
        ((b"content-length: 2, 2", b"transfer-encoding: identity"), LENGTH, 2),
        ((b"transfer-encoding: identity",), None, UNTIL_CLOSE),
    ],
)
@pytest.mark.parametrize("further", [(), (b"X: y",)])
def test_framing_rfc_9112_6_3(
    lines: tuple[bytes, ...], line: bytes | None, body: int, further: tuple[bytes, ...]
) -> None:
    data = answer(*further, *lines) + b"2\r\nno\r\n"
    kept = (*further, *(other for other in lines if other == b"A: b"))
    assert mended(data) == answer(*kept, *([line] if line else []))
    head = PARSER.response(data, b"GET")
    assert head is not None
    assert head.body == body


@pytest.mark.parametrize(
    "lines",
    [
        (LENGTH, b"content-length: 3"), (b"content-length: 2, 3",), (b"content-length: 2, 02",),
        (b"content-length: 2,",), (b"content-length: ,2",), (b"content-length: +2, +2",), (b"content-length: x, x",),
        (LENGTH, b"content-length: 3", CHUNKS), (b"content-length: x", CHUNKS), (b"content-length:", CHUNKS),
        (CHUNKS, CHUNKS), (b"transfer-encoding: chunked, chunked",), (b"transfer-encoding: chunked, identity",),
        (b"transfer-encoding: identity, chunked",), (b"transfer-encoding: identity", CHUNKS),
        (LENGTH, b"transfer-encoding: gzip"), (LENGTH, b"transfer-encoding:"),
        (LENGTH, b"content-length: 3", b"transfer-encoding: identity"),
    ],
)  # fmt: skip
def test_framing_that_can_be_read_in_two_ways_rfc_9112_6_3(lines: tuple[bytes, ...]) -> None:
    assert refused_response(answer(*lines))[0] is BAD_RESPONSE


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
@pytest.mark.parametrize(("status", "method_matters"), [(200, True), (204, False), (304, False)])
def test_answers_without_a_body_are_mended_as_well(method: bytes, status: int, method_matters: bool) -> None:
    head = PARSER.response(answer(LENGTH, LENGTH, start=b"HTTP/1.1 %d x" % status), method)
    assert head is not None
    assert head.body == (2 if method_matters and method == b"GET" else NO_BODY)


def test_chunks_in_http_1_0_stay_a_fault_rfc_9112_6_1() -> None:
    for lines in ((CHUNKS,), (CHUNKS, LENGTH)):
        assert refused_response(answer(*lines, start=b"HTTP/1.0 200 OK"))[0] is BAD_RESPONSE
    assert mended(answer(b"transfer-encoding: identity", LENGTH, start=b"HTTP/1.0 200 OK"))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\n",
        b"HTTP/1.1 200 OK\nContent-Length:\n 2\n\n",
        b"HTTP/1.1 200 OK\nContent-Length : 2\n\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 2\n\n",
    ],
)
@pytest.mark.parametrize("body", [b"", b"ok", b"\n\n", b"\r\n\r\n", b"x" * 2000 + b"\r\n\r\n"])
def test_a_bare_lf_ends_a_line_rfc_9112_2_2(data: bytes, body: bytes) -> None:
    assert mended(data + body).lower() == answer(b"content-length: 2", start=b"http/1.1 200 ok")


def test_a_long_head_of_bare_lf() -> None:
    fields = b"".join(b"X-%d: %b\n" % (number, b"y" * 100) for number in range(50))
    assert mended(b"HTTP/1.1 200 OK\n" + fields + b"\nbody\r\n\r\n").count(b"\r\n") == 52


def test_a_higher_minor_version_goes_on_as_1_1_rfc_9110_2_5() -> None:
    for minor in b"23456789":
        data = answer(LENGTH, start=b"HTTP/1.%c 200 OK" % minor)
        head = PARSER.response(data + b"ok", b"GET")
        assert head is not None
        assert (head.data, head.body, head.keep_alive, head.http10) == (answer(LENGTH) + b"ok", 2, True, False)


def test_repair_touches_the_head_alone() -> None:
    data = b"HTTP/1.1 200 a \t: b\r\nX : c : d\r\n e\r\nLong\t: \r\n\t f\r\n\r\nbody : x\r\n y\r\n\r\n z"
    assert repair_lines(data) == (b"HTTP/1.1 200 a \t: b\r\nX: c : d e\r\nLong: f\r\n\r\nbody : x\r\n y\r\n\r\n z")


@given(
    fields=st.lists(
        st.tuples(
            st.text("abc-", min_size=1, max_size=3).map(str.encode),
            st.sampled_from([b"", b" ", b"\t "]),
            st.lists(st.sampled_from([b"v", b"v w", b"", b": x", b"  "]), min_size=1, max_size=4),
            st.sampled_from([b"\r\n ", b" \t\r\n\t ", b"\r\n \r\n\t"]),
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(deadline=None, max_examples=60)
def test_repair_keeps_names_and_words(fields: list[tuple[bytes, bytes, list[bytes], bytes]]) -> None:
    data = b"HTTP/1.1 200 OK"
    for name, white, parts, fold in fields:
        data += b"\r\n" + name + white + b":" + fold.join(parts)
    data += b"\r\n\r\n"
    lines = repair_lines(data)[:-4].split(b"\r\n")[1:]
    assert [line.partition(b":")[0] for line in lines] == [name for name, _, _, _ in fields]
    words = [b" ".join(parts).split() for _, _, parts, _ in fields]
    assert [line.partition(b":")[2].split() for line in lines] == words
