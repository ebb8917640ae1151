"""What is looked up about a failure once it is found: what the copies wrote, and how a suspect's answer differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from controlplane.asking.sentence import sentence
from controlplane.model.diff import Difference
from controlplane.model.feedback import Failure, Kind, Printed, Span
from controlplane.model.hop import Message

BEFORE_SECONDS = 0.1
AFTER_SECONDS = 2.0
"""Beside a request, within which its lines come: clocks differ, and a program may write when it has answered."""

MAX_LINES = 30
"""Of the output of one copy."""


class Wanted(NamedTuple):
    """The output of one copy. revision: 0 is the baseline's."""

    workload: str
    revision: int
    window: Span


Lines = Mapping[tuple[str, int], Sequence[str]]
"""(workload, revision) -> what that copy wrote in the window that was wanted."""


def wanted(failure: Failure) -> list[Wanted]:
    """Whose output may say why: the origin's, the suspect's, then that of the callers, the nearest first."""
    if not failure.chain:
        return []
    origin = failure.chain[-1]
    copies = {(failure.workload, _revision(failure.copy_)): _beside(origin.time, origin.duration_ms)}
    if failure.suspect is not None:
        copies[failure.suspect.workload, failure.suspect.revision] = _beside(origin.time, origin.duration_ms)
    for step in reversed(failure.chain):
        if step.copy_ == "baseline" or step.copy_.startswith("revision "):
            copies.setdefault((step.workload, _revision(step.copy_)), _beside(step.time, step.duration_ms))
    return [Wanted(workload, revision, window) for (workload, revision), window in copies.items()]


def with_output(failure: Failure, lines: Lines) -> Failure:
    """The failure with what the copies that took part wrote: the origin's first."""
    printed = [
        Printed(
            workload=copy.workload,
            copy=f"revision {copy.revision}" if copy.revision else "baseline",
            lines=tuple(found[-MAX_LINES:]),
            window=copy.window,
        )
        for copy in wanted(failure)
        if (found := lines.get((copy.workload, copy.revision)))
    ]
    return _retold(failure.model_copy(update={"output": tuple(printed)}))


class Comparison(NamedTuple):
    """A suspect's answer beside the baseline's. not_compared: why there is none, "" when there is."""

    shadow: Message | None = None
    baseline: Message | None = None
    differs: tuple[Difference, ...] = ()
    not_compared: str = ""


def with_comparison(failure: Failure, found: Comparison) -> Failure:
    """The failure with what its suspect answers otherwise than the baseline."""
    suspect = failure.suspect
    assert suspect is not None
    told = suspect.model_copy(
        update={
            "shadow_answer": suspect.shadow_answer or found.shadow,
            "baseline_answer": found.baseline,
            "differs": found.differs,
            "not_compared": found.not_compared,
        }
    )
    return _retold(failure.model_copy(update={"suspect": told}))


def _retold(failure: Failure) -> Failure:
    said = failure.sentence if failure.kind is Kind.REDIRECTS else sentence(failure)
    return failure.model_copy(update={"sentence": said})


def _revision(copy: str) -> int:
    return int(copy.removeprefix("revision ")) if copy.startswith("revision ") else 0


def _beside(time: float, duration_ms: float) -> Span:
    return Span(since=time - BEFORE_SECONDS, until=time + duration_ms / 1000 + AFTER_SECONDS)
