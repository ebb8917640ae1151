"""The named productions, each against the set of octets or strings that its RFC gives."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import proxy
from proxy.wire import grammar
from proxy.wire.grammar import (
    BARE_LINE_END,
    CHUNK_SIZE,
    CODINGS,
    CONTENT_LENGTH,
    FIELD_LINE,
    FIELD_VALUE,
    HOST,
    REST_OF_LINE,
    TARGET,
    TOKEN,
)
from proxy.wire.head import HeadParser, Limits

OCTETS = [bytes([value]) for value in range(256)]
ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def accepted_octets(production: bytes) -> bytes:
    return b"".join(octet for octet in OCTETS if re.fullmatch(production, octet))


def test_token_is_tchar_rfc_9110_5_6_2() -> None:
    assert accepted_octets(TOKEN) == bytes(sorted(b"!#$%&'*+-.^_`|~" + ALPHANUMERIC))


def test_field_value_is_all_but_cr_lf_nul_rfc_9110_5_5() -> None:
    assert accepted_octets(FIELD_VALUE) == bytes(value for value in range(256) if value not in b"\r\n\0")
    assert re.fullmatch(FIELD_VALUE, b"")


def test_the_rest_of_a_line_is_a_field_value_but_for_nul() -> None:
    accepted = [octet for octet in OCTETS if re.fullmatch(REST_OF_LINE + rb"\r\n", octet + b"\r\n")]
    assert b"".join(accepted) == bytes(value for value in range(256) if value not in b"\r\n")
    for line in (b"a\nb\r\n", b"a\rb\r\n", b"a\n\rb\r\n", b"\n\r\n", b"\r\r\n", b"a\n", b"a\r", b"a"):
        assert not re.match(REST_OF_LINE + rb"\r\n", line), line


def test_target_is_visible_ascii_without_fragment_rfc_9110_7_1() -> None:
    assert accepted_octets(TARGET) == bytes(value for value in range(0x21, 0x7F) if value != ord("#"))
    assert not re.fullmatch(TARGET, b"")


def test_field_line_has_no_space_before_its_colon_rfc_9112_5() -> None:
    assert re.fullmatch(FIELD_LINE, b"a:\r\n")
    assert re.fullmatch(FIELD_LINE, b"a: b : c\xff\r\n")
    for line in (b"a : b\r\n", b" a: b\r\n", b": b\r\n", b"a b\r\n", b"a: b\n", b"a: b", b"\r\n"):
        assert not re.fullmatch(FIELD_LINE, line), line


@pytest.mark.parametrize(
    "value",
    [
        b"shop", b"shop.example.", b"user_service:8080", b"127.0.0.1:80", b"[::1]", b"[2001:db8::7]:443", b"",
        b"shop:", b"a%41b", b"a!$&'()*+;=~b", b"[v1.fe80::a+en1]",
    ],
)  # fmt: skip
def test_host_rfc_3986_3_2_2(value: bytes) -> None:
    assert re.fullmatch(HOST, value)


@pytest.mark.parametrize(
    "value",
    [
        b"a@b", b"u:p@shop", b"shop/path", b"shop?x", b"shop#x", b"shop\\x", b"a b", b"shop:80:81", b"shop:123456",
        b"shop:8o", b"shop:+8", b"[::1", b"::1", b"[shop]", b"[::1]x", b"[]", b"[::1%25en0]", b"caf\xe9", b"shop\x0b",
        b'"shop"', b"<shop>", b"shop,evil", b"http://shop", b"[v1.]", b"[v.x]",
    ],
)  # fmt: skip
def test_no_host(value: bytes) -> None:
    """Without userinfo and path (RFC 9110 section 4.2.4); without a comma, which joined fields have."""
    assert not re.fullmatch(HOST, value)


@pytest.mark.parametrize("value", [b"0", b"00", b"5", b"123456789012345678"])
def test_content_length_rfc_9110_8_6(value: bytes) -> None:
    assert CONTENT_LENGTH.fullmatch(value)


@pytest.mark.parametrize("value", [b"+5", b"-0", b"5_0", b" 5", b"5 ", b"\x0b5", b"\xd9\xa5", b"5\n"])
def test_numbers_of_python_that_are_no_content_length(value: bytes) -> None:
    int(value.decode())  # accepted there, which is why nothing is converted before it has matched
    assert not CONTENT_LENGTH.fullmatch(value)


@pytest.mark.parametrize("value", [b"", b"0x5", b"5,5", b"5.0", b"5e1", b"1" * 19])
def test_no_content_length(value: bytes) -> None:
    assert not CONTENT_LENGTH.fullmatch(value)


def test_codings_rfc_9112_7() -> None:
    for value in (b"chunked", b"gzip, chunked", b"a,b\t ,\tc"):
        assert CODINGS.fullmatch(value), value
    for value in (b"", b",chunked", b"chunked,", b"a,,b", b"a b", b"a;q=1", b'"chunked"', b" chunked", b"chunked\x0b"):
        assert not CODINGS.fullmatch(value), value


def test_chunk_size_is_hexadecimal_and_fits_64_bits_rfc_9112_7_1() -> None:
    for value in (b"0", b"aF09", b"0" * 15, b"f" * 15):
        match = re.fullmatch(CHUNK_SIZE, value)
        assert match
        assert int(match[1], 16) < 2**63
    for value in (b"", b"0x1", b"+1", b"1_0", b"g", b" 1", b"f" * 16, b"0" * 16):
        assert not re.fullmatch(CHUNK_SIZE, value), value


def test_bare_line_ends_rfc_9112_2_2() -> None:
    for text in (b"\n", b"a\nb", b"\ra", b"\r\r\n", b"\r\n\n", b"\n\r"):
        assert BARE_LINE_END.search(text), text
    for text in (b"", b"a", b"\r\n", b"a\r\nb\r\n\r\n", b"may still become a line end\r"):
        assert not BARE_LINE_END.search(text), text


# -- hostile text costs linear time -------------------------------------------------------------------------------

_PARSER: Any = importlib.import_module("re._parser")
_CONSTANTS: Any = importlib.import_module("re._constants")

MODULES = (
    "proxy.wire.grammar", "proxy.wire.head", "proxy.wire.diagnose", "proxy.wire.chunked", "proxy.wire.edit",
    "proxy.wire.framing", "proxy.routing.key", "proxy.routing.served", "proxy.routing.trace",
)  # fmt: skip


def _patterns() -> Iterator[tuple[str, str | bytes]]:
    """Every pattern that the modules and their objects keep, by name."""
    owners: list[tuple[str, Any, Any]] = []
    for module in MODULES:
        loaded = importlib.import_module(module)
        owners += [(f"{module}.{name}", loaded, name) for name in vars(loaded)]
    trace = importlib.import_module("proxy.routing.trace").TraceReader(["x-amzn-trace-id"])
    for instance in (HeadParser(Limits()), trace):
        owners += [(f"{type(instance).__name__}.{name}", instance, name) for name in vars(type(instance))]
    for label, owner, name in owners:
        value = getattr(owner, name)
        value = getattr(value, "__self__", value)  # a pattern's bound `match` stands for the pattern
        if isinstance(value, re.Pattern):
            yield label, value.pattern


def _backtracking_repeats(node: Any) -> Iterator[Any]:
    """The unbounded repeats of a parsed pattern that may give back what they took."""
    if isinstance(node, _PARSER.SubPattern):
        for operation, argument in node:
            if operation in (_CONSTANTS.MAX_REPEAT, _CONSTANTS.MIN_REPEAT) and argument[1] == _CONSTANTS.MAXREPEAT:
                yield argument
            elif operation is _CONSTANTS.ATOMIC_GROUP and len(argument) == 1:
                kind, repeat = argument[0]  # of a repeat alone nothing is given back, see `proxy.wire.grammar`
                yield from _backtracking_repeats(repeat if kind is _CONSTANTS.MAX_REPEAT else argument)
                continue
            yield from _backtracking_repeats(argument)
    elif isinstance(node, list | tuple):
        for part in node:
            yield from _backtracking_repeats(part)


_SINGLE = (_CONSTANTS.LITERAL, _CONSTANTS.NOT_LITERAL, _CONSTANTS.ANY, _CONSTANTS.IN)


def _possessive_groups(node: Any) -> Iterator[Any]:
    """The possessive repeats of a parsed pattern that repeat more than one character."""
    if isinstance(node, _PARSER.SubPattern):
        for operation, argument in node:
            if operation is _CONSTANTS.POSSESSIVE_REPEAT and [each for each, _ in argument[2]][1:] + [
                each for each, _ in argument[2] if each not in _SINGLE
            ]:
                yield argument
            yield from _possessive_groups(argument)
    elif isinstance(node, list | tuple):
        for part in node:
            yield from _possessive_groups(part)


def test_no_repeat_of_a_group_is_possessive() -> None:
    """CPython before 3.11.5 does not go back when the last round of one has matched in part: it takes what is no match.

    https://github.com/python/cpython/issues/106052
    """
    assert list(_possessive_groups(_PARSER.parse(r"a(?:bc)*+")))
    assert not list(_possessive_groups(_PARSER.parse(r"a*+[bc]++.?+(?>(?:de)*)")))
    found = []
    for module in pkgutil.walk_packages(proxy.__path__, "proxy."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            pattern = getattr(value, "__self__", value)
            text = pattern.pattern if isinstance(pattern, re.Pattern) else None
            if text is not None and list(_possessive_groups(_PARSER.parse(text, pattern.flags & re.IGNORECASE))):
                found.append(f"{module.name}.{name}")
    found += [label for label, text in _patterns() if list(_possessive_groups(_PARSER.parse(text)))]
    assert found == []


def test_the_check_below_finds_what_it_looks_for() -> None:
    assert list(_backtracking_repeats(_PARSER.parse(r"a(?:b|(?=c*+d*))")))
    assert not list(_backtracking_repeats(_PARSER.parse(r"a(?:b|(?=c*+d{1,9}))")))
    labels = {label for label, _ in _patterns()}
    assert {"HeadParser._request", "HeadParser._response", "proxy.wire.grammar.CODINGS"} <= labels


@pytest.mark.parametrize("pattern", [pytest.param(pattern, id=label) for label, pattern in _patterns()])
def test_unbounded_repeats_are_possessive(pattern: str | bytes) -> None:
    """What a repeat has taken it keeps, so no text makes a pattern try again and again."""
    assert not list(_backtracking_repeats(_PARSER.parse(pattern)))


def test_productions_are_possessive_too() -> None:
    productions = [value for value in vars(grammar).values() if isinstance(value, bytes)]
    assert len(productions) >= 5
    for production in productions:
        assert not list(_backtracking_repeats(_PARSER.parse(production))), production
