"""Nothing is left of a request: what no collector sees, such as a reference that compiled code forgets to give back."""

from __future__ import annotations

import gc
import sys

import pytest

from benchmarks.load.micro import Case, cases

REQUESTS = 2_000
"""One forgotten object for each hundredth of them would be seen."""


def repeat(case: Case, times: int) -> int:
    """The blocks of memory in use behind so many requests."""
    for number in range(times):
        case(number)
    gc.collect()
    return sys.getallocatedblocks()


@pytest.fixture(scope="module")
def every() -> dict[str, Case]:
    return cases()


@pytest.mark.parametrize(
    "name",
    [
        "request head", "answer head", "key in baggage", "exchange, no key", "exchange, keyed",
        "exchange, keyed, and its hop", "stream, no key", "stream, keyed", "eight streams, keyed",
    ],
)  # fmt: skip
def test_a_request_leaves_nothing(every: dict[str, Case], name: str) -> None:
    case = every[name]
    repeat(case, REQUESTS)  # what is remembered of callers and keys is
    before = repeat(case, REQUESTS)
    assert repeat(case, REQUESTS) - before < REQUESTS / 100
