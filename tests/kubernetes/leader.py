"""What the control plane that leads has used, asked of itself."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from tests.kubernetes.installation import SYSTEM, Installation

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spent:
    """Since it began: seconds of a processor, MiB at most, requests to the API server. process: which one it is."""

    process: str
    seconds: float
    peak: float
    requests: int


def spent(installed: Installation) -> Spent:
    leader = installed.leader()
    read = installed.kubectl("-n", SYSTEM, "exec", leader, "--", "cat", "/proc/1/stat", "/proc/1/status")
    fields = read.splitlines()[0].rpartition(")")[2].split()
    user, system = fields[11:13]
    peak = re.search(r"VmHWM:\s+(\d+) kB", read)
    assert peak is not None
    asked = re.search(r"skycap_kubernetes_requests_total (\d+)", installed.page("/metrics"))
    assert asked is not None
    return Spent(
        f"{leader}, begun at {fields[19]}", (int(user) + int(system)) / _TICKS, int(peak[1]) / 1024, int(asked[1])
    )
