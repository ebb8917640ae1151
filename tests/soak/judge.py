"""Verdicts, one line each: pure functions of samples and counts.

The first third of a run warms up: tables, caches and the allocator reach their size. Of the other two, memory must be
flat in two ways: the slope of a robust fit (Theil and Sen: the median of the slopes of all pairs, which single peaks
do not move), and the medians of the two thirds, which a step would move that a slope may hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from proxy.feed.http import MOST_IDLE
from proxy.routing.correlation import TRACE_SECONDS
from tests.soak.expected import Tally
from tests.soak.samples import Sample

MIB = 1 << 20

GROWTH_MIB = 2.0
"""Allowed in any run: what allocators keep of a peak."""

GROWTH_MIB_PER_HOUR = 8.0
"""Allowed besides. 8 MiB an hour are 12 bytes for each of 200 requests a second."""

STEP_MIB = 4.0
"""Between the medians of the middle and of the last third."""

TRACES_MIB = 10.0
"""What the table of trace ids may still grow by in a run whose warm-up is too short to fill it."""

UNREPEATED = 0.001
"""Of uploads that may cross the close of an idle connection."""

POOLED = 4
"""Threads that may be there at the end and not at the start: a pool starts one only when all it has are busy."""

KEPT = MOST_IDLE - 1
"""Descriptors that may be there at the end and not at the start: connections to the registry that the link keeps."""

ENOUGH = 12
"""Samples, below which nothing is said about growth."""


@dataclass(frozen=True)
class Verdict:
    good: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'FAIL'}  {self.text}"


def memory(name: str, samples: Sequence[Sample]) -> list[Verdict]:
    """Whether the resident size is flat after the warm-up."""
    if len(samples) < ENOUGH:
        return [Verdict(False, f"{name}: {len(samples)} samples are too few to judge memory")]
    begin, end = samples[0].at, samples[-1].at
    third = (end - begin) / 3
    middle = [one for one in samples if begin + third <= one.at < end - third]
    last = [one for one in samples if one.at >= end - third]
    warm = third >= 2 * TRACE_SECONDS
    hours = 2 * third / 3600
    allowed = GROWTH_MIB + GROWTH_MIB_PER_HOUR * hours + (0 if warm else TRACES_MIB)
    grown = slope([(one.at, float(one.resident)) for one in (*middle, *last)]) * 2 * third / MIB
    medians = [median(one.resident for one in part) / MIB for part in (middle, last)]
    step = STEP_MIB + (0 if warm else TRACES_MIB)
    note = "" if warm else " (a short run: trace ids are still collected)"
    return [
        Verdict(
            grown <= allowed,
            f"{name}: memory grows by {grown:+.2f} MiB after the warm-up, {allowed:.1f} are allowed{note}",
        ),
        Verdict(
            medians[1] - medians[0] <= step,
            f"{name}: median memory of the middle third {medians[0]:.1f} MiB, of the last {medians[1]:.1f}, "
            f"{step:.0f} more are allowed",
        ),
    ]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that fits best, by Theil and Sen; 0 when there is no pair."""
    slopes = [
        (y2 - y1) / (x2 - x1)
        for index, (x1, y1) in enumerate(points)
        for x2, y2 in points[index + 1 :]
        if x2 > x1
    ]  # fmt: skip
    return median(slopes) if slopes else 0.0


def rest(name: str, start: Sample, end: Sample) -> list[Verdict]:
    """Whether everything is gone that came with the traffic."""
    counts = (("descriptors", start.files, end.files, KEPT), ("threads", start.threads, end.threads, POOLED))
    verdicts = [
        Verdict(after <= before + more, f"{name}: {before} {what} before the traffic, {after} after it")
        for what, before, after, more in counts
    ]
    left = {"from clients": end.clients, "busy upstream": end.busy, "idle upstream": end.idle}
    told = ", ".join(f"{count} {what}" for what, count in left.items())
    return [*verdicts, Verdict(not any(left.values()), f"{name}: connections left: {told}")]


def traffic(tally: Tally, kinds: Sequence[str]) -> list[Verdict]:
    """Whether every kind was served, and nobody wrongly."""
    excused = sum(tally.excused.values())
    silent = [kind for kind in kinds if not tally.good[kind]]
    uploads = tally.good["upload"]
    return [
        Verdict(not tally.wrong, f"{tally.wrong} answers from the wrong server or with the wrong body"),
        Verdict(not tally.lost, f"{tally.lost} requests lost, besides {excused} whose server was killed"),
        Verdict(
            tally.unrepeated <= max(1.0, uploads * UNREPEATED),
            f"{tally.unrepeated} of {uploads} uploads crossed the close of an idle connection",
        ),
        Verdict(
            not silent,
            f"{sum(tally.good.values())} pieces of work of {len(kinds)} kinds were done"
            + (f", but nothing of {', '.join(silent)}" if silent else ""),
        ),
    ]
