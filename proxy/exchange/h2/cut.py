"""The streams of a client that we have ended, of which frames may be under way."""

from __future__ import annotations

from typing import Final

MOST: Final = 1_024
"""As many as a client may have open: all of them may end at once, with their upstream."""


class Cut:
    """The last MOST of them, by number."""

    __slots__ = ("_sids",)

    def __init__(self) -> None:
        self._sids: dict[int, bool] = {}

    def __repr__(self) -> str:
        return f"<Cut {len(self._sids)} streams>"

    def add(self, sid: int) -> None:
        self._sids[sid] = True
        if len(self._sids) > MOST:
            del self._sids[next(iter(self._sids))]

    def __contains__(self, sid: int) -> bool:
        return sid in self._sids
