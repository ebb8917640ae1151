"""Who should have served: `shop/users`, or `shop/users@3` for one revision.

A test that passes against the baseline says nothing of the change. So an expectation is met only by evidence: every hop
of the workload was served by a shadow, of that revision when one is named, and there was one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.asking.served_by import Hop
from proxy.contract.names import WORKLOAD

_FORM = re.compile(rf"({WORKLOAD.pattern})(?:@([1-9][0-9]{{0,9}}))?")


@dataclass(frozen=True, slots=True)
class Expected:
    """revision: None for any."""

    workload: str
    revision: int | None = None

    def __str__(self) -> str:
        return self.workload if self.revision is None else f"{self.workload}@{self.revision}"

    def unmet(self, hops: Iterable[Hop]) -> str:
        """What is missing, in one line; "" when every hop of the workload was served as expected."""
        own = [hop for hop in hops if hop.workload == self.workload]
        wrong = sorted({str(hop) for hop in own if not self._is_met_by(hop)})
        wanted = "a shadow" if self.revision is None else f"revision {self.revision} of a shadow"
        if wrong:
            return f"{self.workload} was served by {' and by '.join(wrong)}, not by {wanted}"
        return "" if own else f"{self.workload} took no part, so {wanted} of it served nothing"

    def _is_met_by(self, hop: Hop) -> bool:
        return bool(hop.sandbox) and not hop.error and self.revision in (None, hop.revision)


def parse_expected(text: str) -> Expected:
    """Raises ValueError with one sentence."""
    found = _FORM.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not NAMESPACE/NAME or NAMESPACE/NAME@REVISION")
    return Expected(found[1], int(found[2]) if found[2] else None)
