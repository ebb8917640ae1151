"""What a scenario is: which figures it takes, which targets it proves, and the function that takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Sample, ratio, summarize

if TYPE_CHECKING:
    from benchmarks.run import Run

SKYCAP = "skycap"
"""As a wheel has it: compiled."""
SKYCAP_INTERPRETED = "skycap-interpreted"
"""As it runs where there is no C compiler."""
DIRECT = "direct"
"""The row without any proxy: what the load generator and the origin cost by themselves."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One column.

    name:   the key in samples and in the JSON.
    label:  what the table's head says.
    unit:   as printed behind the figure.
    digits: behind the decimal point.
    """

    name: str
    label: str
    unit: str
    digits: int = 1


class Bound(Enum):
    """Which side of the limit is the good one."""

    AT_MOST = "<="
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Target:
    """A promise about Skycap: `metric` in relation to the peer `against`, or as it is when there is none.

    peer: which of the two.
    """

    metric: str
    bound: Bound
    limit: float
    against: str = ""
    cases: tuple[str, ...] = ()
    """Empty: every case in which the metric was taken."""
    peer: str = SKYCAP


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target held against the samples of one case."""

    target: Target
    case: str
    measured: Figure

    @property
    def met(self) -> bool:
        if self.target.bound is Bound.AT_MOST:
            return self.measured.median <= self.target.limit
        return self.measured.median >= self.target.limit


@dataclass(frozen=True, slots=True)
class Scenario:
    """One entry of the list that `python -m benchmarks --list` prints.

    cases:    name -> what the table's title says.
    rounds, duration: how often each peer takes its turn, and for how many seconds; chosen so that all scenarios
              together take less than ten minutes.
    """

    name: str
    summary: str
    cases: dict[str, str]
    metrics: tuple[Metric, ...]
    run: Callable[[Run], None]
    targets: tuple[Target, ...] = ()
    rounds: int = 3
    duration: float = 2.0


def judge(scenario: Scenario, samples: Sequence[Sample]) -> list[Verdict]:
    """Every target in every case for which there are samples; what was not measured is not judged."""
    verdicts = []
    for target in scenario.targets:
        for case in target.cases or tuple(scenario.cases):
            measured = (
                ratio(samples, case, target.peer, target.against, target.metric)
                if target.against
                else summarize(samples, case, target.peer, target.metric)
            )
            if measured is not None:
                verdicts.append(Verdict(target, case, measured))
    return verdicts
