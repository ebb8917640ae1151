"""Strangers' text, shown to people.

A terminal obeys some characters and an editor hides some, instead of showing them: escape sequences, line ends, U+202E
and its like, which show a line in another order than it has. They are written out, as `\\x1b` or `\\u202e`.
"""

from __future__ import annotations

import re

UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and line feed
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # direction (UAX 9) and line separators
    "\xad\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # no width: two names look like one
    "\ud800-\udfff"  # half a character, which no stream can encode
)
"""The inside of a character class: what is never shown as it is."""

_UNSEEN = re.compile(f"[{UNSEEN}]")
_NOT_IN_A_LINE = re.compile(f"[\t\n{UNSEEN}]")


def printable(text: str) -> str:
    """The text with what a terminal would obey, or not show, written out; line feeds and tabs are kept."""
    return _UNSEEN.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same for a text that is one line of ours: line feeds and tabs are written out as well."""
    return _NOT_IN_A_LINE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def counted(count: int, what: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
