"""Request heads: bytes in, what the sidecar has to know about them out, or the refusal that names what is wrong."""

from __future__ import annotations

import pytest

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, UNSUPPORTED_TRANSFER_CODING, Failure
from proxy.wire.edit import request_head
from proxy.wire.framing import CHUNKED, NO_BODY
from proxy.wire.head import HeadParser, Limits, field_values
from tests.proxy.wire.reading import PARSER, answer, get, read_request, read_response, refused_request, refused_response


class TestRequest:
    def test_minimal(self) -> None:
        head = read_request(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert (head.method, head.target, head.authority) == (b"GET", b"/", b"")
        assert (head.http10, head.body, head.keep_alive) == (False, NO_BODY, True)
        assert (head.hop, head.upgrade) == (False, b"")
        assert repr(head) == "<RequestHead GET / body=0>"

    @pytest.mark.parametrize("size", [0, 1, 500, 900, 950, 1000, 5000])
    def test_text_like_fields_behind_the_head_is_not_its_own(self, size: int) -> None:
        """However much came in one read."""
        body = (b"\r\nHost: other\r\nbaggage: x\r\n\r\n\0" * 200)[:size]
        data = get(b"A: b") + body
        head = read_request(data)
        assert data[head.end :] == body
        assert head.low == data[: head.end].lower()
        assert field_values(head, b"host") == [b"shop"]

    def test_what_follows_the_head_is_not_its_own(self) -> None:
        data = get(b"Content-Length: 5")
        for behind in (b"hello", b"GET /hidden HTTP/1.1\r\nHost: shop\r\n\r\n", b"\r\n\r\n", b"\0\r\n\n\r"):
            head = read_request(data + behind)
            assert head.end == len(data)
            assert head.body == 5
            assert head.low == data.lower()
            assert head.data[: head.end] == data

    @pytest.mark.parametrize("lines", [b"\r\n", b"\r\n\r\n"])
    def test_empty_lines_in_front_are_skipped_rfc_9112_2_2(self, lines: bytes) -> None:
        """Old clients send one behind a body that their Content-Length did not count."""
        data = get(b"Content-Length: 2")
        head = PARSER.request(lines + data + b"ok")
        assert head is not None
        assert (head.data, head.end, head.body) == (data + b"ok", len(data), 2)
        for size in range(len(lines + data)):
            assert PARSER.request((lines + data)[:size]) is None

    def test_three_empty_lines_are_too_many(self) -> None:
        assert refused_request(b"\r\n\r\n\r\n" + get())[0] is BAD_REQUEST
        for line_end in (b"\n", b"\r", b"\r\n\n", b"\r\n \r\n"):
            assert refused_request(line_end + get())[0] is BAD_REQUEST

    def test_realistic(self) -> None:
        data = get(
            b"User-Agent: curl/8.5.0",
            b"Accept: */*",
            b'If-None-Match: W/"a:b"',
            b"Cookie: a=b; c=\xe9",
            b"Empty:",
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"Baggage: Routing-Key=Agent-42",
            start=b"PATCH /Users/1?q=a%20b&c=[d] HTTP/1.1",
        )
        head = read_request(data)
        assert (head.method, head.target) == (b"PATCH", b"/Users/1?q=a%20b&c=[d]")
        assert field_values(head, b"baggage") == [b"Routing-Key=Agent-42"]
        assert field_values(head, b"empty") == [b""]
        assert field_values(head, b"cookie") == [b"a=b; c=\xe9"]

    @pytest.mark.parametrize("method", [b"GET", b"get", b"M-SEARCH", b"PROPFIND", b"!#$%&'*+-.^_`|~9"])
    def test_methods_are_case_sensitive_tokens_rfc_9110_9_1(self, method: bytes) -> None:
        assert read_request(get(start=method + b" / HTTP/1.1")).method == method

    def test_names_are_case_insensitive_and_white_space_is_not_part_of_a_value_rfc_9110_5(self) -> None:
        head = read_request(get(b"cOnTeNt-LeNgTh:\t 7 \t", b"X-A:1", b"x-a: \t2", b"X-a:  "))
        assert head.body == 7
        assert field_values(head, b"x-a") == [b"1", b"2", b""]
        assert field_values(head, b"x") == []
        assert field_values(head, b"host") == [b"shop"]

    def test_a_value_that_looks_like_a_field_is_a_value(self) -> None:
        head = read_request(get(b"X: Content-Length: 5", b"Y: transfer-encoding: chunked", b"content-length-x: 9"))
        assert head.body == NO_BODY
        assert field_values(head, b"content-length") == []

    @pytest.mark.parametrize(
        ("host", "valid"),
        [
            (b"shop", True), (b"Shop.Example:8080", True), (b"[::1]:80", True), (b"[2001:DB8::1]", True), (b"", True),
            (b"\t shop \t", True), (b"shop:", True),
            (b"a@b", False), (b"shop/path", False), (b"shop evil", False), (b"shop,evil", False), (b"[::1", False),
            (b"shop:80:81", False), (b"\x0bshop", False), (b"shop\xa0", False), (b"shop:123456", False),
        ],
    )  # fmt: skip
    def test_host_is_host_and_port_rfc_9112_3_2(self, host: bytes, valid: bool) -> None:
        for start in (b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"GET http://shop/ HTTP/1.1"):
            for data in (
                start + b"\r\nHost:" + host + b"\r\n\r\n",
                start + b"\r\nA: b\r\nhost:" + host + b"\r\nConnection: x\r\nC: d\r\n\r\n",
            ):
                if valid:
                    assert field_values(read_request(data), b"host") == [host.strip(b" \t")]
                else:
                    assert refused_request(data) == (
                        BAD_REQUEST, "the host field is not HOST[:PORT] (RFC 9112 section 3.2)",
                    )  # fmt: skip

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (b"shop", b"shop"),
            (b"shop", b"evil"),
            (b"a@b", b"shop"),
            (b"shop", b"a@b"),
            (b"", b"shop"),
            (b"a@b", b"c/d"),
        ],
    )
    def test_host_comes_once_rfc_9112_3_2(self, first: bytes, second: bytes) -> None:
        """Whether the first, the second, both or none of them is valid."""
        for between in (b"", b"A: b\r\n", b"Connection: close\r\nC: d\r\n"):
            data = b"GET / HTTP/1.1\r\nHost: " + first + b"\r\n" + between + b"hOST: " + second + b"\r\nX: y\r\n\r\n"
            assert refused_request(data) == (BAD_REQUEST, "more than one host field (RFC 9112 section 3.2)")

    def test_host_is_required_since_http_1_1_rfc_9112_3_2(self) -> None:
        missing = (BAD_REQUEST, "the host field is missing (RFC 9112 section 3.2)")
        assert refused_request(b"GET / HTTP/1.1\r\n\r\n") == missing
        assert refused_request(b"GET / HTTP/1.1\r\nX-Host: shop\r\nConnection: close\r\nX: y\r\n\r\n") == missing
        assert refused_request(b"GET http://shop/ HTTP/1.1\r\nA: b\r\n\r\n") == missing
        assert read_request(b"GET / HTTP/1.0\r\n\r\n").http10
        assert read_request(b"GET / HTTP/1.0\r\nA: b\r\n\r\n").http10

    # -- target, RFC 9112 section 3.2 -----------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("start", "authority"),
        [
            (b"GET http://users/a?b=c HTTP/1.1", b"users"),
            (b"GET HTTP://Users:8080 HTTP/1.1", b"Users:8080"),
            (b"GET http://users?x HTTP/1.1", b"users"),
            (b"GET http://[::1]:80/ HTTP/1.1", b"[::1]:80"),
            (b"GET http://users:/ HTTP/1.1", b"users:"),
            (b"OPTIONS http://users HTTP/1.1", b"users"),
            (b"GET http://users/http://evil@x/ HTTP/1.1", b"users"),
            (b"CONNECT users:443 HTTP/1.1", b"users:443"),
            (b"CONNECT [::1]:443 HTTP/1.1", b"[::1]:443"),
            (b"OPTIONS * HTTP/1.1", b""),
            (b"GET //evil/path HTTP/1.1", b""),
            (b"GET /http://evil/ HTTP/1.1", b""),
        ],
    )
    def test_authority(self, start: bytes, authority: bytes) -> None:
        head = read_request(get(start=start))
        assert head.authority == authority
        assert head.target == start.split(b" ")[1]

    @pytest.mark.parametrize(
        ("start", "section"),
        [
            (b"CONNECT users HTTP/1.1", "3.2.3"),
            (b"CONNECT users: HTTP/1.1", "3.2.3"),
            (b"CONNECT :443 HTTP/1.1", "3.2.3"),
            (b"CONNECT u@users:443 HTTP/1.1", "3.2.3"),
            (b"CONNECT http://users/ HTTP/1.1", "3.2.3"),
            (b"CONNECT / HTTP/1.1", "3.2.3"),
            (b"CONNECT /users:443 HTTP/1.1", "3.2.3"),
            (b"CONNECT [::1] HTTP/1.1", "3.2.3"),
            (b"CONNECT * HTTP/1.1", "3.2.3"),
            (b"GET * HTTP/1.1", "3.2.4"),
            (b"OPTIONS *x HTTP/1.1", "3.2"),
            (b"GET users HTTP/1.1", "3.2"),
            (b"GET users:80 HTTP/1.1", "3.2"),
            (b"GET ?a=b HTTP/1.1", "3.2"),
            (b"GET https://users/ HTTP/1.1", "3.2"),
            (b"GET ftp://users/ HTTP/1.1", "3.2"),
            (b"GET http:/users/ HTTP/1.1", "3.2"),
            (b"GET http:\\\\users/ HTTP/1.1", "3.2"),
            (b"GET http:///path HTTP/1.1", "4.2.4"),
            (b"GET http://:80/ HTTP/1.1", "4.2.4"),
            (b"GET http://u@users/ HTTP/1.1", "4.2.4"),
            (b"GET http://users:80x/ HTTP/1.1", "4.2.4"),
            (b"GET http://[::1/ HTTP/1.1", "4.2.4"),
        ],
    )
    def test_bad_targets(self, start: bytes, section: str) -> None:
        failure, detail = refused_request(get(start=start))
        assert failure is BAD_REQUEST
        assert "target" in detail
        assert detail.endswith(f"section {section})")

    # -- connection, RFC 9110 section 7.6.1 and RFC 9112 section 9.3 ------------------------------------------------

    @pytest.mark.parametrize(
        ("lines", "keep_alive_11", "keep_alive_10"),
        [
            ((), True, False),
            ((b"Connection: keep-alive",), True, True),
            ((b"Connection: Keep-Alive", b"Keep-Alive: timeout=5"), True, True),
            ((b"Connection: close",), False, False),
            ((b"Connection: Close",), False, False),
            ((b"Connection: x-foo , CLOSE\t,",), False, False),
            ((b"Connection: keep-alive, close",), False, False),
            ((b"Connection: keep-alive", b"Connection: close"), False, False),
            ((b"Connection:",), True, False),
            ((b"Connection: closed",), True, False),
            ((b"Proxy-Connection: close",), True, False),
        ],
    )
    def test_persistence_rfc_9112_9_3(self, lines: tuple[bytes, ...], keep_alive_11: bool, keep_alive_10: bool) -> None:
        for further in ((), (b"A: b",)):
            assert read_request(get(*lines, *further)).keep_alive is keep_alive_11
            assert read_request(get(*lines, *further, start=b"GET / HTTP/1.0")).keep_alive is keep_alive_10

    @pytest.mark.parametrize(
        ("lines", "hop"),
        [
            ((), False),
            ((b"Connection: keep-alive",), False),
            ((b"Connection: close",), True),
            ((b"Connection: keep-alive, x-foo",), True),
            ((b"Keep-Alive: timeout=5",), True),
            ((b"Proxy-Connection: keep-alive",), True),
            ((b"Upgrade: h2c",), True),
            ((b"TE: trailers",), False),
            ((b"X-Connection: close",), False),
        ],
    )
    def test_fields_of_one_hop(self, lines: tuple[bytes, ...], hop: bool) -> None:
        assert read_request(get(*lines)).hop is hop
        assert read_request(get(*lines, b"A: b")).hop is hop
        assert read_response(answer(*lines, b"Content-Length: 0")).hop is hop

    def test_connection_options(self) -> None:
        lines = (b"Connection: close, X-Foo", b"connection:\tX-Bar ,, ")
        assert read_request(get(*lines)).options == {b"close", b"x-foo", b"x-bar"}
        assert read_response(answer(*lines)).options == {b"close", b"x-foo", b"x-bar"}

    @pytest.mark.parametrize(
        "name",
        [
            b"Baggage",
            b"tracestate",
            b"traceparent",
            b"B3",
            b"x-b3-traceid",
            b"x-request-id",
            b"skycap-visited",
            b"x-own",
        ],
    )
    def test_what_names_key_or_trace_is_for_every_hop_rfc_9110_7_6_1(self, name: bytes) -> None:
        """A client that nominates it would take away what we need."""
        parser = HeadParser(Limits(), ["x-own"])
        lines = (b"Connection: x-foo, " + name, name + b": 1", b"X-Foo: 2")
        head = read_request(get(*lines), parser)
        assert head.options == {b"x-foo"}
        assert head.hop
        assert request_head(head, b"", frozenset(), b"") == get(name + b": 1")
        alone = read_request(get(b"Connection: " + name, name + b": 1"), parser)
        assert request_head(alone, b"", frozenset(), b"") == get(name + b": 1"), "the field itself goes"

    @pytest.mark.parametrize("name", [b"content-length", b"Transfer-Encoding", b"HOST"])
    def test_connection_must_not_name_framing_rfc_9110_7_6_1(self, name: bytes) -> None:
        """Removing what it names would change where the message ends, or where it goes."""
        detail = f"the connection field names {name.decode().lower()} (RFC 9110 section 7.6.1)"
        assert refused_request(get(b"Connection: close, " + name)) == (BAD_REQUEST, detail)
        assert refused_response(answer(b"Connection: " + name, b"Content-Length: 0")) == (BAD_RESPONSE, detail)

    # -- version ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("minor", list(b"23456789"))
    def test_a_higher_minor_version_goes_on_as_1_1_rfc_9110_2_5(self, minor: int) -> None:
        for lines in ((), (b"Content-Length: 2",), (b"Baggage: a=b", b"Upgrade: x", b"Connection: upgrade")):
            head = read_request(get(*lines, start=b"GET /Path HTTP/1.%c" % minor) + b"ok")
            assert head.data == get(*lines, start=b"GET /Path HTTP/1.1") + b"ok"
            assert (head.http10, head.keep_alive) == (False, True)
        assert refused_request(b"GET / HTTP/1.%c\r\n\r\n" % minor)[0] is BAD_REQUEST, "a Host is due as in 1.1"

    # -- upgrade, RFC 9110 section 7.8 ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("data", "upgrade"),
        [
            (get(b"Connection: Upgrade", b"Upgrade: websocket"), b"websocket"),
            (get(b"Connection: keep-alive, Upgrade", b"Upgrade: a/1", b"Upgrade: b"), b"a/1, b"),
            (get(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 0"), b"websocket"),
            (get(b"Upgrade: websocket"), b""),
            (get(b"Connection: Upgrade"), b""),
            (get(b"Connection: Upgrade", b"Upgrade: websocket", start=b"GET / HTTP/1.0"), b""),
            (get(b"Connection: Upgrade", b"Upgrade: tcp", b"Content-Length: 1"), b"tcp"),
            (get(b"Connection: Upgrade", b"Upgrade: tcp", b"Transfer-Encoding: chunked"), b"tcp"),
            (get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), b""),
            (get(b"Connection: Upgrade", b"Upgrade: h2c-14, H2C"), b""),
            (get(b"Connection: Upgrade", b"Upgrade: H2C, websocket"), b"websocket"),
            (get(b"Connection: Upgrade", b"Upgrade: websocket , h2c,a/h2c", b"Upgrade:,"), b"websocket, a/h2c"),
        ],
    )
    def test_upgrade(self, data: bytes, upgrade: bytes) -> None:
        """Not from HTTP/1.0, and never to h2c, behind which requests would pass unseen."""
        assert read_request(data).upgrade.lower() == upgrade

    # -- framing; all its rules: test_framing.py ---------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("lines", "body"),
        [
            ((), NO_BODY),
            ((b"Content-Length: 0",), 0),
            ((b"Content-Length: 005",), 5),
            ((b"Content-Length: 999999999999999999",), 999999999999999999),
            ((b"Transfer-Encoding: chunked",), CHUNKED),
            ((b"transfer-encoding:CHUNKED",), CHUNKED),
        ],
    )
    @pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD", b"OPTIONS"])
    def test_framing_does_not_depend_on_the_method(self, method: bytes, lines: tuple[bytes, ...], body: int) -> None:
        for further in ((), (b"A: b",), (b"Connection: close", b"A: b")):
            assert read_request(get(*lines, *further, start=method + b" / HTTP/1.1")).body == body

    @pytest.mark.parametrize(
        ("lines", "failure", "phrase"),
        [
            ((b"Content-Length:",), BAD_REQUEST, "content-length is not a number"),
            ((b"Content-Length: +5",), BAD_REQUEST, "content-length is not a number"),
            ((b"Content-Length: 5 5",), BAD_REQUEST, "content-length is not a number"),
            ((b"Content-Length: 5, 5",), BAD_REQUEST, "content-length is not a number"),
            ((b"Content-Length: 1234567890123456789",), BAD_REQUEST, "content-length is not a number"),
            ((b"Content-Length: 5\x0b",), BAD_REQUEST, "content-length is not a number"),
            ((b"Content-Length: 5", b"Content-Length: 5"), BAD_REQUEST, "more than one content-length"),
            ((b"Content-Length: 5", b"A: b", b"content-length: 6"), BAD_REQUEST, "more than one content-length"),
            ((b"Content-Length: x", b"content-length: 6"), BAD_REQUEST, "more than one content-length"),
            ((b"Content-Length: 6", b"content-length: x"), BAD_REQUEST, "more than one content-length"),
            (
                (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
                BAD_REQUEST, "content-length together with transfer-encoding",
            ),
            (
                (b"Transfer-Encoding: chunked", b"A: b", b"Content-Length: 5"),
                BAD_REQUEST, "content-length together with transfer-encoding",
            ),
            ((b"Transfer-Encoding: chunked, gzip",), BAD_REQUEST, "not exactly one `chunked`"),
            ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), BAD_REQUEST, "not exactly one `chunked`"),
            ((b"Transfer-Encoding: chunked\x0c",), BAD_REQUEST, "not exactly one `chunked`"),
            ((b"Transfer-Encoding: gzip, chunked",), UNSUPPORTED_TRANSFER_CODING, "only the transfer coding `chunked`"),
        ],
    )  # fmt: skip
    def test_ambiguous_framing_rfc_9112_6_3(self, lines: tuple[bytes, ...], failure: Failure, phrase: str) -> None:
        for further in ((), (b"A: b",), (b"Connection: keep-alive", b"A: b")):
            found, detail = refused_request(get(*lines, *further))
            assert found is failure
            assert phrase in detail

    def test_http_1_0_has_no_transfer_codings_rfc_9112_6_1(self) -> None:
        failure, detail = refused_request(get(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"))
        assert failure is BAD_REQUEST
        assert detail == "transfer-encoding in an HTTP/1.0 request (RFC 9112 section 6.1)"
        assert read_request(get(b"Content-Length: 3", start=b"POST / HTTP/1.0")).body == 3
