"""The corpus through a real sidecar: real sockets, many connections at once.

The quick half sends every case whole, and once more with a probe in the same write; the slow half adds every octet
alone and a handful of cuts, each read by the sidecar before the rest is sent. All cuts: `test_every_cut.py`.
"""

from __future__ import annotations

import pytest

from tests.conformance.corpus import load_corpus
from tests.conformance.deliveries import deliveries
from tests.conformance.judge import judge
from tests.conformance.play import Run
from tests.conformance.rig import Rig

CASES = load_corpus()
THEMES = list(dict.fromkeys(case.theme for case in CASES))
SPLITS = 6


def complaints(skycap: Rig, runs: list[Run]) -> list[str]:
    return [
        f"{result.run}: {complaint}"
        for result in skycap.run(runs)
        for complaint in judge(result.run, result.seen, result.authority)
    ]


def _runs(theme: str, splits: int) -> list[Run]:
    return [
        Run(case, side, delivery)
        for case in CASES
        if case.theme == theme
        for side in case.sides
        for delivery in deliveries(case, splits)
    ]


@pytest.mark.parametrize("theme", THEMES)
def test_every_case_gets_its_verdict(skycap: Rig, theme: str) -> None:
    assert complaints(skycap, _runs(theme, 0)) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("theme", THEMES)
def test_every_case_gets_its_verdict_however_it_is_cut(skycap: Rig, theme: str) -> None:
    assert complaints(skycap, _runs(theme, SPLITS)) == []
