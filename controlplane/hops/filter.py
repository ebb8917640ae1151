"""Which hops somebody wants to see."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.contract.hops import Hop


@dataclass(frozen=True, slots=True)
class Filter:
    """Hops that match all that is given.

    status: three characters, digits or `x`: `404`, `5xx`. `000` are those without an answer.
    path:   the beginning of the request's path.
    since:  seconds since 1970.
    failed: only those whose answer was no good one.
    """

    workload: str = ""
    side: str = ""
    method: str = ""
    path: str = ""
    trace: str = ""
    status: str = ""
    since: float = 0.0
    failed: bool = False

    def matches(self, hop: Hop) -> bool:
        return (
            (not self.workload or hop.workload == self.workload)
            and (not self.side or hop.side == self.side)
            and (not self.method or hop.method == self.method)
            and (not self.trace or hop.trace == self.trace)
            and (not self.failed or hop.failed)
            and hop.time >= self.since
            and hop.path.startswith(self.path)
            and (not self.status or _has_status(hop.status, self.status))
        )


def _has_status(status: int, wanted: str) -> bool:
    return re.fullmatch(wanted.replace("x", "[0-9]"), f"{status:03}") is not None
