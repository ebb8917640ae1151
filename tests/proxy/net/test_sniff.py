"""What begins a connection: every prefix tells the same as the whole, and as the corpus wants it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.net.sniff import FIRST_LINE_BYTES, METHODS, PREFACE, Kind, sniff
from proxy.telemetry.counters import OPAQUE
from tests.conformance.corpus import Forward, load_corpus
from tests.conformance.corpus import Kind as CaseKind

HTTP = [
    b"GET / HTTP/1.1\r\n",
    b"get /users HTTP/1.1\r\n",
    b"BREW /pot HTTP/1.1\r\n",
    b"M-SEARCH * HTTP/1.1\r\n",
    b"PROPFIND http://shop/ HTTP/1.1\r\n",
    b"\r\nGET / HTTP/1.1\r\n",
    b"\nGET / HTTP/1.1\r\n",
    b"GET /\r\n",
    b"GET\t/ HTTP/1.1\r\n",
    b"GET\r\n",
    b"GE\n",
    b"GE\nT / HTTP/1.1\r\n",
    b'"GET" / HTTP/1.1\r\n',
    b"{GET} / HTTP/1.1\r\n",
    b" GET / HTTP/1.1\r\n",
    b"G\0T / HTTP/1.1\r\n",
    b"G\xc9T / hTTp/1.1\r\n",
    b"PRI * HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\nhost: x\r\n",
    b"PRI /x",
    b"XGET http/",
    b"TRACE \0\0",
]

OTHER = {
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "redis inline": b"PING\r\n",
    "redis inline, bare LF": b"PING\n",
    "memcached": b"get users:1\r\n",
    "memcached binary": b"\x80\x00\x00\x00",
    "graphite": b"shop.users.count 42 1764000000\n",
    "statsd": b"users:1|c\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "proxy protocol": b"PROXY TCP4 10.0.0.1 10.0.0.2 4711 80\r\n",
    "proxy protocol, binary": b"\r\n\r\n\0\r\nQUIT\n"[4:],
    "sip": b"INVITE sip:bob@example.org SIP/2.0\r\n",
    "irc": b"NICK bob\r\n",
    "postgres": b"\0\0\0\x08\x04\xd2\x16\x2f",
    "kafka": b"\0\0\0\x23",
    "mongo": b"\x3a\0\0\0\x01\0\0\0",
    "mongo, a letter first": b"A\0\0\0\x01\0\0\0",
    "amqp": b"AMQP\0\0\x09\x01",
    "ldap": b"0\x0c\x02\x01\x01",
    "mqtt": b"\x10\x0c\0\x04MQTT",
    "socks": b"\x05\x01\0",
    "json lines": b'{"jsonrpc": "2.0"}',
    "json list": b"[1,2]",
    "xml": b"<?xml version='1.0'?><stream:stream xmlns='http://etherx.jabber.org/streams'>",
    "syslog": b"<34>1 2026-11-23T10:00:00Z",
    "8 bit": b"\xff\xfb\x01",
    "delete": b"\x7f",
    "a long word": b"M" * FIRST_LINE_BYTES,
    "a long line": b"word " * FIRST_LINE_BYTES,
}


def first_verdict(data: bytes) -> tuple[Kind | None, int]:
    """As somebody decides who gets the bytes one by one, and after how many."""
    for size in range(1, len(data) + 1):
        kind = sniff(data[:size])
        if kind is not None:
            return kind, size
    return None, len(data)


@pytest.mark.parametrize("data", HTTP, ids=repr)
def test_what_tries_to_be_http_is_http(data: bytes) -> None:
    assert first_verdict(data)[0] is sniff(data) is Kind.HTTP1


@pytest.mark.parametrize("name", OTHER)
def test_other_protocols_are_opaque(name: str) -> None:
    data = OTHER[name]
    assert first_verdict(data)[0] is sniff(data) is Kind.OTHER


@pytest.mark.parametrize(
    ("data", "enough"),
    [
        (b"GET / HTTP/1.1\r\n", len(b"GET ")),
        (b"\0\0\0\x08", 1),
        (b"BREW /pot", len(b"BREW /")),
        (b"AMQP\0\0\x09\x01", len(b"AMQP\0\0")),
        (b'{"a": 1}', 2),
        (b"PING\r\n", len(b"PING\r\n")),
        (b"M-SEARCH * HTTP/1.1\r\n", len(b"M-SEARCH * HTTP/")),
    ],
)
def test_the_first_byte_that_tells_decides(data: bytes, enough: int) -> None:
    assert first_verdict(data)[1] == enough


@pytest.mark.parametrize(
    "data", [b"G", b"GET", b"PRI * HTTP/2.0\r\n", b"{", b"M" * (FIRST_LINE_BYTES - 1), b"A\0", b" "]
)
def test_what_does_not_tell_yet_waits(data: bytes) -> None:
    assert sniff(data) is None


def test_tls_is_told_by_its_record() -> None:
    assert sniff(b"\x16\x03\x01\x02\0\x01") is Kind.TLS
    assert sniff(b"\x16") is None
    assert sniff(b"\x16\x02") is Kind.OTHER
    assert sniff(b"\x15\x03\x01") is Kind.OTHER, "an alert opens no connection"


def test_http2_is_told_by_its_whole_preface() -> None:
    assert first_verdict(PREFACE + b"\0\0\0\x04") == (Kind.HTTP2, len(PREFACE))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_alone_tells(method: bytes) -> None:
    assert sniff(method + b" ") is Kind.HTTP1
    assert sniff(method + b"\r\n") is Kind.HTTP1
    assert sniff(method) is None
    assert sniff(method + b"X x\r\n") is Kind.OTHER, "a longer word is another one"


def test_the_corpus_agrees() -> None:
    for case in load_corpus():
        if case.kind is CaseKind.RESPONSE or case.sides == ("forward",):
            continue
        kind = sniff(case.client)
        assert kind is first_verdict(case.client[: FIRST_LINE_BYTES + 1])[0], case.id
        assert (kind is Kind.HTTP1) == (case.verdict.forward is not Forward.OPAQUE), case.id


PIECES = st.sampled_from(
    [b"GET", b"G", b" ", b"/", b"HTTP/1.1", b"http/", b"\r", b"\n", b"\0", b"\x01", b"\xff", b"PRI * HTTP/2.0", b"\r\n",
     b"\r\n\r\nSM", b"\t", b"{", b'"', b"[", b"<", b"?", b"x", b"7", b"\x16", b"\x03", b"M" * 100]
)  # fmt: skip


@given(st.lists(PIECES, min_size=1, max_size=12).map(b"".join))
def test_a_cut_changes_no_verdict(data: bytes) -> None:
    kind, size = first_verdict(data)
    assert sniff(data) is kind
    if kind is not None:
        assert all(sniff(data[:longer]) is kind for longer in {size, (size + len(data)) // 2, len(data)})


def test_every_kind_that_is_not_read_has_its_figure() -> None:
    assert {kind.value for kind in Kind if kind not in (Kind.HTTP1, Kind.HTTP2)} == set(OPAQUE)
