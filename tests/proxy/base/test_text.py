"""Nothing that a stranger writes drives a terminal or hides from a reader."""

from __future__ import annotations

import json
import logging
import unicodedata

import pytest

from proxy.base import log
from proxy.base.strict import DocumentError, parse_json
from proxy.base.text import one_line, printable


@pytest.mark.parametrize("category", ["Cc", "Cs", "Zl", "Zp"])
def test_every_character_of_a_dangerous_category_is_escaped(category: str) -> None:
    found = "".join(chr(number) for number in range(0x110000) if unicodedata.category(chr(number)) == category)
    assert found
    assert one_line(found).isascii()
    assert one_line(found).isprintable()
    assert printable(found.replace("\n", "").replace("\t", "")).isprintable()


def test_nothing_is_shown_in_another_order() -> None:
    """UAX 9: embeddings, overrides, isolates, marks, and what ends them."""
    bidirectional = {"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    found = "".join(
        chr(number) for number in range(0x110000) if unicodedata.bidirectional(chr(number)) in bidirectional
    )
    assert len(found) == len(bidirectional)
    for show in (one_line, printable):
        assert show(found + "\u200e\u200f\u061c").isascii()


@pytest.mark.parametrize("text", ["plain", "a\u200db", "caf\u00e9", "\u65e5\u672c", "\U0001f600", "a b"])
def test_what_is_text_stays(text: str) -> None:
    assert one_line(text) == printable(text) == text


def test_many_lines() -> None:
    assert printable("a\r\n\tb\x1b[0m\u202e\r") == "a\n\tb\\x1b[0m\\u202e\\r"
    assert one_line("a\r\n\tb") == r"a\r\n\tb"


@pytest.mark.parametrize("form", sorted(log.FORMATS))
def test_the_log_shows_nothing_backwards(form: str) -> None:
    record = logging.LogRecord("skycap", 20, "", 1, "/a\u202egnp.exe\u2066\u200b\ufeff", (), None)
    line = log.FORMATS[form]().format(record)
    assert line.isascii()
    assert r"\u202e" in line


def test_json_is_strict() -> None:
    assert parse_json(' {"a": [1, "\\ud83d\\ude00"]}\n') == json.loads(' {"a": [1, "\\ud83d\\ude00"]}')
    with pytest.raises(DocumentError, match="half of a surrogate pair"):
        parse_json('"\\udc00"')
