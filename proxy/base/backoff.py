"""Exponential back-off with full jitter: the n-th wait is uniform in [0, first * 2**n], capped.

Full jitter spreads the 500 sidecars of a restarted registry evenly, where equal waits would bring them back
together (Brooker, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 5.0


class Backoff:
    """first, longest: seconds; uniform: returns a number in [0, 1)."""

    def __init__(
        self,
        first: float = FIRST_SECONDS,
        longest: float = LONGEST_SECONDS,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self.longest = longest
        self._first = first
        self._ceiling = first
        self._uniform = uniform

    def next(self) -> float:
        """Seconds to wait now."""
        ceiling = self._ceiling
        self._ceiling = min(ceiling * 2, self.longest)
        return ceiling * self._uniform()

    def reset(self) -> None:
        self._ceiling = self._first
