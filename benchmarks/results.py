"""A run as JSON: what was measured, where, with which versions, and whether the targets were met.

{"schema": 1, "commit": ..., "machine": {...}, "versions": {...}, "seconds": ...,
 "scenarios": {NAME: {"rounds": 3, "duration": 2.0, "notes": [...],
                      "metrics": {NAME: {"label", "unit"}},
                      "figures": {CASE: {PEER: {METRIC: {"median", "low", "high", "rounds"}}}},
                      "targets": [{"case", "peer", "metric", "against", "bound", "limit", "median", "low", "high",
                                   "met"}],
                      "samples": [{"case", "peer", "round", "values"}]}}}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Sample, in_order, summarize
from benchmarks.scenario import Scenario, Verdict, judge

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Finished:
    """A scenario that has been run."""

    scenario: Scenario
    samples: Sequence[Sample]
    notes: Sequence[str]
    rounds: int
    duration: float
    seconds: float

    def verdicts(self) -> list[Verdict]:
        """The targets held against the samples."""
        return judge(self.scenario, self.samples)


@dataclass(slots=True)
class Results:
    """All of one run. started: UTC, ISO 8601."""

    started: str
    commit: str
    machine: dict[str, object]
    versions: dict[str, str]
    skipped: dict[str, str] = field(default_factory=dict)
    """Peer -> the line that would install it."""
    finished: list[Finished] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "schema": SCHEMA,
            "started": self.started,
            "commit": self.commit,
            "seconds": round(sum(finished.seconds for finished in self.finished), 1),
            "machine": self.machine,
            "versions": self.versions,
            "skipped": self.skipped,
            "scenarios": {finished.scenario.name: _scenario(finished) for finished in self.finished},
        }

    def write(self, folder: Path) -> Path:
        """Write `<time>-<commit>.json` into `folder`; its path."""
        folder.mkdir(exist_ok=True)
        stamp = self.started.replace(":", "").replace("-", "")
        path = folder / f"{stamp}-{self.commit or 'unversioned'}.json"
        path.write_text(json.dumps(self.document(), indent=1) + "\n")
        return path


def _scenario(finished: Finished) -> dict[str, Any]:
    scenario, samples = finished.scenario, finished.samples
    return {
        "summary": scenario.summary,
        "rounds": finished.rounds,
        "duration": finished.duration,
        "seconds": round(finished.seconds, 1),
        "notes": list(finished.notes),
        "metrics": {metric.name: {"label": metric.label, "unit": metric.unit} for metric in scenario.metrics},
        "cases": scenario.cases,
        "figures": _figures(finished),
        "targets": [_target(verdict) for verdict in finished.verdicts()],
        "samples": [
            {
                "case": sample.case,
                "peer": sample.peer,
                "round": sample.round,
                "values": {name: _short(value) for name, value in sample.values.items()},
            }
            for sample in samples
        ],
    }


def _figures(finished: Finished) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    samples = finished.samples
    figures: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for case in in_order(sample.case for sample in samples):
        figures[case] = {}
        for peer in in_order(sample.peer for sample in samples if sample.case == case):
            row = {metric.name: summarize(samples, case, peer, metric.name) for metric in finished.scenario.metrics}
            figures[case][peer] = {
                name: {
                    "median": _short(found.median),
                    "low": _short(found.low),
                    "high": _short(found.high),
                    "rounds": found.rounds,
                }
                for name, found in row.items()
                if found is not None
            }
    return figures


def _target(verdict: Verdict) -> dict[str, object]:
    target, measured = verdict.target, verdict.measured
    return {
        "case": verdict.case,
        "peer": target.peer,
        "metric": target.metric,
        "against": target.against or None,
        "bound": target.bound.value,
        "limit": target.limit,
        "median": _short(measured.median),
        "low": _short(measured.low),
        "high": _short(measured.high),
        "met": verdict.met,
    }


def _short(value: float) -> float:
    """Five significant digits: more than any of the figures has."""
    return float(f"{value:.5g}")
