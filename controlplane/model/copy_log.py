"""What a shadow wrote: its last lines, per fork and revision."""

from __future__ import annotations

from typing import Literal

from controlplane.model.sandbox import Reported


class CopyLog(Reported):
    """The last lines of one copy.

    state: `running` now, or `ended`: the copy died or never became ready.
    log:   newest line last; empty when its launcher keeps none (static forks).
    """

    workload: str
    revision: int
    state: Literal["running", "ended"]
    log: str
