"""What leaves instead of what came: the head to forward, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.edit import CONNECTION, request_head, response_head
from proxy.wire.head import field_values
from tests.proxy.wire.reading import PARSER

NOTHING: frozenset[bytes] = frozenset()

MANY = [b"n%d" % number for number in range(500)]


def forwarded(
    data: bytes, insert: bytes = b"", drop: frozenset[bytes] = NOTHING, default_host: bytes = b"app:80"
) -> bytes:
    head = PARSER.request(data)
    assert head is not None
    assert head.end == len(data)
    edited = request_head(head, insert, drop, default_host)
    assert PARSER.request(edited) is not None, "what we send we would accept"
    # Bytes behind the head are none of this function's business.
    behind = PARSER.request(data + b"body\r\n\r\nX: y")
    assert behind is not None
    assert request_head(behind, insert, drop, default_host) == edited
    return edited


def answered(data: bytes, insert: bytes = b"", drop: frozenset[bytes] = NOTHING, method: bytes = b"GET") -> bytes:
    head = PARSER.response(data, method)
    assert head is not None
    edited = response_head(head, insert, drop)
    assert PARSER.response(edited, method) is not None, "what we send we would accept"
    behind = PARSER.response(data + b"body\r\n\r\nX: y", method)
    assert behind is not None
    assert response_head(behind, insert, drop) == edited
    return edited


class TestRequest:
    def test_untouched(self) -> None:
        for data in (
            b"GET /a?b HTTP/1.1\r\nHost: shop\r\n\r\n",
            b"get / HTTP/1.1\r\nhOST:shop\t\r\nX:  y \r\nx: \xff\r\nContent-Length: 005\r\nTE: trailers\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: shop\r\nConnection: Keep-Alive\r\nTransfer-Encoding:\tCHUNKED\r\n\r\n",
        ):
            assert forwarded(data) == data
            assert forwarded(data, b"a: b\r\nc: d\r\n") == data[:-2] + b"a: b\r\nc: d\r\n\r\n"

    @pytest.mark.parametrize("hop", [b"skycap-hop: 0123456789abcdef\r\n"])
    @pytest.mark.parametrize("insert", [b"", b"a: b\r\n"])
    def test_the_hop_that_caused_it_goes_no_further(self, hop: bytes, insert: bytes) -> None:
        for first, sent, fields, kept in (
            (b"GET / HTTP/1.1", b"GET / HTTP/1.1", b"Host: a\r\nX: y\r\n", b"Host: a\r\nX: y\r\n"),
            (b"GET / HTTP/1.1", b"GET / HTTP/1.1", b"Host: a\r\nConnection: close\r\n", b"Host: a\r\n"),
            (b"GET / HTTP/1.0", b"GET / HTTP/1.1", b"Host: a\r\nX: y\r\n", b"Host: a\r\nX: y\r\n"),
            (b"GET http://b/c HTTP/1.1", b"GET /c HTTP/1.1", b"Host: b\r\nX: y\r\n", b"X: y\r\nhost: b\r\n"),
        ):
            data = first + b"\r\n" + fields + hop + b"\r\n"
            assert forwarded(data, insert) == sent + b"\r\n" + kept + insert + b"\r\n"

    @pytest.mark.parametrize(
        ("lines", "left"),
        [
            (b"Connection: close\r\n", b""),
            (b"Connection: close\r\nX-Foo: y\r\n", b"X-Foo: y\r\n"),
            (
                b"Connection: close, x-foo\r\nX-Foo: y\r\nX-Fo: 1\r\nX-Foo-Bar: 2\r\nx-foo:\r\n",
                b"X-Fo: 1\r\nX-Foo-Bar: 2\r\n",
            ),
            (b"X-Foo: y\r\nConnection: X-FOO\r\nA: b\r\nConnection: a\r\n", b""),
            (b"Connection: keep-alive, te\r\nTE: gzip\r\nKeep-Alive: timeout=5\r\nB: c\r\n", b"B: c\r\n"),
            (b"Keep-Alive: timeout=5\r\n", b""),
            (b"Proxy-Connection: keep-alive\r\nProxy-Authorization: x\r\n", b"Proxy-Authorization: x\r\n"),
            (b"Upgrade: h2c\r\nX: Connection: y\r\n", b"X: Connection: y\r\n"),
            (b"Connection: .*\r\nabc: d\r\n", b"abc: d\r\n"),
            (b"Connection: x-a:\r\nx-a: b\r\n", b"x-a: b\r\n"),
            (b"Connection: baggage\r\nBaggage: routing-key=a\r\n", b"Baggage: routing-key=a\r\n"),
            (b"Connection: x-a, traceparent,B3 ,X-Request-Id\r\nX-A: 1\r\nb3: 2\r\n", b"b3: 2\r\n"),
            (b"Connection: x-b3-traceid\r\nX-B3-TraceId: 1\r\n", b"X-B3-TraceId: 1\r\n"),
            (b"Connection: %b\r\nn7: a\r\nN499: b\r\nn500: c\r\n" % b",".join(MANY), b"n500: c\r\n"),
        ],
    )  # fmt: skip
    def test_fields_of_one_hop_rfc_9110_7_6_1(self, lines: bytes, left: bytes) -> None:
        """What `connection` names goes, by its whole name; the rest stays, in order and byte for byte."""
        for before, behind in ((b"", b""), (b"A-B:c\r\n", b"D:  e \r\n")):
            data = b"GET / HTTP/1.1\r\n" + before + b"Host: shop\r\n" + lines + behind + b"\r\n"
            expected = b"GET / HTTP/1.1\r\n" + before + b"Host: shop\r\n" + left + behind + b"\r\n"
            assert forwarded(data) == expected
            assert forwarded(data, b"i: 1\r\n") == expected[:-2] + b"i: 1\r\n\r\n"

    def test_a_wish_to_upgrade_is_passed_on_rfc_9110_7_8(self) -> None:
        data = (
            b"GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: x-a, Upgrade\r\nX-A: b\r\n"
            b"Upgrade: websocket\r\nC: d\r\n\r\n"
        )
        expected = b"GET /ws HTTP/1.1\r\nHost: shop\r\nC: d\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        assert forwarded(data) == expected

    def test_no_wish_for_h2c_is_passed_on(self) -> None:
        data = (
            b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABk\r\nC: d\r\n\r\n"
        )
        assert forwarded(data) == b"GET / HTTP/1.1\r\nHost: shop\r\nC: d\r\n\r\n"

    @pytest.mark.parametrize(
        ("start", "becomes"),
        [
            (b"GET http://users/a?b=c", b"GET /a?b=c"),
            (b"GET HTTP://users/", b"GET /"),
            (b"GET http://users", b"GET /"),
            (b"GET http://users?b=c", b"GET /?b=c"),
            (b"OPTIONS http://users", b"OPTIONS *"),
            (b"OPTIONS http://users/", b"OPTIONS /"),
            (b"OPTIONS http://users?x", b"OPTIONS /?x"),
            (b"GET http://users//evil", b"GET //evil"),
            (b"GET http://users/http://users/", b"GET /http://users/"),
        ],
    )
    def test_absolute_form_becomes_origin_form_rfc_9112_3_2_2(self, start: bytes, becomes: bytes) -> None:
        """The authority replaces Host: the application must not see two."""
        for host in (b"Host: shop\r\n", b"host:\r\n", b"HOST:users\r\n"):
            data = start + b" HTTP/1.1\r\nA: b\r\n" + host + b"Host-X: c\r\n\r\n"
            assert forwarded(data) == becomes + b" HTTP/1.1\r\nA: b\r\nHost-X: c\r\nhost: users\r\n\r\n"

    def test_authority_is_copied_as_sent(self) -> None:
        data = b"GET http://[::1]:8080/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
        assert forwarded(data, b"i: 1\r\n") == b"GET /x HTTP/1.1\r\nhost: [::1]:8080\r\ni: 1\r\n\r\n"

    def test_http_1_0_becomes_1_1_rfc_9110_6_2(self) -> None:
        data = b"GET /a HTTP/1.0\r\nHost: shop\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\nX: y\r\n\r\n"
        assert forwarded(data) == b"GET /a HTTP/1.1\r\nHost: shop\r\nX: y\r\n\r\n"

    def test_http_1_0_without_host_gets_one(self) -> None:
        assert forwarded(b"GET / HTTP/1.0\r\n\r\n") == b"GET / HTTP/1.1\r\nhost: app:80\r\n\r\n"
        assert forwarded(b"GET / HTTP/1.0\r\nX-Host: a\r\n\r\n", b"i: 1\r\n", default_host=b"[::1]:9") == (
            b"GET / HTTP/1.1\r\nX-Host: a\r\nhost: [::1]:9\r\ni: 1\r\n\r\n"
        )
        assert forwarded(b"GET http://users/ HTTP/1.0\r\n\r\n") == b"GET / HTTP/1.1\r\nhost: users\r\n\r\n"

    def test_named_fields_are_dropped(self) -> None:
        data = b"GET / HTTP/1.1\r\nBaggage: a=b\r\nHost: shop\r\nbaggage-x: 1\r\nBAGGAGE:c\r\nX: y\r\n\r\n"
        assert forwarded(data, b"baggage: a=b,c,k=v\r\n", frozenset({b"baggage"})) == (
            b"GET / HTTP/1.1\r\nHost: shop\r\nbaggage-x: 1\r\nX: y\r\nbaggage: a=b,c,k=v\r\n\r\n"
        )
        data = data.replace(b"X: y", b"Connection: x-a\r\nX-A: b\r\nY: z")
        assert forwarded(data, b"", frozenset({b"baggage"})) == (
            b"GET / HTTP/1.1\r\nHost: shop\r\nbaggage-x: 1\r\nY: z\r\n\r\n"
        )


class TestResponse:
    def test_untouched(self) -> None:
        for data in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 404\r\nX: \xff\r\nConnection: Keep-Alive\r\ncontent-length:0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        ):
            assert answered(data) == data
            assert answered(data, b"a: b\r\n") == data[:-2] + b"a: b\r\n\r\n"

    @pytest.mark.parametrize(
        ("lines", "left"),
        [
            (b"Connection: close\r\n", b""),
            (b"Connection: close, X-Foo\r\nx-foo: a\r\nX-Foo2: b\r\n", b"X-Foo2: b\r\n"),
            (b"Keep-Alive: timeout=5\r\nProxy-Connection: x\r\n", b""),
            (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b""),
            (b"Connection: 200 OK\r\n", b""),
        ],
    )
    def test_fields_of_one_hop_rfc_9110_7_6_1(self, lines: bytes, left: bytes) -> None:
        data = b"HTTP/1.1 200 OK\r\nA: b\r\n" + lines + b"Content-Length: 2\r\n\r\n"
        assert answered(data) == b"HTTP/1.1 200 OK\r\nA: b\r\n" + left + b"Content-Length: 2\r\n\r\n"

    def test_the_version_is_our_own_rfc_9110_6_2(self) -> None:
        data = b"HTTP/1.0 404 Not  Found\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n"
        assert answered(data) == b"HTTP/1.1 404 Not  Found\r\nContent-Length: 2\r\n\r\n"
        assert answered(b"HTTP/1.0 200\r\n\r\n", b"a: b\r\n") == b"HTTP/1.1 200\r\na: b\r\n\r\n"

    def test_named_fields_are_dropped(self) -> None:
        data = b"HTTP/1.1 200 OK\r\nSkycap-Served-By: a\r\nContent-Length: 2\r\nskycap-served-by: b\r\nX: y\r\n\r\n"
        assert answered(data, b"skycap-served-by: c\r\n", frozenset({b"skycap-served-by"})) == (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\nskycap-served-by: c\r\n\r\n"
        )

    def test_switching_protocols_rfc_9110_7_8(self) -> None:
        data = (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, x-a\r\nX-A: b\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        assert answered(data, b"i: 1\r\n") == (
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
            b"i: 1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )

    def test_a_repaired_head(self) -> None:
        head = PARSER.response(b"HTTP/1.1 200 OK\r\nX : a\r\n b\r\nContent-Length: 2\r\n\r\nok", b"GET")
        assert head is not None
        assert response_head(head, b"i: 1\r\n", NOTHING) == (
            b"HTTP/1.1 200 OK\r\nX: a b\r\nContent-Length: 2\r\ni: 1\r\n\r\n"
        )


NAMES = st.sampled_from([b"a", b"A", b"ab", b"x-foo", b"X-Foo", b"close", b"te", b"baggage", b"Upgrade", b"Keep-Alive"])


@given(
    fields=st.lists(st.tuples(NAMES, st.sampled_from([b"", b" 1", b"\t2 ", b"x: y"])), max_size=8),
    options=st.lists(NAMES, max_size=4),
    drop=st.frozensets(st.sampled_from([b"a", b"baggage"])),
    start=st.sampled_from([b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"GET http://u/ HTTP/1.1"]),
)
@settings(deadline=None, max_examples=50)
def test_what_is_left_is_what_nobody_named(
    fields: list[tuple[bytes, bytes]], options: list[bytes], drop: frozenset[bytes], start: bytes
) -> None:
    lines = [b"Host: shop", *(name + b":" + value for name, value in fields), b"Connection: " + b", ".join(options)]
    edited = forwarded(start + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n", drop=drop)
    gone = drop | {b"upgrade", b"keep-alive"} | {option.lower() for option in options} - {b"close", b"baggage"}
    if not options and b"HTTP/1.1" in start and not {b"upgrade", b"keep-alive"} & {name.lower() for name, _ in fields}:
        gone = drop  # an empty list of options says nothing
    head = PARSER.request(edited)
    assert head is not None
    for name in {name.lower() for name, _ in fields}:
        wanted = [value.strip(b" \t") for other, value in fields if other.lower() == name]
        if name in gone:
            wanted = []
        if name == b"upgrade" and head.upgrade:
            wanted = [head.upgrade]
        assert field_values(head, name) == wanted


class TestOneConnectionLine:
    """The head that is cut in one place says the same as the one whose lines are looked for."""

    LINES = st.lists(
        st.sampled_from(
            [
                b"Connection: close", b"connection:\tKeep-Alive ", b"Connection: close, x-a", b"X-A: connection: close",
                b"Content-Length: 3", b"X-Connection: close", b"Baggage: a=b", b"Connection-Id: 7", b"Accept: */*",
            ]
        ),
        max_size=5,
    )  # fmt: skip
    DROPS = st.sampled_from([NOTHING, CONNECTION, frozenset({b"x-a"}), CONNECTION | {b"accept"}])
    INSERTS = st.sampled_from([b"", b"connection: close\r\n", b"a: b\r\nc: d\r\n"])

    @given(lines=LINES, drop=DROPS, insert=INSERTS, target=st.sampled_from([b"/", b"http://shop/a"]))
    @settings(deadline=None)
    def test_requests(self, lines: list[bytes], drop: frozenset[bytes], insert: bytes, target: bytes) -> None:
        data = b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: shop", *dict.fromkeys(lines), b"", b"body"])
        head = PARSER.request(data)
        assert head is not None
        edited = request_head(head, insert, drop, b"app")
        head.plain = False
        assert request_head(head, insert, drop, b"app") == edited

    @given(lines=LINES, drop=DROPS, insert=INSERTS)
    @settings(deadline=None)
    def test_answers(self, lines: list[bytes], drop: frozenset[bytes], insert: bytes) -> None:
        data = b"\r\n".join([b"HTTP/1.1 200 OK", *dict.fromkeys(lines), b"", b"body"])
        head = PARSER.response(data, b"GET")
        assert head is not None
        edited = response_head(head, insert, drop)
        head.plain = False
        assert response_head(head, insert, drop) == edited
