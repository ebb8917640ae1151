"""A document made small: what is longest is cut first, and says so where it was cut.

A model reads all that it is given, so an answer that is too long costs more than what it leaves out.
"""

from __future__ import annotations

import json
from typing import Any

CAPS = ((4000, 100), (2000, 50), (1000, 30), (600, 20), (300, 12), (160, 8), (100, 5), (60, 3), (40, 1))
"""(characters of a text, items of a list), tried in this order."""

NEWEST_LAST = frozenset({"lines", "log"})
"""Fields whose end says more than their beginning."""


def size(document: Any) -> int:
    """Bytes, as JSON."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())


def fit(document: dict[str, Any], room: int) -> tuple[dict[str, Any], bool]:
    """The document in at most `room` bytes, as far as cutting texts and lists gets there, and whether it was cut."""
    if size(document) <= room:
        return document, False
    small = document
    for characters, items in CAPS:
        small = {name: _capped(value, characters, items, name) for name, value in document.items()}
        if size(small) <= room:
            break
    return small, True


def clip(text: str, room: int, *, newest_last: bool = False) -> str:
    """A text in at most `room` bytes."""
    data = text.encode()
    if len(data) <= room:
        return text
    mark = f"\n... {len(data) - room} bytes more ...\n"
    keep = max(room - len(mark.encode()), 0)
    head = 0 if newest_last else keep
    tail = keep - head
    return data[:head].decode(errors="ignore") + mark + (data[-tail:].decode(errors="ignore") if tail else "")


def _capped(value: Any, characters: int, items: int, name: str) -> Any:
    if isinstance(value, str):
        return _text(value, characters, name)
    if isinstance(value, list):
        kept = value[-items:] if name in NEWEST_LAST else value[:items]
        return [_capped(item, characters, items, name) for item in kept]
    if isinstance(value, dict):
        return {key: _capped(item, characters, items, key) for key, item in value.items()}
    return value


def _text(text: str, characters: int, name: str) -> str:
    if len(text) <= characters:
        return text
    left = len(text) - characters
    if name in NEWEST_LAST:
        return f"... ({left} characters before)\n{text[-characters:]}"
    return f"{text[:characters]}... ({left} characters more)"
