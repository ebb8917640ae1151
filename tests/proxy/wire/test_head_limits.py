"""Heads of every size and kind: limits, whatever can come, and 64 KiB of malice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, HEAD_TOO_LARGE, UNSUPPORTED_TRANSFER_CODING, Refused
from proxy.wire.head import HeadParser, Limits, RequestHead, ResponseHead, field_values
from tests.proxy.wire.reading import PARSER, answer, get, read_request, read_response, refusal, refused_request

TCHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class TestLimits:
    SMALL = HeadParser(Limits(head_bytes=100, header_lines=3))
    LARGE = answer(b"X: " + b"a" * 100, b"Content-Length: 0")

    def test_bytes(self) -> None:
        exact = get(b"X: " + b"a" * (100 - len(get(b"X: "))))
        assert len(exact) == 100
        assert read_request(exact, self.SMALL).end == 100
        assert read_request(exact + b"a body of any size" * 20, self.SMALL).end == 100
        failure, detail = refused_request(get(b"X: " + b"a" * (101 - len(get(b"X: ")))), self.SMALL)
        assert failure is HEAD_TOO_LARGE
        assert detail == "the head has more than 100 bytes"

    def test_bytes_without_an_end(self) -> None:
        for data in (b"GET /" + b"a" * 100, b"GET / HTTP/1.1\r\nHost: " + b"a" * 100):
            assert refused_request(data, self.SMALL) == (HEAD_TOO_LARGE, "the head has more than 100 bytes")

    def test_lines(self) -> None:
        assert read_request(get(b"A: 1", b"B: 2"), self.SMALL).plain
        for data in (get(b"A: 1", b"B: 2", b"C: 3"), get(b"A: 1", b"B: 2", b"C: 3", b"D: 4")[:-2]):
            assert refused_request(data, self.SMALL) == (HEAD_TOO_LARGE, "the head has more than 3 field lines")

    def test_defaults(self) -> None:
        assert PARSER.request(get(*[b"A: b"] * 127)) is not None
        assert refusal(lambda: PARSER.request(get(*[b"A: b"] * 128)))[0] is HEAD_TOO_LARGE
        longest = 64 * 1024 - len(get(b"A: "))
        assert PARSER.request(get(b"A: " + b"a" * longest)) is not None
        assert refusal(lambda: PARSER.request(get(b"A: " + b"a" * (longest + 1))))[0] is HEAD_TOO_LARGE

    def test_of_a_response(self) -> None:
        exact = answer(b"X: " + b"a" * (100 - len(answer(b"X: "))))
        assert read_response(exact, parser=self.SMALL).end == 100

    @pytest.mark.parametrize(
        ("data", "detail"),
        [
            (LARGE, "the head has more than 100 bytes"),
            (LARGE[:-4], "the head has more than 100 bytes"),
            (LARGE[:-4] + b"\r\nA : b\r\n\r\n", "the head has more than 100 bytes"),
            (answer(*[b"A: 1"] * 4), "the head has more than 3 field lines"),
            (answer(*[b"A : 1"] * 4), "the head has more than 3 field lines"),
            (answer(b"A: 1", b" 2", b" 3", b" 4"), "the head has more than 3 field lines"),
        ],
    )
    def test_of_a_response_that_is_too_large(self, data: bytes, detail: str) -> None:
        assert refusal(lambda: self.SMALL.response(data, b"GET")) == (BAD_RESPONSE, detail)


# -- all that can come --------------------------------------------------------------------------------------------

NAMES = st.text(TCHARS, min_size=1, max_size=20).map(str.encode)
VALUES = st.binary(max_size=30).map(lambda value: bytes(byte for byte in value if byte not in b"\r\n\0"))
FIELDS = st.lists(st.tuples(NAMES.map(lambda name: b"x-" + name), VALUES), max_size=10)
TARGETS = st.text([chr(code) for code in range(0x21, 0x7F) if code != 0x23], max_size=30).map(
    lambda path: b"/" + path.encode()
)


@given(method=NAMES.filter(lambda name: name != b"CONNECT"), target=TARGETS, fields=FIELDS, behind=st.binary())
@settings(deadline=None, max_examples=80)
def test_every_well_formed_request_is_read(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], behind: bytes
) -> None:
    data = get(*(name + b":" + value for name, value in fields), start=method + b" " + target + b" HTTP/1.1")
    head = PARSER.request(data + behind)
    assert head is not None
    assert (head.method, head.target, head.end) == (method, target, len(data))
    for name in {name.lower() for name, _ in fields}:
        expected = [value.strip(b" \t") for other, value in fields if other.lower() == name]
        assert field_values(head, name) == expected


@given(fields=FIELDS, length=st.integers(0, 10**17), behind=st.binary())
@settings(deadline=None, max_examples=60)
def test_every_well_formed_response_is_read(fields: list[tuple[bytes, bytes]], length: int, behind: bytes) -> None:
    data = answer(*(name + b":" + value for name, value in fields), b"Content-Length: %d" % length)
    head = PARSER.response(data + behind, b"GET")
    assert head is not None
    assert (head.status, head.body, head.end) == (200, length, len(data))


PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SEEDS = [
    get(b"Content-Length: 5", b"A: b") + b"hello",
    get(b"Connection: close, x-a", b"X-A: b", b"Transfer-Encoding: chunked"),
    get(
        b"Baggage: a=b",
        b"traceparent: " + PARENT,
        start=b"POST http://shop:80/a HTTP/1.0",
    ),
    answer(b"Content-Length: 5", b"Keep-Alive: timeout=5"),
    answer(b"X : a", b" b", b"Transfer-Encoding: chunked"),
]


def judged(
    read: Callable[[bytes], RequestHead | ResponseHead | None], data: bytes
) -> RequestHead | ResponseHead | Refused | None:
    """The head, None or the refusal; anything else that is raised is a bug."""
    try:
        return read(data)
    except Refused as refused:
        return refused


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 4),
        st.sampled_from(
            [b"", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\0", b",", b"\xff", b"0", b"z: 1\r\n"]
        ),
    ),
    max_size=4,
)


@given(data=st.sampled_from(SEEDS), mutations=MUTATIONS)
@settings(deadline=None, max_examples=400)
def test_nothing_but_a_head_a_refusal_or_patience(data: bytes, mutations: list[tuple[int, int, bytes]]) -> None:
    for place, cut, put in mutations:
        data = data[:place] + put + data[place + cut :]
    for head in (judged(PARSER.request, data), judged(lambda part: PARSER.response(part, b"GET"), data)):
        if isinstance(head, Refused):
            assert head.failure in (BAD_REQUEST, BAD_RESPONSE, HEAD_TOO_LARGE, UNSUPPORTED_TRANSFER_CODING)
            assert 0 < len(head.detail) < 200
        elif head is None:
            assert b"\r\n\r\n" not in data, "a head that is complete and neither good nor bad waits for ever"
        else:
            assert head.data[: head.end].endswith(b"\r\n\r\n")
            assert head.data[: head.end].lower() == head.low


# -- 64 KiB of malice ---------------------------------------------------------------------------------------------

KIB_64 = 64 * 1024


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "lines",
    [
        [b":" * 65_000], [b" " * 65_000], [b"a" * 65_000], [b"a" * 32_000 + b" " * 32_000], [b"a:" * 32_000],
        [b"Connection: " + b"a," * 32_000], [b"Connection: " + b",".join(b"%x" % n for n in range(12_000))],
        [b"Connection:" + b" ," * 32_000], [b"Content-Length: " + b"1" * 65_000], [b"Content-Length:" + b" " * 65_000],
        [b"Transfer-Encoding: " + b"a," * 32_000], [b"Transfer-Encoding: " + b"a, " * 21_000 + b"\x0b"],
        [b"Upgrade: " + b"a," * 32_000, b"Connection: upgrade"], [b"Keep-Alive: " + b"timeout=" * 8_000],
        [b"Host: " + b"a" * 65_000 + b"/"], [b"Host: [" + b":" * 65_000], [b"Host:" + b"\t " * 32_000 + b"/"],
        [b"traceparent:" + b" " * 65_000], [b"x-request-id:" + b" " * 64_000 + b"a" * 300],
        [b"X: a" + b" " * 65_000, b" b"],
        [b"X:" + b" " * 500] * 120 + [b"Y:\0"], [b"X" + b" " * 500 + b": a"] * 120,
    ],
)  # fmt: skip
def test_hostile_heads_of_64_kib(lines: list[bytes]) -> None:
    """Judged at once. A quadratic step of 64 KiB is 4 * 10**9 of them and would run into the timeout; a fair clock is
    not needed for that, and what makes it impossible is checked in test_grammar.py."""
    for data in (get(*lines), get(*lines)[:-4], get(*lines, b"z: 1"), get(*lines, start=b"GET / HTTP/1.0")):
        assert len(data) <= KIB_64
        as_answer = b"HTTP/1.1 200 OK" + data[data.index(b"\r") :]
        for head in (judged(PARSER.request, data), judged(lambda part: PARSER.response(part, b"GET"), as_answer)):
            assert not isinstance(head, Refused) or len(head.detail) < 200, "the sentence quotes a little, not all"
