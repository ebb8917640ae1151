"""Targets held against samples, and what the scenarios promise."""

from __future__ import annotations

import pytest

from benchmarks.figures import Sample
from benchmarks.scenario import Bound, Metric, Scenario, Target, judge
from benchmarks.scenarios import SCENARIOS


def scenario(*targets: Target) -> Scenario:
    return Scenario(
        name="s",
        summary="",
        cases={"one": "One", "two": "Two"},
        metrics=(Metric("cpu", "CPU", "us"),),
        run=lambda run: None,
        targets=targets,
    )


SAMPLES = [
    Sample("one", "skycap", 0, {"cpu": 20.0}),
    Sample("one", "envoy", 0, {"cpu": 40.0}),
    Sample("two", "skycap", 0, {"cpu": 30.0}),
]


@pytest.mark.parametrize(
    ("bound", "limit", "met"),
    [
        (Bound.AT_MOST, 0.55, True),
        (Bound.AT_MOST, 0.5, True),
        (Bound.AT_MOST, 0.4, False),
        (Bound.AT_LEAST, 0.6, False),
        (Bound.AT_LEAST, 0.5, True),
    ],
)
def test_a_ratio_against_a_peer(bound: Bound, limit: float, met: bool) -> None:
    (verdict,) = judge(scenario(Target("cpu", bound, limit, against="envoy")), SAMPLES)
    assert verdict.case == "one"
    assert verdict.measured.median == pytest.approx(0.5)
    assert verdict.met is met


def test_an_absolute_target_in_every_case() -> None:
    verdicts = judge(scenario(Target("cpu", Bound.AT_MOST, 25)), SAMPLES)
    assert [(verdict.case, verdict.met) for verdict in verdicts] == [("one", True), ("two", False)]


def test_a_target_of_one_case_is_not_judged_in_others() -> None:
    verdicts = judge(scenario(Target("cpu", Bound.AT_MOST, 25, cases=("two",))), SAMPLES)
    assert [verdict.case for verdict in verdicts] == ["two"]


def test_what_was_not_measured_is_not_judged() -> None:
    assert judge(scenario(Target("rps", Bound.AT_LEAST, 1)), SAMPLES) == []


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_targets_name_metrics_and_cases_that_exist(name: str) -> None:
    entry = SCENARIOS[name]
    metrics = [metric.name for metric in entry.metrics]
    assert len(set(metrics)) == len(metrics)
    for target in entry.targets:
        assert target.metric in metrics
        assert set(target.cases) <= set(entry.cases)
