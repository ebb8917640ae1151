"""What a copy of a workload wrote: its last lines, and those of a window of time."""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple

from controlplane.model.sandbox import Reported


class Window(NamedTuple):
    """From when to when, in seconds since 1970, both ends included."""

    since: float = 0.0
    until: float = inf


ALWAYS = Window()


class CopyLog(Reported):
    """The last lines of one copy.

    revision: 0 is the baseline's.
    state:    `running` now, or `ended`: the copy died or never became ready.
    log:      newest line last; empty when its launcher keeps none (static forks).
    """

    workload: str
    revision: int
    state: Literal["running", "ended"]
    log: str
