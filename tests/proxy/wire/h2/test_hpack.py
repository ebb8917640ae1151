"""Header blocks, with `hpack` as an independent encoder and decoder."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.h2.faults import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from proxy.wire.h2.frames import MAX_BLOCK
from proxy.wire.h2.hpack import (
    STATIC,
    Table,
    integer,
    literal,
    literals,
    string,
    text_of,
    walk,
    write_integer,
)
from proxy.wire.h2.huffman import WORDS, decode, suspect
from proxy.wire.h2.template import fields_of

FIELDS = [
    (b":method", b"POST"),
    (b":path", b"/shop.Users/Get"),
    (b":scheme", b"http"),
    (b":authority", b"users:8080"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"x-own", b"v" * 200),
    (b"cookie", b"a=b"),
    (b"cookie", b"c=d"),
]


def encoded(text: bytes) -> bytes:
    """By Huffman's code, as the encoder of `hpack` writes it."""
    bits = "".join({symbol: word for word, symbol in WORDS.items()}[byte] for byte in text)
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits), 8))
    return write_integer(len(data), 7, 0x80) + data


# -- numbers and strings ----------------------------------------------------------------------------------------------


def test_the_examples_of_the_rfc() -> None:
    """RFC 7541 appendix C.1."""
    assert integer(b"\x0a", 0, 5) == (10, 1)
    assert integer(b"\x1f\x9a\x0a", 0, 5) == (1337, 3)
    assert integer(b"\x2a", 0, 8) == (42, 1)


@given(st.integers(0, 1 << 27), st.integers(4, 8))
def test_a_number_is_read_as_it_was_written(value: int, bits: int) -> None:
    data = write_integer(value, bits, 0)
    assert integer(data, 0, bits) == (value, len(data))


def test_a_number_that_is_too_large() -> None:
    with pytest.raises(ConnectionFault, match="too large"):
        integer(b"\xff\xff\xff\xff\xff\xff", 0, 7)


@given(st.binary(max_size=300))
def test_strings(text: bytes) -> None:
    assert text_of(string(text)) == text
    assert text_of(encoded(text)) == text


def test_the_end_of_strings_within_one() -> None:
    with pytest.raises(ConnectionFault, match="end of strings"):
        decode(b"\xff\xff\xff\xff")


@pytest.mark.parametrize("data", [b"\x00\x00", b"\xff\xff", b"\x1f\xff"], ids=["zeros", "too long", "a byte of it"])
def test_padding_that_is_none(data: bytes) -> None:
    """RFC 7541 section 5.2: less than eight bits, all of them ones."""
    with pytest.raises(ConnectionFault, match="padding"):
        decode(data)


@given(st.binary(max_size=40), st.sampled_from(b"\0\r\n"), st.binary(max_size=40))
def test_no_forbidden_byte_hides_in_the_code(before: bytes, byte: int, behind: bytes) -> None:
    found = encoded(before + bytes([byte]) + behind)
    assert suspect(found, 1)


def test_usual_values_are_not_suspected() -> None:
    for value in (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"routing-key=agent-42", b"/a/b"):
        assert not suspect(encoded(value), 1)


# -- blocks -----------------------------------------------------------------------------------------------------------


def test_the_static_table_is_that_of_the_rfc() -> None:
    for number, field in enumerate(STATIC[1:], 1):
        assert [(name, value) for name, value in hpack.Decoder().decode(bytes([0x80 | number]), raw=True)] == [
            (field[0][1:], field[1][1:])
        ]


@pytest.mark.parametrize("huffman", [False, True])
def test_a_table_is_followed(huffman: bool) -> None:
    encoder, table, decoder = hpack.Encoder(), Table(), hpack.Decoder()
    decoder.header_table_size = 0
    for turn in range(4):
        fields = [*FIELDS, (b"x-turn", b"%d" % turn), hpack.NeverIndexedHeaderTuple(b"authorization", b"secret")]
        block = encoder.encode(fields, huffman=huffman)
        plain = table.plain(block)
        assert [(name, value) for name, value in decoder.decode(plain, raw=True)] == [tuple(field) for field in fields]
        assert fields_of(plain) == [tuple(field) for field in fields]
    assert "entries=" in repr(table)


def test_what_is_never_to_be_indexed_stays_so() -> None:
    """RFC 7541 section 6.2.3, by way of an entry of the table."""
    table = Table()
    table.plain(b"\x40" + string(b"secret") + string(b"1"))
    assert table.plain(b"\x1f\x2f" + string(b"2")) == b"\x10" + string(b"secret") + string(b"2")
    assert table.plain(b"\x0f\x2f" + string(b"2")) == b"\0" + string(b"secret") + string(b"2")


def test_a_table_that_is_made_smaller_forgets() -> None:
    table = Table()
    table.plain(b"\x40" + string(b"a") + string(b"1") + b"\x40" + string(b"b") + string(b"2"))
    assert table.plain(b"\xbe\xbf") == b"\0" + string(b"b") + string(b"2") + b"\0" + string(b"a") + string(b"1")
    assert table.plain(b"\x3f\x04\xbe") == b"\0" + string(b"b") + string(b"2")  # 35 bytes: one of them
    with pytest.raises(ConnectionFault, match="index"):
        table.plain(b"\xbf")
    assert table.plain(b"\x20") == b""


@pytest.mark.parametrize(
    ("block", "allowed"),
    [(b"\x82\x20", 4096), (b"\x3f\xe2\x1f\x82", 4096), (b"\x21\x82", 0)],
    ids=["behind a field", "above the default", "above what was acknowledged"],
)
def test_size_updates_out_of_place(block: bytes, allowed: int) -> None:
    table = Table()
    table.allowed = allowed
    with pytest.raises(ConnectionFault, match="size update"):
        table.plain(block)


def test_a_small_block_that_grows_is_refused() -> None:
    """An index of one byte for 4,000 of them."""
    table = Table()
    table.plain(b"\x40" + string(b"bomb") + string(b"x" * 4000))
    table.plain(b"\xbe" * (MAX_BLOCK // 4100))
    with pytest.raises(ConnectionFault) as caught:
        table.plain(b"\xbe" * 17)
    assert caught.value.code == ENHANCE_YOUR_CALM


BAD = {
    "index 0": b"\x80",
    "no such entry": b"\xbe",
    "ends within a name": b"\0\x05abc",
    "ends within a value": b"\0\x01a\x05bc",
    "ends behind a name": b"\0\x01a",
    "ends within a number": b"\xff",
    "of a name without a value": b"\x41",
}


@pytest.mark.parametrize("block", BAD.values(), ids=BAD)
def test_blocks_that_end_too_early(block: bytes) -> None:
    for read in (walk, Table().plain):
        with pytest.raises(ConnectionFault) as caught:
            read(block)
        assert caught.value.code == COMPRESSION_ERROR


def test_a_size_update_in_a_plain_block() -> None:
    with pytest.raises(ConnectionFault, match="size update"):
        walk(b"\x82\x20")


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.binary(max_size=200)), max_size=5))
def test_literals_are_read_by_others(fields: list[tuple[bytes, bytes]]) -> None:
    decoder = hpack.Decoder()
    decoder.header_table_size = 0
    assert [(name, value) for name, value in decoder.decode(literals(fields), raw=True)] == fields


def test_a_long_literal() -> None:
    assert literal(b"a", b"b" * 127) == b"\0\x01a\x7f\0" + b"b" * 127
