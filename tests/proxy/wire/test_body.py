"""Bodies of a known length, bodies that end with the connection, and which reader follows which."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BAD_REQUEST, BAD_RESPONSE
from proxy.wire.body import CloseReader, LengthReader, body_reader
from proxy.wire.chunked import ChunkedReader
from proxy.wire.framing import CHUNKED, NO_BODY, UNTIL_CLOSE
from tests.proxy.wire.reading import bytewise, feed_in_pieces, refusal


class TestLength:
    """RFC 9112 section 6.2"""

    def test_whole_with_the_next_message_behind_it(self) -> None:
        reader = LengthReader(5)
        assert reader.feed(b"helloGET / HTTP/1.1") == 5
        assert reader.done
        assert reader.feed(b"more") == 0
        assert reader.feed(b"more", 3) == 3

    def test_behind_its_head(self) -> None:
        reader = LengthReader(5)
        assert reader.feed(b"HEADhel", 4) == 7
        assert (reader.left, reader.done, repr(reader)) == (2, False, "<LengthReader left=2>")
        assert reader.feed(b"lonext") == 2
        assert (reader.left, reader.done) == (0, True)

    def test_exactly(self) -> None:
        reader = LengthReader(5)
        assert reader.feed(b"hello") == 5
        assert reader.done

    def test_nothing(self) -> None:
        reader = LengthReader(0)
        assert reader.done
        assert reader.feed(b"next") == 0
        reader = LengthReader(3)
        assert reader.feed(b"") == 0
        assert not reader.done

    @given(length=st.integers(0, 50), extra=st.binary(max_size=5), places=st.lists(st.integers(0, 55), max_size=6))
    @settings(deadline=None, max_examples=60)
    def test_in_any_pieces(self, length: int, extra: bytes, places: list[int]) -> None:
        data = b"x" * length + extra
        cuts = [0, *sorted(places), len(data)]
        for pieces in ([data[a:b] for a, b in pairwise(cuts)], bytewise(data)):
            reader = LengthReader(length)
            assert feed_in_pieces(reader, pieces) == length
            assert reader.done


def test_until_close_rfc_9112_6_3_step_8() -> None:
    reader = CloseReader()
    for data in (b"", b"anything", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
        assert reader.feed(data) == len(data)
        assert reader.feed(data, len(data)) == len(data)
        assert not reader.done


class TestReaderFor:
    @pytest.mark.parametrize("length", [NO_BODY, 1, 10**17])
    def test_length(self, length: int) -> None:
        reader = body_reader(length, BAD_REQUEST)
        assert isinstance(reader, LengthReader)
        assert (reader.left, reader.done) == (length, length == 0)

    def test_until_close(self) -> None:
        assert isinstance(body_reader(UNTIL_CLOSE, BAD_RESPONSE), CloseReader)

    def test_chunked(self) -> None:
        strict, padded = body_reader(CHUNKED, BAD_REQUEST), body_reader(CHUNKED, BAD_RESPONSE, padded=True)
        assert isinstance(strict, ChunkedReader)
        assert isinstance(padded, ChunkedReader)
        assert padded.feed(b"2 \r\nok\r\n0\r\n\r\n") == 13
        assert padded.done
        assert refusal(lambda: strict.feed(b"2 \r\nok\r\n"))[0] is BAD_REQUEST
        assert refusal(lambda: body_reader(CHUNKED, BAD_RESPONSE, padded=True).feed(b"x\r\n"))[0] is BAD_RESPONSE
