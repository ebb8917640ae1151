from __future__ import annotations

import io
import json
import re
import unicodedata

import pytest

from controlplane.terminal import Text, Waiting, dumps, has_colour, paint, plain
from proxy.base.text import one_line, printable


@pytest.mark.parametrize(
    ("terminal", "environ", "colour"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_when_there_is_colour(terminal: bool, environ: dict[str, str], colour: bool) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    assert has_colour(Stream(), environ) is colour


def test_nothing_that_changes_direction_or_cannot_be_seen_is_shown_as_it_is() -> None:
    for code in range(0x110000):
        letter = chr(code)
        kept = printable(letter) == letter
        direction = unicodedata.bidirectional(letter) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        control = unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} and letter not in "\n\t"
        assert not (kept and (direction or control)), hex(code)


def test_what_is_seen_stays_as_it_is() -> None:
    text = "caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{HEBREW LETTER ALEF} \N{GRINNING FACE}\tand\nmore"
    assert printable(text) == plain(text) == text
    assert one_line("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"


def test_each_is_written_as_python_writes_it() -> None:
    assert printable("\x1b\x9b\u202e\U000e0041\r\n") == "\\x1b\\x9b\\u202e\\U000e0041\n"


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[31m", "\x1b[1;31;4m", "\x1b[?25l", "\x1b[2J", "\x9b31m", "\x1b]0;title\x07", "\x1b]8;;http://a\x1b\\",
        "\x1bPq#0\x1b\\", "\x1b(B", "\x1b7", "\x1bc", "\x9d0;title\x9c",
    ],
)  # fmt: skip
def test_a_whole_sequence_is_left_out(sequence: str) -> None:
    assert plain(f"a{sequence}b") == "ab"


def test_a_sequence_that_does_not_end_is_written_out() -> None:
    assert "\x1b" not in plain("\x1b[31" + "\x1b]0;never ends")


def test_many_beginnings_of_a_sequence_take_no_time() -> None:
    assert len(plain("\x1b]" * 100_000)) < 500_000  # a pattern that goes back would take minutes


def test_json_of_anything_is_read_back() -> None:
    document = {"\x9b": ["\u202e\x7f", "\U000e0041\ud800", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"]}
    assert json.loads(dumps(document)) == document
    assert not re.search("[\x7f-\x9f\u202e\ud800]", dumps(document))
    assert "caf\N{LATIN SMALL LETTER E WITH ACUTE}" in dumps(document, indent=2)


def test_pieces_have_styles_of_their_own() -> None:
    line = Text("a", "bold red").append("b").append(Text("c", "dim"))
    assert (str(line), len(line), line.painted()) == ("abc", 3, "\x1b[1;31ma\x1b[0mb\x1b[2mc\x1b[0m")
    assert paint("", "red") == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_waited_for_is_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    waiting = Waiting(stream)
    waiting.start("one")
    waiting.update("two\n\x1b[2J")
    waiting.stop()
    waiting.stop()
    waiting.update("never")
    dots = "\x1b[2m... \x1b[0m"
    assert stream.getvalue() == f"\r\x1b[K{dots}one\r\x1b[K{dots}two\\n\\x1b[2J\r\x1b[K"


def test_elsewhere_nothing_is_shown() -> None:
    stream = io.StringIO()
    waiting = Waiting(stream)
    waiting.start("one")
    waiting.stop()
    assert stream.getvalue() == ""
