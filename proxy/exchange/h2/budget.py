"""What a peer may have, and what it may do for nothing in ten seconds."""

from __future__ import annotations

from typing import Final

PERIOD_TICKS: Final = 100

MAX_STREAMS: Final = 1_024
"""Open streams of one client: ten times what servers usually take, at 3 KB each."""

MAX_KEPT: Final = 1 << 20
"""Bytes of all requests of one client that are kept, in case they have to be sent again: beyond it nothing more is, as
of one with more than `replay_bytes`."""

MAX_TRIES: Final = 3
"""Times that a stream is sent again that nobody has looked at. An application that is replaced leaves more than one
connection at a time; one that has too much to do is not to be asked for ever."""

FRAME_WEIGHT: Final = 64
"""What a frame that is kept weighs besides its bytes, of which it may have one."""

RESETS: Final = 100
"""Streams that a client may take back in a period beyond those that were served: more are an attack, whether it says so
(CVE-2023-44487) or breaks a rule so that we do (CVE-2025-8671)."""

RAPID_SECONDS: Final = 1.0
"""A stream that was open for so long is not counted there: calls whose deadline passes end all at once, and no more of
them can be begun in that time than may be open."""


class Budget:
    """Counts, and begins anew with the first one that comes PERIOD_TICKS behind the last beginning.

    spent:  in this period.
    earned: what was done for something meanwhile; that of the period before counts as well, for who is busy may have
            a first reason in any moment.
    """

    __slots__ = ("_before", "_since", "earned", "spent")

    def __init__(self) -> None:
        self.spent = 0
        self.earned = 0
        self._before = 0
        self._since = 0

    def __repr__(self) -> str:
        return f"<Budget spent={self.spent} earned={self.earned}>"

    def spend(self, now: int, count: int = 1) -> int:
        """So many more, at that tick. Returns how many there were beyond what was earned."""
        if now - self._since >= PERIOD_TICKS:
            self._since = now
            self._before = self.earned
            self.spent = self.earned = 0
        self.spent += count
        return self.spent - self.earned - self._before
