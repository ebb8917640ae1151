"""Response heads: as test_head.py, and the two repairs that RFC 9112 asks of a proxy."""

from __future__ import annotations

import pytest

from proxy.errors import BAD_RESPONSE
from proxy.wire.framing import CHUNKED, NO_BODY, UNTIL_CLOSE
from tests.proxy.wire.reading import PARSER, answer, read_response, refused_response


class TestResponse:
    def test_usual(self) -> None:
        data = answer(b"Server: x", b"Content-Length: 5")
        head = read_response(data + b"hello")
        assert (head.status, head.body, head.end) == (200, 5, len(data))
        assert (head.http10, head.keep_alive, head.idle, head.hop, head.upgrade) == (False, True, -1, False, b"")
        assert head.data == data + b"hello"
        assert repr(head) == "<ResponseHead 200 body=5>"

    @pytest.mark.parametrize(
        "start",
        [
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 ",
            b"HTTP/1.1 200 D\xe9j\xe0 vu\t!",
            b"HTTP/1.1 599 x",
            b"HTTP/1.0 299 OK",
            b"HTTP/1.1 600 x",
            b"HTTP/1.1 999 Request denied",
        ],
    )
    def test_status_lines_rfc_9112_4(self, start: bytes) -> None:
        head = read_response(answer(b"Content-Length: 0", start=start))
        assert head.status == int(start[9:12])
        assert head.http10 is start.startswith(b"HTTP/1.0")

    @pytest.mark.parametrize(
        ("method", "status", "lines", "body"),
        [
            (b"GET", 200, (b"Content-Length: 5",), 5),
            (b"GET", 200, (b"Transfer-Encoding: chunked",), CHUNKED),
            (b"GET", 200, (), UNTIL_CLOSE),
            (b"GET", 404, (b"Content-Length: 0",), 0),
            (b"HEAD", 200, (b"Content-Length: 5",), NO_BODY),
            (b"HEAD", 200, (b"Transfer-Encoding: chunked",), NO_BODY),
            (b"HEAD", 200, (), NO_BODY),
            (b"CONNECT", 200, (b"Content-Length: 5",), NO_BODY),
            (b"CONNECT", 299, (b"Transfer-Encoding: chunked",), NO_BODY),
            (b"CONNECT", 200, (), NO_BODY),
            (b"CONNECT", 407, (b"Content-Length: 5",), 5),
            (b"GET", 204, (), NO_BODY),
            (b"GET", 204, (b"Content-Length: 5",), NO_BODY),
            (b"GET", 304, (b"Content-Length: 5",), NO_BODY),
            (b"GET", 304, (b"Transfer-Encoding: chunked",), NO_BODY),
            (b"GET", 100, (), NO_BODY),
            (b"GET", 103, (b"Content-Length: 5",), NO_BODY),
            (b"GET", 199, (), NO_BODY),
        ],
    )
    def test_framing_rfc_9112_6_3(self, method: bytes, status: int, lines: tuple[bytes, ...], body: int) -> None:
        for further in ((), (b"A: b",), (b"Connection: keep-alive", b"A: b"), (b"Keep-Alive: timeout=3", b"A: b")):
            head = read_response(answer(*lines, *further, start=b"HTTP/1.1 %d x" % status), method)
            assert head.body == body
            assert head.keep_alive is (body != UNTIL_CLOSE)

    @pytest.mark.parametrize(
        ("lines", "phrase"),
        [
            ((b"Content-Length: 5", b"A: b", b"content-length: 6"), "more than one content-length"),
            ((b"Content-Length: five",), "content-length is not a number"),
            (
                (b"Content-Length: 5", b"Content-Length: 6", b"Transfer-Encoding: chunked"),
                "content-length together with",
            ),
            ((b"Content-Length: x", b"Transfer-Encoding: chunked"), "content-length together with"),
            ((b"Content-Length: 5", b"Transfer-Encoding: gzip"), "content-length together with"),
            ((b"Transfer-Encoding: gzip",), "not exactly one `chunked`"),
            ((b"Transfer-Encoding: gzip, chunked",), "not exactly one `chunked`"),
        ],
    )
    def test_ambiguous_framing_rfc_9112_6_3(self, lines: tuple[bytes, ...], phrase: str) -> None:
        for further in ((), (b"A: b",)):
            failure, detail = refused_response(answer(*lines, *further))
            assert failure is BAD_RESPONSE
            assert phrase in detail

    def test_http_1_0(self) -> None:
        head = read_response(answer(b"Content-Length: 5", start=b"HTTP/1.0 200 OK"))
        assert (head.http10, head.body, head.keep_alive) == (True, 5, False)
        assert read_response(
            answer(b"Content-Length: 5", b"Connection: Keep-Alive", start=b"HTTP/1.0 200 OK")
        ).keep_alive
        failure, detail = refused_response(answer(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK"))
        assert failure is BAD_RESPONSE
        assert detail == "transfer-encoding in an HTTP/1.0 response (RFC 9112 section 6.1)"

    def test_close_rfc_9112_9_3(self) -> None:
        head = read_response(answer(b"Connection: close", b"Content-Length: 5"))
        assert (head.keep_alive, head.hop, head.body) == (False, True, 5)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (b"timeout=5", 5), (b"timeout=5, max=100", 5), (b"max=100, Timeout=30", 30), (b"max=1;timeout=0", 0),
            (b'timeout="7"', 7), (b"timeout=999999", 999999), (b"timeout=1234567", -1), (b"timeout=", -1),
            (b"xtimeout=5", -1), (b"5", -1), (b"", -1), (b"timeout = 5", -1),
        ],
    )  # fmt: skip
    def test_idle_seconds(self, value: bytes, seconds: int) -> None:
        for further in ((), (b"A: b",)):
            head = read_response(answer(b"Content-Length: 0", b"Keep-Alive: " + value, *further))
            assert head.idle == seconds

    def test_switching_protocols_rfc_9110_7_8(self) -> None:
        data = answer(b"Connection: Upgrade", b"Upgrade: WebSocket", start=b"HTTP/1.1 101 Switching Protocols")
        head = read_response(data + b"\x81\x05hello")
        assert (head.status, head.body, head.hop) == (101, NO_BODY, True)
        assert head.upgrade.lower() == b"websocket"
        assert head.data[head.end :] == b"\x81\x05hello"

    def test_an_offer_to_upgrade_is_no_switch(self) -> None:
        head = read_response(answer(b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: 0"))
        assert (head.upgrade, head.hop, head.keep_alive) == (b"", True, True)

    @pytest.mark.parametrize(
        ("lines", "mended"),
        [
            ((b"X: a", b" b", b"Content-Length: 2"), (b"X: a b", b"Content-Length: 2")),
            ((b"X: a  ", b"\t\tb ", b" \tc", b"Content-Length: 2"), (b"X: a b c", b"Content-Length: 2")),
            ((b"X:", b" ", b"\t", b" a", b"Content-Length: 2"), (b"X: a", b"Content-Length: 2")),
            ((b"Content-Length:", b" 2"), (b"Content-Length: 2",)),
            ((b"Content-Length: 2", b" "), (b"Content-Length: 2 ",)),
            ((b"X : a", b"Content-Length\t : 2"), (b"X: a", b"Content-Length: 2")),
            ((b"X \t: a", b" b : c", b"Content-Length: 2"), (b"X: a b : c", b"Content-Length: 2")),
        ],
    )
    def test_repair_rfc_9112_5_1_and_5_2(self, lines: tuple[bytes, ...], mended: tuple[bytes, ...]) -> None:
        """A proxy replaces obs-fold by a space and removes white space before a colon, in answers."""
        body = b"ok\r\n folded : no"
        head = read_response(answer(*lines) + body)
        assert head.data == answer(*mended) + body
        assert head.end == len(answer(*mended))
        assert head.body == 2

    def test_a_repaired_head_with_much_body_behind_it(self) -> None:
        body = b"a" * 100_000
        head = PARSER.response(answer(b"X : a", b"Content-Length: 100000") + body, b"GET")
        assert head is not None
        assert head.body == 100_000
        assert head.data[head.end :] == body

    def test_repair_does_not_hide_bad_framing(self) -> None:
        for lines in (
            (b"Content-Length: 2", b" 0"),
            (b"Content-Length : 2", b"Content-Length: 3"),
            (b"Content-Length: 2", b"Transfer-Encoding : gzip"),
            (b"Transfer-Encoding: chunked,", b" chunked"),
        ):
            assert refused_response(answer(*lines))[0] is BAD_RESPONSE
