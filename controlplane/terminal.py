"""What a terminal is sent: colour of ours, and foreign text that cannot drive it.

A service's output, an answer's body and a sandbox's name come from strangers: see `proxy.base.text`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import TextIO

from proxy.base.text import UNSEEN, one_line, printable

_UNSEEN = re.compile(f"[{UNSEEN}]")

_SEQUENCE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*+[ -/]*+[@-~]"  # CSI, ECMA-48 section 5.4: colours, cursor, screen
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*+(?:\x07|\x1b\\\\|\x9c)"  # OSC, DCS: titles, clipboard
    "|\x1b[ -/]*+[0-~]"  # the rest: character sets, save and restore
)

_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36",
}  # fmt: skip
"""Select Graphic Rendition, ECMA-48 section 8.3.117."""


def plain(text: str) -> str:
    """The same without whole control sequences: a coloured log is to be read, not to be deciphered."""
    return printable(_SEQUENCE.sub("", text))


def dumps(document: object, indent: int | None = None) -> str:
    """JSON whose texts cannot drive a terminal either; what is seen stays as it is."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    # Outside of texts there is none of them, and inside `\\u` says the same.
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f", text)


def has_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """On a terminal that can, unless NO_COLOR (no-color.org) says otherwise."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, style: str) -> str:
    """`style` is words of `_CODES`, "" for none. Raises KeyError for another."""
    codes = ";".join(_CODES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text


class Text:
    """A line of pieces, each with a style of its own.

    A library for this takes longer to import than a command of ours may run.
    """

    def __init__(self, text: str = "", style: str = "") -> None:
        self._pieces: list[tuple[str, str]] = [(text, style)]

    def __str__(self) -> str:
        return "".join(text for text, _ in self._pieces)

    def __len__(self) -> int:
        return sum(len(text) for text, _ in self._pieces)

    def __repr__(self) -> str:
        return f"<Text {str(self)!r}>"

    def append(self, text: str | Text, style: str = "") -> Text:
        """Itself, with more behind it. A `Text` brings its own style."""
        self._pieces += text._pieces if isinstance(text, Text) else [(text, style)]  # noqa: SLF001 (its own class)
        return self

    def painted(self) -> str:
        return "".join(paint(text, style) for text, style in self._pieces)


class Waiting:
    """One line on a terminal that says what is waited for, until it is stopped. Elsewhere nothing is shown."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._shown = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._on = False

    def start(self, text: str) -> None:
        self._on = self._shown
        self.update(text)

    def update(self, text: str) -> None:
        if self._on:
            self._stream.write(f"\r\x1b[K{paint('... ', 'dim')}{one_line(text)}")
            self._stream.flush()

    def stop(self) -> None:
        if self._on:
            self._on = False
            self._stream.write("\r\x1b[K")
            self._stream.flush()
