"""Of which answers messages are kept, by routing key: what differs from the default, those that are no good ones.

A sandbox says `capture: none | errors | all`. What differs from `errors` travels in the watch to every sidecar; a key
that nobody has told of has the default, and a sidecar that knows of none pays one look at `special`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ERRORS: Final = 400
"""From this status on an answer is captured, by default."""

ALL: Final = 0
NONE: Final = 1000
"""More than any status."""

FLOORS: Final = {"none": NONE, "errors": ERRORS, "all": ALL}


class Captures:
    """special: some key has not the default."""

    __slots__ = ("_floors", "special")

    def __init__(self) -> None:
        self.special = False
        self._floors: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Captures {len(self._floors)}>"

    def floor(self, key: str) -> int:
        """From which status on the answers of a key are captured."""
        return self._floors.get(key, ERRORS)

    def change(self, keys: Iterable[str], floor: int) -> None:
        for key in keys:
            if floor == ERRORS:
                self._floors.pop(key, None)
            else:
                self._floors[key] = floor
        self.special = bool(self._floors)

    def replace(self, floors: dict[str, int]) -> None:
        """Take over all that differs from the default; the caller must not touch it again."""
        self._floors = floors
        self.special = bool(floors)
