"""Heads out of blocks that match a template: what stands in the holes is read as it would be from any other block."""

from __future__ import annotations

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from proxy.exchange.h2.head import StreamHead
from proxy.exchange.h2.kinds import MAX_KNOWN, Kinds
from proxy.wire.h2.faults import StreamFault
from proxy.wire.h2.hpack import literals
from proxy.wire.head import Limits

PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ZEROS = b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"


def block(path: bytes = b"/", method: bytes = b"GET", **values: bytes) -> bytes:
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"users")]
    return literals([*fields, *[(name.replace("_", "-").encode(), value) for name, value in values.items()]])


def string(value: bytes, *, coded: bool) -> bytes:
    """A short string, as it stands or in the code of RFC 7541 appendix B."""
    code = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(value) if coded else value
    return b"%c%b" % ((128 if coded else 0) | len(code), code)


def huffman(found: bytes, value: bytes) -> bytes:
    """A block with a value written in that code."""
    return found.replace(string(value, coded=False), string(value, coded=True))


def read(kinds: Kinds, found: bytes) -> StreamHead:
    return kinds.request(found, asleep=False)[1]


@pytest.fixture
def kinds() -> Kinds:
    """One that has seen a block already."""
    made = Kinds(frozenset({b"baggage"}), Limits(header_lines=100))
    read(made, block(baggage=b"routing-key=a", traceparent=PARENT, x_request_id=b"first"))
    return made


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize(
    ("value", "parent"),
    [(PARENT, PARENT), (PARENT.upper(), PARENT), (ZEROS, None), (b"ff" + PARENT[2:], None), (PARENT + b"-x", None)],
)
def test_traceparent(kinds: Kinds, value: bytes, parent: bytes | None, *, coded: bool) -> None:
    found = block(baggage=b"routing-key=a", traceparent=value, x_request_id=b"one")
    head = read(kinds, huffman(found, value) if coded else found)
    assert head.traceparent == parent
    assert head.traced == (parent is None)
    assert head.data.endswith(value)  # as it came
    assert head.request_id == b"one"


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize(
    ("value", "ident"), [(b"abc-1", b"abc-1"), (b"ABC-1", b"abc-1"), (b"two words", None), (b"\xe9", None)]
)
def test_request_id(kinds: Kinds, value: bytes, ident: bytes | None, *, coded: bool) -> None:
    found = block(baggage=b"routing-key=a", traceparent=PARENT, x_request_id=value)
    head = read(kinds, huffman(found, value) if coded else found)
    assert head.request_id == ident
    assert head.traced == (ident is None)
    assert head.traceparent == PARENT


@pytest.mark.parametrize("name", ["traceparent", "x_request_id", "baggage", "grpc_timeout"])
@pytest.mark.parametrize("bad", [b"\0", b"\r", b"\n"])
def test_what_no_value_has(kinds: Kinds, name: str, bad: bytes) -> None:
    values = {"baggage": b"routing-key=a", "traceparent": PARENT, "x_request_id": b"one", "grpc_timeout": b"1S"}
    read(kinds, block(**values))
    with pytest.raises(StreamFault):
        read(kinds, block(**{**values, name: b"a" + bad + b"c"}))
    with pytest.raises(StreamFault):  # what was refused is not remembered
        read(kinds, block(**{**values, name: b"a" + bad + b"c"}))


@pytest.mark.parametrize("name", ["traceparent", "x_request_id", "baggage", "grpc_timeout"])
@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("behind", range(1, 9))
def test_white_space_around_a_value(name: str, behind: int, *, asleep: bool, coded: bool) -> None:
    """However many bits of padding there are: the letters have codes of five and of six."""
    kinds = Kinds(frozenset({b"baggage"}), Limits(header_lines=100))
    word = b"abcdefgh"[:behind]
    known = {"traceparent": PARENT, "x_request_id": b"first", "baggage": b"routing-key=a"}
    if asleep:
        del known["baggage"]
    found = block(**{**known, name: b"MARK"})

    def ask(value: bytes) -> None:
        kinds.request(found.replace(b"\x04MARK", string(value, coded=coded)), asleep=asleep)

    for value in (word, b"%b %b" % (word, word), word + b"&", b"!" + word, b""):
        ask(value)
    for value in (b" " + word, word + b" ", b"\t" + word, word + b"\t", b" ", b"\t"):
        with pytest.raises(StreamFault, match="white space"):
            ask(value)


@pytest.mark.parametrize("coded", [False, True])
def test_values_of_answers(kinds: Kinds, *, coded: bool) -> None:
    """White space around them is left to the client."""
    found = literals([(b":status", b"200"), (b"date", b"MARK")])
    first, _ = kinds.answer(found)
    for value in (b"word", b" word ", b"", b"\xe4"):
        assert kinds.answer(found.replace(b"\x04MARK", string(value, coded=coded)))[0] is first
    for value in (b"a\0", b"a\r", b"\n"):
        with pytest.raises(StreamFault, match="NUL, CR or LF"):
            kinds.answer(found.replace(b"\x04MARK", string(value, coded=coded)))


@pytest.mark.parametrize("size", [10, 13])
def test_a_length_is_no_part_of_its_value(kinds: Kinds, size: int) -> None:
    values = {"baggage": b"routing-key=a", "traceparent": PARENT, "grpc_timeout": b"1S"}
    read(kinds, block(**values))
    assert read(kinds, block(**{**values, "grpc_timeout": b"1" * size})).baggage == b"routing-key=a"


def test_paths_are_remembered_up_to_a_limit(kinds: Kinds) -> None:
    for number in range(2 * MAX_KNOWN):
        for _ in range(2):
            assert read(kinds, block(b"/%d" % number)).data.startswith(b"GET /%d HTTP/2" % number)


def test_keys_are_remembered_up_to_a_limit(kinds: Kinds) -> None:
    for number in range(2 * MAX_KNOWN):
        value = b"routing-key=%d" % number
        assert read(kinds, block(baggage=value, traceparent=PARENT, x_request_id=b"one")).baggage == value


def test_not_every_method_may_ask_for_a_star(kinds: Kinds) -> None:
    for method in (b"GET", b"OPTIONS"):
        read(kinds, block(b"/", method))
    assert read(kinds, block(b"*", b"OPTIONS")).method == b"OPTIONS"
    with pytest.raises(StreamFault):
        read(kinds, block(b"*"))
