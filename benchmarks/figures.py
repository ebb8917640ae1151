"""Medians, spreads and ratios: everything that is computed from the samples.

A sample is one peer's figures in one case and one round. Ratios are taken within a round and their median is
reported: the ratio of two medians would compare moments at which the machine was not the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """What one peer did in one case and one round. `values` maps metric names to figures in the metric's unit."""

    case: str
    peer: str
    round: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """A median over rounds with the lowest and highest round beside it."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """Half the range in relation to the median; 0.05 reads as "plus or minus 5 %"."""
        return (self.high - self.low) / 2 / abs(self.median) if self.median else 0.0


def figure(values: Iterable[float]) -> Figure | None:
    """The figure of some rounds' values, or None when there is no round."""
    listed = list(values)
    if not listed:
        return None
    return Figure(median(listed), min(listed), max(listed), len(listed))


def summarize(samples: Sequence[Sample], case: str, peer: str, metric: str) -> Figure | None:
    """The figure of one metric, or None when nothing was sampled."""
    return figure(s.values[metric] for s in samples if s.case == case and s.peer == peer and metric in s.values)


def ratio(samples: Sequence[Sample], case: str, peer: str, against: str, metric: str) -> Figure | None:
    """`peer` divided by `against`, round by round. Rounds that one of them lacks, or where `against` is zero or
    less (a difference lost in noise), are left out."""
    values = {(s.peer, s.round): s.values[metric] for s in samples if s.case == case and metric in s.values}
    return figure(
        value / values[against, number]
        for (name, number), value in values.items()
        if name == peer and values.get((against, number), 0.0) > 0
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the ascending `ordered` lies, nearest rank. Needs one value."""
    rank = math.ceil(share * len(ordered))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))
