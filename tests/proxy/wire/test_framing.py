"""Where a body ends, by the numbered steps of RFC 9112 section 6.3."""

from __future__ import annotations

import pytest

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, UNSUPPORTED_TRANSFER_CODING, Failure, Refused
from proxy.wire.framing import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    Fields,
    collect,
    content_length,
    request_framing,
    response_framing,
)
from tests.proxy.wire.reading import refusal

BOTH = "content-length together with transfer-encoding (RFC 9112 section 6.3)"
NOT_CHUNKED = "transfer-encoding is not exactly one `chunked` (RFC 9112 section 6.1)"
UNSUPPORTED = "only the transfer coding `chunked` is supported (RFC 9112 section 6.1)"
SEVERAL = "more than one content-length (RFC 9112 section 6.3)"
NO_NUMBER = "content-length is not a number (RFC 9110 section 8.6)"


def fields(*, length: list[bytes] | None = None, coding: list[bytes] | None = None) -> Fields:
    found: Fields = {}
    if length is not None:
        found[b"content-length"] = length
    if coding is not None:
        found[b"transfer-encoding"] = coding
    return found


def test_collect_keeps_the_order_and_strips_only_sp_and_htab() -> None:
    assert collect([]) == {}
    assert collect([(b"a", b" 1\t"), (b"b", b"\x0b2"), (b"a", b""), (b"a", b"\t\xa03 ")]) == {
        b"a": [b"1", b"", b"\xa03"],
        b"b": [b"\x0b2"],
    }


class TestRequest:
    @pytest.mark.parametrize("http10", [False, True])
    def test_step_7_nothing_said_means_no_body(self, http10: bool) -> None:
        assert request_framing({}, http10) == NO_BODY

    @pytest.mark.parametrize("http10", [False, True])
    def test_step_6_a_length(self, http10: bool) -> None:
        assert request_framing(fields(length=[b"0"]), http10) == 0
        assert request_framing(fields(length=[b"42"]), http10) == 42

    def test_step_4_chunked(self) -> None:
        assert request_framing(fields(coding=[b"chunked"]), http10=False) == CHUNKED

    @pytest.mark.parametrize("http10", [False, True])
    @pytest.mark.parametrize("coding", [[b"chunked"], [b"gzip"], []])
    @pytest.mark.parametrize("length", [[b"5"], [b"x"], [b"5", b"5"]])
    def test_step_3_both(self, length: list[bytes], coding: list[bytes], http10: bool) -> None:
        assert refusal(lambda: request_framing(fields(length=length, coding=coding), http10)) == (BAD_REQUEST, BOTH)

    def test_no_transfer_codings_in_http_1_0_rfc_9112_6_1(self) -> None:
        detail = "transfer-encoding in an HTTP/1.0 request (RFC 9112 section 6.1)"
        assert refusal(lambda: request_framing(fields(coding=[b"chunked"]), http10=True)) == (BAD_REQUEST, detail)

    @pytest.mark.parametrize(
        "values",
        [
            [b""], [b"chunked", b"chunked"], [b"gzip", b"chunked"], [b"chunked, chunked"], [b"chunked,chunked, gzip"],
            [b"chunked, gzip"], [b"identity"], [b"identity, chunked"], [b"chunked, identity"], [b",chunked"],
            [b"chunked,"],
            [b"chunked;q=1"], [b'"chunked"'], [b"\x0bchunked"], [b"chunked\0"], [b"chun ked"],
            [b"gzip;q=1, chunked"], [],
        ],
    )  # fmt: skip
    def test_misplaced_repeated_or_misspelt(self, values: list[bytes]) -> None:
        assert refusal(lambda: request_framing(fields(coding=values), http10=False)) == (BAD_REQUEST, NOT_CHUNKED)

    @pytest.mark.parametrize(
        "value", [b"gzip, chunked", b"gzip,deflate\t, chunked", b"xchunked", b"chunkedx", b"gzip", b"a,b"]
    )
    def test_well_formed_and_unknown_rfc_9112_6_1(self, value: bytes) -> None:
        found = refusal(lambda: request_framing(fields(coding=[value]), http10=False))
        assert found == (UNSUPPORTED_TRANSFER_CODING, UNSUPPORTED)


class TestResponse:
    @pytest.mark.parametrize("said", [fields(length=[b"5"]), fields(coding=[b"chunked"]), {}])
    def test_step_1_no_body_whatever_the_fields_say(self, said: Fields) -> None:
        assert response_framing(b"HEAD", 200, said, http10=False) == NO_BODY
        assert response_framing(b"GET", 204, said, http10=False) == NO_BODY
        assert response_framing(b"POST", 304, said, http10=False) == NO_BODY

    @pytest.mark.parametrize(
        "said", [fields(length=[b"x"]), fields(length=[b"5", b"6"]), fields(coding=[b"chunked"], length=[b"5"])]
    )
    def test_what_they_say_of_a_body_that_is_not_there_makes_sense(self, said: Fields) -> None:
        """The next parser may not know that there is none: it may have lost sight of the method."""
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
            with pytest.raises(Refused) as caught:
                response_framing(method, status, said, http10=False)
            assert caught.value.failure is BAD_RESPONSE

    def test_methods_are_case_sensitive_rfc_9110_9_1(self) -> None:
        assert response_framing(b"head", 200, fields(length=[b"5"]), http10=False) == 5

    @pytest.mark.parametrize("http10", [False, True])
    def test_step_3_both(self, http10: bool) -> None:
        said = fields(length=[b"5"], coding=[b"chunked"])
        assert refusal(lambda: response_framing(b"GET", 200, said, http10)) == (BAD_RESPONSE, BOTH)

    def test_step_4_chunked(self) -> None:
        assert response_framing(b"GET", 200, fields(coding=[b"chunked"]), http10=False) == CHUNKED

    def test_no_transfer_codings_in_http_1_0_rfc_9112_6_1(self) -> None:
        detail = "transfer-encoding in an HTTP/1.0 response (RFC 9112 section 6.1)"
        said = fields(coding=[b"chunked"])
        assert refusal(lambda: response_framing(b"GET", 200, said, http10=True)) == (BAD_RESPONSE, detail)

    @pytest.mark.parametrize("values", [[b"gzip"], [b"gzip, chunked"], [b"chunked", b"chunked"], [b"identity"], [b""]])
    def test_any_other_coding_is_the_applications_fault(self, values: list[bytes]) -> None:
        said = fields(coding=values)
        assert refusal(lambda: response_framing(b"GET", 200, said, http10=False)) == (BAD_RESPONSE, NOT_CHUNKED)

    @pytest.mark.parametrize("http10", [False, True])
    def test_steps_6_and_8_a_length_or_the_end_of_the_connection(self, http10: bool) -> None:
        assert response_framing(b"GET", 200, fields(length=[b"7"]), http10) == 7
        assert response_framing(b"GET", 500, {}, http10) == UNTIL_CLOSE


class TestContentLength:
    BLAMES = pytest.mark.parametrize("blame", [BAD_REQUEST, BAD_RESPONSE])

    @BLAMES
    def test_step_6_a_number(self, blame: Failure) -> None:
        assert content_length([b"0"], blame) == 0
        assert content_length([b"007"], blame) == 7

    @BLAMES
    @pytest.mark.parametrize("values", [[b"5", b"5"], [b"5", b"6"], [b"", b"5"], []])
    def test_step_5_several(self, values: list[bytes], blame: Failure) -> None:
        assert refusal(lambda: content_length(values, blame)) == (blame, SEVERAL)

    @BLAMES
    @pytest.mark.parametrize(
        "value", [b"", b"+5", b"-0", b"0x5", b"5_0", b"5, 5", b"5 5", b"\xa05", b"\xd9\xa5", b"1" * 19]
    )
    def test_step_5_invalid(self, value: bytes, blame: Failure) -> None:
        assert refusal(lambda: content_length([value], blame)) == (blame, NO_NUMBER)
