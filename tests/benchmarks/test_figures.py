"""Medians, spreads and ratios within rounds."""

from __future__ import annotations

import pytest

from benchmarks.figures import Sample, figure, in_order, quantile, ratio, summarize


def sample(peer: str, number: int, value: float, case: str = "c") -> Sample:
    return Sample(case, peer, number, {"cpu": value})


def test_a_figure_is_the_median_with_its_range() -> None:
    found = figure([3.0, 1.0, 2.0])
    assert found is not None
    assert (found.median, found.low, found.high, found.rounds) == (2.0, 1.0, 3.0, 3)
    assert found.spread == pytest.approx(0.5)


def test_no_values_are_no_figure() -> None:
    assert figure([]) is None


def test_a_median_of_zero_has_no_spread() -> None:
    found = figure([-1.0, 0.0, 1.0])
    assert found is not None
    assert found.spread == 0.0


def test_summarize_takes_one_case_peer_and_metric() -> None:
    samples = [sample("a", 0, 1.0), sample("a", 1, 3.0), sample("b", 0, 9.0), sample("a", 0, 7.0, case="other")]
    found = summarize(samples, "c", "a", "cpu")
    assert found is not None
    assert (found.median, found.rounds) == (2.0, 2)
    assert summarize(samples, "c", "a", "rps") is None


def test_ratios_are_made_within_a_round() -> None:
    # The machine is ten times slower in round 1; the medians' ratio would be 55 / 11 = 5.
    samples = [sample("a", 0, 10.0), sample("b", 0, 20.0), sample("a", 1, 100.0), sample("b", 1, 2.0)]
    samples += [sample("a", 2, 10.0), sample("b", 2, 20.0)]
    found = ratio(samples, "c", "a", "b", "cpu")
    assert found is not None
    assert found.median == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(50.0)


def test_a_round_without_the_other_peer_is_left_out_of_a_ratio() -> None:
    samples = [sample("a", 0, 10.0), sample("b", 0, 20.0), sample("a", 1, 10.0), sample("b", 2, 0.0), sample("a", 2, 1)]
    found = ratio(samples, "c", "a", "b", "cpu")
    assert found is not None
    assert found.rounds == 1


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (0.999, 100.0), (1.0, 100.0)]
)
def test_quantiles_are_values_that_occurred(share: float, expected: float) -> None:
    assert quantile([float(value) for value in range(1, 101)], share) == expected


def test_names_once_in_order_of_appearance() -> None:
    assert in_order(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]
