"""What the sidecars hold, looked at once in a while."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from tests.faults.subject import Subject


@dataclass(frozen=True)
class Sample:
    """at: seconds since the start; resident: bytes; the others are counts.

    clients: connections that clients have; busy, idle: connections to upstreams.
    """

    at: float
    resident: int
    files: int
    threads: int
    clients: int = 0
    busy: int = 0
    idle: int = 0


class Sampler:
    """series: the samples of each sidecar, in the order of time."""

    def __init__(self, sidecars: dict[str, Subject]) -> None:
        self.sidecars = sidecars
        self.series: dict[str, list[Sample]] = {name: [] for name in sidecars}
        self._start = time.monotonic()

    async def look(self, name: str) -> Sample:
        """One sample, not kept."""
        sidecar = self.sidecars[name]
        open_ = await sidecar.metric("skycap_connections_open")
        busy = await sidecar.metric("skycap_upstream_connections", state="busy")
        idle = await sidecar.metric("skycap_upstream_connections", state="idle")
        return Sample(
            time.monotonic() - self._start,
            sidecar.resident,
            sidecar.open_files(),
            psutil.Process(sidecar.process.pid).num_threads(),
            int(open_),
            int(busy),
            int(idle),
        )

    async def keep(self) -> None:
        """A sample of each."""
        for name, series in self.series.items():
            series.append(await self.look(name))
