"""The Huffman code of header strings (RFC 7541 section 5.2, appendix B), decoded byte by byte.

The code is canonical: the lengths of its words say all (they stand below as letters, `@` is 0). What a byte means
behind the beginning of a word is worked out when that is first met, and kept: there are 256 such beginnings.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.wire.h2.faults import COMPRESSION_ERROR, ConnectionFault

_LENGTHS: Final = (
    r"MW\\\\\\\X^\\^\\\\\\\\^\\\\\\\\\FJJLMFHKJJHKHFFFEEEFFFFFFFGHOFLJMFGGGGGGGGGGGGGGGGGGGGGGHGHMSMNFOEFEFEFFFEGGFFFEFGFEEF"
    r"GGGGGOKNM\TVTTVVVWVWWWWWXWXXVWXWWWWUVWVWWXVUTVVWWUWVVXUVWWUUVUWVWWTVVVWVVWZZTSVWVYZZZ[[ZXYSUZ[[Z[XUUZZ\[[["
    r"TXTUVUUWVVYYXXZWZ[ZZ[[[[[\[[[[[Z^"
)
_END: Final = 256
"""EOS, which no string has in it."""

_LONGEST_PADDING: Final = 7


def _words() -> dict[str, int]:
    words: dict[str, int] = {}
    code = before = 0
    for symbol in sorted(range(257), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        length = ord(_LENGTHS[symbol]) - 64
        code, before = code << length - before, length
        words[format(code, f"0{length}b")] = symbol
        code += 1
    return words


WORDS: Final = _words()
"""Bits, as text -> symbol."""


class Place:
    """Behind `bits`, the beginning of a word: for each byte what it completes, and the next place; None at first."""

    __slots__ = ("bits", "steps", "whole")

    def __init__(self, bits: str) -> None:
        self.bits = bits
        self.whole = len(bits) <= _LONGEST_PADDING and "0" not in bits
        self.steps: list[tuple[bytes, Place] | None] = [None] * 256


_places: dict[str, Place] = {}


def _place(bits: str) -> Place:
    place = _places.get(bits)
    if place is None:
        place = _places[bits] = Place(bits)
    return place


_START: Final = _place("")


def _learn(place: Place, byte: int) -> tuple[bytes, Place]:
    bits, out, begin = place.bits + format(byte, "08b"), bytearray(), 0
    for end in range(1, len(bits) + 1):
        symbol = WORDS.get(bits[begin:end])
        if symbol == _END:
            raise ConnectionFault(COMPRESSION_ERROR, "the end of strings within one (RFC 7541 section 5.2)")
        if symbol is not None:
            out.append(symbol)
            begin = end
    step = bytes(out), _place(bits[begin:])
    place.steps[byte] = step
    return step


def decode(data: bytes) -> bytes:
    """What was encoded. Raises ConnectionFault."""
    place, out = _START, []
    for byte in data:
        step = place.steps[byte]
        if step is None:
            step = _learn(place, byte)
        out.append(step[0])
        place = step[1]
    if not place.whole:
        raise ConnectionFault(COMPRESSION_ERROR, "padding of a string (RFC 7541 section 5.2)")
    return b"".join(out)


def _class(mask: int, wanted: int) -> bytes:
    """A class of the bytes that have these bits."""
    return b"[" + b"".join([b"\\x%02x" % byte for byte in range(256) if byte & mask == wanted]) + b"]"


def _ones() -> re.Pattern[bytes]:
    """Ten ones in a row: the words of all bytes that a value must not have (NUL, CR, LF) begin with them, those of
    hardly any other do, and so nothing has to be decoded to know that a value is a good one."""
    pairs = []
    for ones in range(3, 8):
        last, first = (1 << ones) - 1, 0xFF & ~((1 << ones - 2) - 1)
        pairs.append(b"(?<=%b)%b" % (_class(last, last), _class(first, first)))
    return re.compile(b"%b(?:(?<=\xff)|%b)" % (_class(7, 7), b"|".join(pairs)), re.DOTALL)


suspect: Final = _ones().search
"""(encoded string, offset behind its length): whether it may hold a byte that no value has; rarely true without."""
