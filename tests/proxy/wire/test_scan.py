"""The scanner of plain heads comes to what the patterns come to, with every byte: they are its specification.

Both are interpreted here, or both compiled; which of them the sidecar uses is another question (`proxy.sides`).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.head import Limits
from proxy.wire.scan import MAX_BYTES, MAX_KNOWN, ScanningParser
from tests.conformance.corpus import Case, load_corpus
from tests.proxy.wire.both import check
from tests.proxy.wire.reading import answer, get

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EDGES = (b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b"#", b"\x7f", b"\xff", b"A", b"0", b",", b"/", b"-")

REQUEST_LINES = [
    b"Baggage: Routing-Key=A", b"baggage:b", b"baggage:", b"BAGGAGE: \tx", b"X-Request-Id: Ab-7",
    b"x-request-id: a b", b"x-request-id:", b"x-request-id: " + b"r" * 200, b"x-request-id: " + b"r" * 201,
    b"x-request-id: 7 ", b"TraceParent: " + PARENT, b"traceparent: x", b"traceparent: " + PARENT.upper(),
    b"traceparent:  " + PARENT, b"traceparent: ff" + PARENT[2:], b"traceparent: 00-" + b"0" * 32 + PARENT[35:],
    b"traceparent: " + PARENT[:36] + b"0" * 16 + b"-01", b"traceparent: " + PARENT + b"\t", b"Content-Length: 4",
    b"content-length:007", b"content-length: 4 ", b"content-length: +4", b"content-length: 4, 4",
    b"content-length: " + b"9" * 18, b"content-length: " + b"9" * 19, b"content-length:", b"content-length: \xb2",
    b"Connection: keep-alive", b"connection:Close", b"connection: close, te", b"connection: close ", b"connection:",
    b"b3: 0", b"X-B3-TraceId: 1", b"x-datadog-tags:", b"sw8: 1", b"ot-tracer-x: 1", b"tracestate: x=y",
    b"Transfer-Encoding: chunked", b"upgrade: x", b"keep-alive: 5", b"host: other", b"Host-Name: x", b"X-Watched: 1",
    b"skycap-hop: 0123456789abcdef", b"skycap-hop:0123456789abcdef", b"skycap-hop: 0123456789abcdeF",
    b"skycap-visited: a", b"skycap-expect: a/b", b"skycap-served-by: a/b;baseline", b"Accept: */*", b"a:", b":",
    b"a b: c", b" folded", b"x" * 70 + b": long", b"control: a\x01\x7f\x80b", b"nul: a\0b", b"cr: a\rb", b"lf: a\nb",
    b"no colon",
]  # fmt: skip
ANSWER_LINES = [
    *REQUEST_LINES, b"Skycap-Served-By: x", b"skycap-: x", b"server: nginx", b"keep-alive: timeout=5",
]  # fmt: skip
METHODS = [b"GET", b"HEAD", b"CONNECT"]
STARTS = [
    b"GET / HTTP/1.1", b"POST /a?b=c HTTP/1.1", b"get / HTTP/1.1", b"GET * HTTP/1.1", b"GET http://a/ HTTP/1.1",
    b"GET / HTTP/1.0", b"GET / HTTP/1.2", b"GET / http/1.1", b"GET /a#b HTTP/1.1", b"GET /\xc3 HTTP/1.1",
    b"GET /a b HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"CONNECT / HTTP/1.1", b"PROPFIND / HTTP/1.1", b"GET  / HTTP/1.1",
    b"GET /  HTTP/1.1", b"GET / HTTP/1.1 ", b"", b"\r\nGET / HTTP/1.1",
]  # fmt: skip
STATUSES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 x",
    b"HTTP/1.1 100 Continue", b"HTTP/1.1 999 \xff", b"HTTP/1.0 200 OK", b"HTTP/1.9 200 OK", b"http/1.1 200 OK",
    b"HTTP/1.1 020 x", b"HTTP/1.1 20 x", b"HTTP/1.1 200OK", b"HTTP/1.1 404 " + b"r" * 80, b"HTTP/1.1 500 a\0b",
    b"HTTP/1.1 500 a\nb", b"",
]  # fmt: skip


@pytest.mark.parametrize("case", load_corpus(), ids=lambda case: case.id)
def test_corpus(case: Case) -> None:
    for data in (case.client, case.origin):
        whole = case.fill(data, b"127.0.0.1:80")
        check(whole)
        if len(whole) < 150:
            for size in range(len(whole)):
                check(whole[:size])


def _heads(starts: list[bytes], lines: list[bytes], usual: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Heads that are nearly plain, with some bytes changed."""
    listed = st.lists(st.one_of(st.sampled_from(usual), st.sampled_from(lines)), max_size=9)
    start = st.one_of(st.just(starts[0]), st.sampled_from(starts))
    whole = st.builds(lambda first, rest: b"\r\n".join((first, *rest, b"", b"body")), start, listed)
    change = st.tuples(st.integers(0, 600), st.integers(0, 2), st.sampled_from(EDGES))
    return st.builds(_changed, whole, st.lists(change, max_size=2))


def _changed(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, width, new in changes:
        at %= len(data) + 1
        data = data[:at] + new + data[at + width :]
    return data


@given(_heads(STARTS, REQUEST_LINES, (b"Host: shop", b"Accept: x", b"Baggage: a=b", b"traceparent: " + PARENT)))
@settings(deadline=None, max_examples=250)
def test_any_request(data: bytes) -> None:
    check(data)
    check(data, Limits(head_bytes=100, header_lines=4))


@given(
    _heads(STATUSES, ANSWER_LINES, (b"Content-Length: 4", b"Date: x", b"connection: close")), st.sampled_from(METHODS)
)
@settings(deadline=None, max_examples=250)
def test_any_answer(data: bytes, method: bytes) -> None:
    check(data, method=method)
    check(data, Limits(head_bytes=100, header_lines=4), method=method)


@pytest.mark.parametrize("line", REQUEST_LINES)
def test_each_line_of_a_request(line: bytes) -> None:
    """Alone, behind itself, and with a byte more at any place."""
    for data in (get(line), get(line, line), get(line, b"A: b"), get(b"A: b", line)):
        check(data)
    data = get(line)
    for edge in EDGES:
        for at in range(data.index(line), min(len(data) + 1, data.index(line) + 40)):
            check(data[:at] + edge + data[at:])


@pytest.mark.parametrize("line", ANSWER_LINES)
def test_each_line_of_an_answer(line: bytes) -> None:
    for lines in ((line,), (line, line), (b"content-length: 4", line), (line, b"Content-Length: 4")):
        check(answer(*lines))


@pytest.mark.parametrize("start", [*STARTS, *STATUSES])
def test_each_first_line(start: bytes) -> None:
    for method in METHODS:
        check(b"\r\n".join((start, b"Host: shop", b"Content-Length: 0", b"", b"")), method=method)
    for edge in EDGES:
        for at in range(min(len(start), 24)):
            check(b"\r\n".join((start[:at] + edge + start[at:], b"Host: a", b"content-length: 1", b"", b"")))


def test_every_host() -> None:
    for byte in range(256):
        for value in (b"a%cb", b"%c", b"a:%c", b"[%c]", b"a:80%c"):
            check(b"GET / HTTP/1.1\r\nHost: " + value % byte + b"\r\n\r\n")


def test_a_plain_head_is_scanned() -> None:
    """Else the tests above would compare the patterns with themselves."""
    lines = (
        b"Content-Length: 3",
        b"baggage: a=b",
        b"TraceParent: " + PARENT,
        b"X-Request-ID: A",
        b"b3: 1",
        b"Accept: x",
    )
    for last in (b"connection: close", b"connection: Keep-Alive", b"skycap-hop: 0123456789abcdef"):
        head = ScanningParser(Limits()).request(get(*lines, last) + b"abc")
        assert head is not None
        assert head.lines == 10


def test_what_is_known_is_bounded() -> None:
    """The names are a client's, and so is their number. What comes later is read as well."""
    parser = ScanningParser(Limits())
    for number in range(3 * MAX_KNOWN):
        head = parser.request(get(b"n%d: x" % number, b"n" * (MAX_BYTES + 1) + b": x", b"baggage: a=b"))
        assert head is not None
        assert (head.lines, head.baggage) == (6, b"a=b")
    assert "known=" in repr(parser)
    assert int(repr(parser).partition("known=")[2].rstrip(">")) <= 4 * MAX_KNOWN
