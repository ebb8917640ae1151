"""The output of baselines on this machine: in the file that their definition names."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controlplane.model.copy_log import Window
from controlplane.model.workload import Workload
from controlplane.process import stamped


class LoggedBaselines:
    """`BaselineOutput` from files of stamped lines (`controlplane.process.stamped`)."""

    async def lines(self, workload: Workload, lines: int, window: Window) -> list[str] | None:
        if not workload.log:
            return None
        return await asyncio.to_thread(stamped.within, Path(workload.log), window.since, window.until, lines)
