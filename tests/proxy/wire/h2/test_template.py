"""Templates: a block is known again by what stands between its holes."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.h2.hpack import literals, string, text_of
from proxy.wire.h2.template import MAX_FIELDS, MAX_SHAPES, MAX_TEMPLATE, Shapes, Template, fields_of, shape_of, without


def block(path: bytes = b"/a", trace: bytes = b"1", *, more: bytes = b"x") -> bytes:
    return b"\x82\x86\x04" + string(path) + literals(((b"traceparent", trace), (b"x-own", more)))


def test_what_is_in_the_holes() -> None:
    template = Template(block())
    assert template.names == [b":path", b"traceparent"]
    assert template.match(block()) == [string(b"/a"), string(b"1")]
    assert template.match(block(b"/other", b"2")) == [string(b"/other"), string(b"2")]
    assert repr(template) == "<Template 5 fields, holes: :path, traceparent>"


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\x83" + block()[1:],
        block()[:-1],
        block() + b"\x82",
        block()[:3],
        block()[:4],
        block(more=b"y"),
        block(b"v" * 127),
    ],
    ids=["none", "another method", "cut", "more", "in front of a hole", "within a hole", "another value", "a long one"],
)
def test_what_is_not_of_its_kind(other: bytes) -> None:
    assert Template(block()).match(other) is None


def test_what_differs_becomes_a_hole() -> None:
    shapes = Shapes()
    shapes.template(block(more=b"a"))
    template = shapes.template(block(more=b"b"))
    assert template.names == [b":path", b"traceparent", b"x-own"]
    assert template.match(block(more=b"c")) is not None
    assert len(shapes) == 1


def test_what_decides_how_a_message_is_read_never_does() -> None:
    shapes = Shapes()
    for value in (b"trailers", b"gzip", b"other"):
        template = shapes.template(literals(((b"te", value), (b"content-type", value))))
    assert template.names == []


def test_a_value_that_is_long_or_a_whole_index_is_no_hole() -> None:
    assert Template(b"\x84" + literals(((b"traceparent", b"v" * 127),))).names == []


def test_shapes_are_bounded() -> None:
    shapes = Shapes()
    for number in range(MAX_SHAPES + 1):
        shapes.template(literals(((b"x-%d" % number, b""),)))
    assert len(shapes) == 1
    shapes.template(literals(((b"x-large", b"v" * MAX_TEMPLATE),)))
    shapes.template(b"\x8f" * (MAX_FIELDS + 1))
    assert len(shapes) == 1


def test_a_shape_is_names_and_indexes() -> None:
    assert shape_of(block(b"/a", b"1")) == shape_of(block(b"/bcd", b"2"))
    assert shape_of(b"\x82") != shape_of(b"\x83")


def test_without() -> None:
    fields = [(b"a", b"1"), (b"skycap-hop", b"2"), (b"b", b"3"), (b"skycap-x", b"4")]
    assert fields_of(without(literals(fields), frozenset({b"skycap-", b"b"}))) == [(b"a", b"1")]
    same = literals(fields)
    assert without(same, frozenset({b"c"})) is same
    assert fields_of(without(same, frozenset({b"a"}))) == fields[1:]


_VALUES = st.binary(max_size=130)


@given(st.tuples(_VALUES, _VALUES, _VALUES), st.tuples(_VALUES, _VALUES, _VALUES), st.booleans())
def test_a_match_says_what_a_decoder_says(one: tuple[bytes, ...], other: tuple[bytes, ...], huffman: bool) -> None:
    """Whatever a template matches has its fields, with the values that stand in the holes."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0

    def made(values: tuple[bytes, ...]) -> bytes:
        fields = zip((b":path", b"x-own", b"baggage"), values, strict=True)
        return bytes(encoder.encode([(b":method", b"GET"), *fields], huffman=huffman)).lstrip(b"\x20")

    template = Template(made(one))
    found = template.match(made(other))
    if found is not None:
        holes = dict(zip(template.names, map(text_of, found), strict=True))
        assert [(name, holes.get(name, value)) for name, value in template.fields] == fields_of(made(other))
