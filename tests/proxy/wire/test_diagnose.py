"""Bad heads: each is refused at once, and the sentence names what is wrong."""

from __future__ import annotations

import pytest

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, HEAD_TOO_LARGE, UNSUPPORTED_METHOD, UNSUPPORTED_VERSION
from proxy.wire.diagnose import diagnose_request, diagnose_response
from tests.proxy.wire.reading import PARSER, read_request, refusal, refused_request, refused_response

HEAD = b"GET / HTTP/1.1\r\nHost: shop\r\nX: y\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: y\r\n\r\n"

LINE_END = "a CR or LF that stands alone (RFC 9112 section 2.2)"
NUL = "a NUL character in the head (RFC 9110 section 5.5)"


class TestRequestLine:
    """RFC 9112 section 3"""

    @pytest.mark.parametrize(
        "line",
        [
            b"", b"GET", b"GET /", b"GET / ", b"GET /  HTTP/1.1", b"GET  / HTTP/1.1", b" GET / HTTP/1.1",
            b"GET / HTTP/1.1 ", b"GET /a b HTTP/1.1", b"GET  HTTP/1.1", b" / HTTP/1.1",
        ],
    )  # fmt: skip
    def test_three_words(self, line: bytes) -> None:
        assert refused_request(line + b"\r\nHost: shop\r\n\r\n") == (
            BAD_REQUEST, "the request line is not METHOD SP TARGET SP VERSION (RFC 9112 section 3)",
        )  # fmt: skip

    @pytest.mark.parametrize("method", [b"GE(T", b"G\xc9T", b"GET:", b"\tGET", b'"GET"', b"{}", b"GET\x01"])
    def test_method(self, method: bytes) -> None:
        assert refused_request(method + b" / HTTP/1.1\r\nHost: shop\r\n\r\n") == (
            BAD_REQUEST, "the method is not a token (RFC 9110 section 9.1)",
        )  # fmt: skip

    @pytest.mark.parametrize("target", [b"/#", b"/a#b", b"#", b"http://shop/#x", b"/\xe9#"])
    def test_fragment(self, target: bytes) -> None:
        assert refused_request(b"GET " + target + b" HTTP/1.1\r\nHost: shop\r\n\r\n") == (
            BAD_REQUEST, "the request target has a fragment (RFC 9112 section 3.2)",
        )  # fmt: skip

    @pytest.mark.parametrize("target", [b"/\xe9", b"/\tx", b"/\x7f", b"/\x0b", b"/caf\xc3\xa9", b"/\x1b[2J"])
    def test_target(self, target: bytes) -> None:
        assert refused_request(b"GET " + target + b" HTTP/1.1\r\nHost: shop\r\n\r\n") == (
            BAD_REQUEST,
            "the request target has characters that must be percent-encoded (RFC 9112 section 3.2)",
        )

    @pytest.mark.parametrize(
        "version",
        [
            b"HTTP/1.10", b"HTTP/1", b"HTTP/2", b"HTTP/01.1", b"http/1.1", b"Http/1.0", b"HTTP/1,1", b"HTTPS/1.1",
            b"ICY/1.1", b"HTTP/1.1\t", b"XHTTP/1.1", b"HTTP/2.10", b"http/2.0",
        ],
    )  # fmt: skip
    def test_version_is_case_sensitive_rfc_9112_2_3(self, version: bytes) -> None:
        failure, detail = refused_request(b"GET / " + version + b"\r\nHost: shop\r\n\r\n")
        assert failure is BAD_REQUEST
        shown = version.decode("ascii", "backslashreplace")
        assert detail == f"the version {shown!r} is neither HTTP/1.0 nor HTTP/1.1 (RFC 9112 section 2.3)"

    @pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/2.0", b"HTTP/2.1", b"HTTP/3.0", b"HTTP/3.7", b"HTTP/9.9"])
    def test_another_major_version_is_not_spoken_rfc_9110_15_6_6(self, version: bytes) -> None:
        refused = refused_request(b"GET / " + version + b"\r\nHost: shop\r\n\r\n")
        assert refused == (UNSUPPORTED_VERSION, f"{version.decode()} is not spoken here (RFC 9110 section 2.5)")

    @pytest.mark.parametrize("behind", [b"", b" / HTTP/1.1\r\nHost: shop\r\n\r\n", b"A" * 100_000])
    def test_a_method_that_is_too_long_rfc_9112_3(self, behind: bytes) -> None:
        """501, as for any method that nobody knows, and before a whole head of it has come."""
        assert read_request(b"M" * 1024 + b" / HTTP/1.1\r\nHost: shop\r\n\r\n").method == b"M" * 1024
        failure, detail = refusal(lambda: PARSER.request(b"M" * 1025 + behind))
        assert (failure, detail) == (
            UNSUPPORTED_METHOD, "the method has more than 1024 characters (RFC 9112 section 3)",
        )  # fmt: skip


class TestStatusLine:
    """RFC 9112 section 4"""

    @pytest.mark.parametrize(
        "line",
        [
            b"", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 x",
            b"HTTP/1.1 000 x",
            b"HTTP/1.1 2OO OK", b"HTTP/1.1 +20 OK", b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK", b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK", b" HTTP/1.1 200 OK", b"HTTP/0.9 200 OK", b"HTTP/2.0 200 OK", b"HTTP/2 200",
            b"http/1.1 200 OK",
            b"ICY 200 OK", b"200 OK", b"GET / HTTP/1.1", b"<html>", b"HTTP/1.1 200OK", b"HTTP/1.1 200\tOK",
        ],
    )  # fmt: skip
    def test_malformed(self, line: bytes) -> None:
        assert refused_response(line + b"\r\nContent-Length: 0\r\n\r\n") == (
            BAD_RESPONSE, "the status line is malformed (RFC 9112 section 4)",
        )  # fmt: skip

    @pytest.mark.parametrize("white", [b" ", b"\t", b"  X: ", b" \t "])
    def test_white_space_behind_it_rfc_9112_2_2(self, white: bytes) -> None:
        """It continues no field, and must not become a part of the reason phrase."""
        for start in (b"HTTP/1.1 200 OK", b"HTTP/1.1 200"):
            assert refused_response(start + b"\r\n" + white + b"a\r\nContent-Length: 0\r\n\r\n") == (
                BAD_RESPONSE, "white space between the status line and the first field (RFC 9112 section 2.2)",
            )  # fmt: skip


class TestFields:
    """RFC 9112 section 5"""

    @pytest.mark.parametrize(
        ("line", "phrase"),
        [
            (b"no colon", "'no colon' is not a field line (RFC 9112 section 5)"),
            (b": no name", "': no name' is not a field line (RFC 9112 section 5)"),
            (b"a b: c", "'a b: c' is not a field line (RFC 9112 section 5)"),
            (b"(a): b", "'(a): b' is not a field line (RFC 9112 section 5)"),
            (b"caf\xe9: b", r"'caf\\xe9: b' is not a field line (RFC 9112 section 5)"),
            (b"a\x1b[2Jb", r"'a\x1b[2Jb' is not a field line (RFC 9112 section 5)"),
            (b"x" * 50, f"'{'x' * 40}...' is not a field line (RFC 9112 section 5)"),
        ],
    )
    def test_not_a_field_line(self, line: bytes, phrase: str) -> None:
        for before in (b"", b"A: b\r\n"):
            data = b"GET / HTTP/1.1\r\nHost: shop\r\n" + before + line + b"\r\nC: d\r\n\r\n"
            assert refused_request(data) == (BAD_REQUEST, phrase)
            data = b"HTTP/1.1 200 OK\r\n" + before + line + b"\r\nC: d\r\n\r\n"
            assert refused_response(data) == (BAD_RESPONSE, phrase)

    @pytest.mark.parametrize("line", [b"Content-Length : 5", b"Host\t: shop", b"X \t :"])
    def test_space_before_the_colon_rfc_9112_5_1(self, line: bytes) -> None:
        failure, detail = refused_request(b"GET / HTTP/1.1\r\nHost: shop\r\n" + line + b"\r\n\r\n")
        assert failure is BAD_REQUEST
        shown = repr(line.decode())
        assert detail == f"white space before the colon in {shown} (RFC 9112 section 5.1)"

    @pytest.mark.parametrize("line", [b" folded", b"\tfolded", b" X: y", b" ", b" : "])
    def test_folds_rfc_9112_5_2(self, line: bytes) -> None:
        for before in (b"Host: shop\r\n", b"Host: shop\r\nX: y\r\n"):
            assert refused_request(b"GET / HTTP/1.1\r\n" + before + line + b"\r\n\r\n") == (
                BAD_REQUEST, "a folded field line (RFC 9112 section 5.2)",
            )  # fmt: skip

    def test_white_space_before_the_first_field_rfc_9112_2_2(self) -> None:
        assert refused_request(b"GET / HTTP/1.1\r\n Host: shop\r\n\r\n")[0] is BAD_REQUEST


class TestCharacters:
    @pytest.mark.parametrize("bad", [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\n\r", b"\n\n"])
    @pytest.mark.parametrize("place", [0, 3, 5, 14, 18, 21, 28, 30])
    def test_bare_line_ends_rfc_9112_2_2(self, place: int, bad: bytes) -> None:
        """In the request line, in a name, in a value, between lines: three readings of the same bytes."""
        data = HEAD[:place] + bad + HEAD[place:]
        assert refused_request(data) == (BAD_REQUEST, LINE_END)

    @pytest.mark.parametrize("bad", [b"\r", b"\r\r\n", b"\n\r \n"])
    @pytest.mark.parametrize("place", [0, 3, 5, 14, 18, 21, 28, 34, 37, 38])
    def test_a_bare_cr_in_an_answer_rfc_9112_2_2(self, place: int, bad: bytes) -> None:
        """Unlike a bare LF it ends a line for some and is a space for others."""
        data = ANSWER[:place] + bad + ANSWER[place:]
        assert refused_response(data)[0] is BAD_RESPONSE
        assert refusal(lambda: PARSER.response(data, b"GET"))[1] == (
            "a CR that stands alone (RFC 9112 section 2.2)"
        )  # fmt: skip

    def test_a_request_in_unix_style_is_refused_without_waiting_for_more(self) -> None:
        assert refusal(lambda: PARSER.request(b"GET / HTTP/1.1\n")) == (BAD_REQUEST, LINE_END)

    @pytest.mark.parametrize("place", [0, 1, 4, 9, 17, 20, 24])
    def test_nul_rfc_9110_5_5(self, place: int) -> None:
        assert refused_request(HEAD[:place] + b"\0" + HEAD[place:]) == (BAD_REQUEST, NUL)
        assert refused_response(ANSWER[:place] + b"\0" + ANSWER[place:]) == (BAD_RESPONSE, NUL)

    @pytest.mark.parametrize("octet", [b"\x01", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xff"])
    def test_other_octets_in_a_value_are_the_recipients_business_rfc_9110_5_5(self, octet: bytes) -> None:
        head = PARSER.request(HEAD.replace(b"y", b"a" + octet + b"b"))
        assert head is not None
        assert PARSER.response(ANSWER.replace(b"y", octet), b"GET") is not None


class TestBySteps:
    """The two functions themselves: what they say about heads that have not come whole."""

    @pytest.mark.parametrize("size", range(len(HEAD) - 1))
    def test_patience(self, size: int) -> None:
        diagnose_request(HEAD[:size], 1000, 10)
        assert not diagnose_response(ANSWER[:size], 1000, 10)

    def test_an_answer_that_only_needs_repair(self) -> None:
        assert diagnose_response(b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", 1000, 10)
        assert not diagnose_response(b"HTTP/1.1 200 OK\r\nX : y\r\n\r", 1000, 10)

    def test_lines_are_counted_as_they_come(self) -> None:
        start = b"GET / HTTP/1.1\r\n"
        diagnose_request(start + b"A: b\r\n" * 3 + b"C: d", 1000, 3)
        assert refusal(lambda: diagnose_request(start + b"A: b\r\n" * 4, 1000, 3)) == (
            HEAD_TOO_LARGE, "the head has more than 3 field lines",
        )  # fmt: skip

    def test_what_is_bad_counts_before_what_is_much(self) -> None:
        data = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4 + b"bad line\r\n"
        assert refusal(lambda: diagnose_request(data, 10, 3))[0] is BAD_REQUEST
