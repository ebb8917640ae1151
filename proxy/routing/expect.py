"""Who has to serve a request, as the request itself says it: `skycap-expect: trips/rates@3, trips/pricing`.

    NAMESPACE/NAME              a shadow of this workload, at whichever revision
    NAMESPACE/NAME@REVISION     at this one

The entry looks at who did (`proxy.routing.served`) before it hands the answer out. An expectation is met when a shadow
of the workload took part, and nothing else did in its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.contract.names import WORKLOAD
from proxy.routing.served import items

NAME: Final = b"skycap-expect"

MAX_EXPECTED: Final = 16

_FORM: Final = re.compile(rf"({WORKLOAD.pattern})(?:@([1-9][0-9]{{0,9}}))?")
_SANDBOX: Final = re.compile(rb";[ ]*+sandbox=")
_REVISION: Final = re.compile(rb";[ ]*+rev=([0-9]{1,15})(?![0-9])")


class Expected(NamedTuple):
    """revision: 0 for any."""

    workload: str
    revision: int

    def __str__(self) -> str:
        wanted = f"revision {self.revision} of a shadow" if self.revision else "a shadow"
        return f"{wanted} of {self.workload}"


def parse_expected(values: Sequence[bytes]) -> list[Expected]:
    """Raises ValueError with one sentence."""
    said = [part.strip(b" \t").decode("latin-1") for part in b",".join(values).split(b",")]
    found = [_FORM.fullmatch(part) for part in said]
    if len(said) > MAX_EXPECTED:
        raise ValueError(f"skycap-expect names more than {MAX_EXPECTED} workloads")
    for part, match in zip(said, found, strict=True):
        if match is None:
            raise ValueError(f"skycap-expect: {part[:140]!r} is not NAMESPACE/NAME or NAMESPACE/NAME@REVISION")
    return [Expected(match[1], int(match[2] or "0")) for match in found if match is not None]


def unmet(expected: Sequence[Expected], served: bytes) -> str:
    """What is missing in a value of `skycap-served-by`, in one sentence; "" when nothing is."""
    for one in expected:
        took_part = False
        for workload, item in items(served):
            if workload != one.workload:
                continue
            took_part = True
            revision = _REVISION.search(item)
            shadow = _SANDBOX.search(item) is not None and b";error=" not in item and b";stub=" not in item
            if not shadow or (one.revision and (revision is None or int(revision[1]) != one.revision)):
                return f"{one} was expected, and it was {item.decode('latin-1')}"
        if not took_part:
            return f"{one} was expected, and {one.workload} took no part"
    return ""
