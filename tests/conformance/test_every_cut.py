"""The corpus through the exchange in memory: whole, octet by octet, and cut in two at every place there is."""

from __future__ import annotations

import pytest

from tests.conformance.corpus import Case, Kind, load_corpus
from tests.conformance.deliveries import BYTEWISE_LIMIT, Delivery, deliveries, places
from tests.conformance.judge import judge
from tests.conformance.memory import MemoryLane
from tests.conformance.play import Observation, Run

CASES = load_corpus()
THEMES = list(dict.fromkeys(case.theme for case in CASES))
LONG_CASE_SPLITS = 24
"""Cuts of a case over BYTEWISE_LIMIT, most of whose places are alike."""


def _deliveries(case: Case) -> list[Delivery]:
    data = case.origin if case.kind is Kind.RESPONSE else case.client
    every = range(1, len(data)) if len(data) <= BYTEWISE_LIMIT else places(data, LONG_CASE_SPLITS)
    others = [delivery for delivery in deliveries(case, 1) if delivery.name != "split"]
    return [*others, *(Delivery("split", at) for at in every)]


def _key(seen: Observation) -> object:
    return seen.client, seen.client_ended, tuple(seen.upstream), tuple(seen.stuck), seen.probed


def _complaints(theme: str, sides: tuple[str, ...]) -> list[str]:
    found = []
    for case in CASES:
        if case.theme != theme:
            continue
        for side in set(case.sides) & set(sides):
            lane = MemoryLane(side)
            good: set[object] = set()  # most cuts look the same; the panel need not be asked again
            for delivery in _deliveries(case):
                run = Run(case, side, delivery)
                seen = lane.run(run)
                key = _key(seen)
                if key not in good:
                    complaints = judge(run, seen, lane.authority)
                    found += [f"{run}: {complaint}" for complaint in complaints]
                    if not complaints:
                        good.add(key)
    return found


@pytest.mark.parametrize("theme", THEMES)
def test_no_cut_changes_a_verdict(theme: str) -> None:
    assert _complaints(theme, ("inbound", "forward")) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("theme", [theme for theme in THEMES if theme != "forward-proxy"])
def test_no_cut_changes_a_verdict_on_the_way_out(theme: str) -> None:
    assert _complaints(theme, ("outbound",)) == []
