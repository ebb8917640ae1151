"""What is known of a call that was lost: what the sidecars have counted around it, and whether the machine had time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping

from tests.faults.subject import Subject

COUNTED = (
    "skycap_failures_total{", "skycap_timeouts_total{", "skycap_upstream_retries_total{",
    "skycap_upstream_dial_failures_total{",
)  # fmt: skip

PULSE_SECONDS = 0.1
LATE_SECONDS = 0.2
"""A beat that is late by less is usual."""

BEATS = 600
"""Late ones that are remembered."""


def counted(page: str) -> dict[str, float]:
    """The counters of failures on a page of metrics, by name and labels."""
    lines = [line.rpartition(" ") for line in page.splitlines() if line.startswith(COUNTED)]
    return {name.removeprefix("skycap_").replace("_total", ""): float(value) for name, _, value in lines}


def more(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """What has grown."""
    grown = [
        f"{name} +{value - before.get(name, 0):.0f}" for name, value in after.items() if value > before.get(name, 0)
    ]
    return ", ".join(grown) or "nothing"


class Losses:
    """Looks at the sidecars once in a while, so that a loss can be told what was counted since."""

    def __init__(self, sidecars: Mapping[str, Subject]) -> None:
        self._sidecars = sidecars
        self._before: dict[str, dict[str, float]] = {name: {} for name in sidecars}
        self._looked = time.monotonic()
        self._late: deque[tuple[float, float]] = deque(maxlen=BEATS)

    async def pulse(self) -> None:
        """Find out when this process, and so the machine, had no time. Ends when it is cancelled."""
        while True:
            due = time.monotonic() + PULSE_SECONDS
            await asyncio.sleep(PULSE_SECONDS)
            self.beat(time.monotonic(), due)

    def beat(self, now: float, due: float) -> None:
        if now - due >= LATE_SECONDS:
            self._late.append((now, now - due))

    def late(self, since: float) -> float:
        """Seconds by which a beat was late since then, at most."""
        return max((late for at, late in self._late if at >= since), default=0.0)

    async def look(self) -> None:
        """Remember what has been counted by now."""
        for name, sidecar in self._sidecars.items():
            self._before[name] = counted((await sidecar.get("/metrics")).decode())
        self._looked = time.monotonic()

    async def known(self, began: float) -> str:
        """Of a call that began then and has just been lost."""
        seconds = time.monotonic() - self._looked
        told = [f"it took {time.monotonic() - began:.1f} s, in which this process was late by {self.late(began):.1f} s"]
        for name, sidecar in self._sidecars.items():
            try:
                page = (await sidecar.get("/metrics")).decode()
            except (OSError, AssertionError) as error:
                told.append(f"{name} does not tell: {error!r}")
                continue
            told.append(f"{name} counted within {seconds:.1f} s: {more(self._before[name], counted(page))}")
        return "; ".join(told)
