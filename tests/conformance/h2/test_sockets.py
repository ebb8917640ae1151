"""The corpus through a real sidecar, one process for all of it, between real sockets."""

from __future__ import annotations

import pytest

from tests.conformance.h2.corpus import Case, load_corpus
from tests.conformance.h2.judge import judge
from tests.conformance.h2.rig import Rig, rig
from tests.conformance.peers import Relay, Skycap

CASES = load_corpus()
GOOD = [case for case in CASES if case.word == "accept"]
BAD = [case for case in CASES if case.word != "accept"]
BY_THE_SERVER = {
    "requests/data-behind-a-reset", "requests/data-behind-the-end", "requests/trailers-behind-the-end",
    "requests/window-overflows", "requests/window-overflows-before-settings", "requests/window-overflows-in-two-steps",
}  # fmt: skip
"""The engine of our server does the same as we: a relay that looks at nothing passes its verdict on."""

pytestmark = pytest.mark.timeout(180)


def complaints(stand: Rig, cases: list[Case]) -> list[str]:
    return [f"{case.id}: {complaint}" for case, seen in stand.play(cases) for complaint in judge(case, seen)]


def test_every_case_gets_its_verdict_and_the_sidecar_serves_on() -> None:
    with rig(Skycap()) as skycap:
        assert complaints(skycap, CASES) == []
        assert complaints(skycap, GOOD) == []


def test_a_blind_relay_is_guilty_of_every_case_but_the_good_ones() -> None:
    """The judge has to be able to say so."""
    with rig(Relay()) as relay:
        innocent = {case.id for case, seen in relay.play(BAD, patience=0.3) if not judge(case, seen)}
        assert complaints(relay, GOOD) == []
    assert innocent == BY_THE_SERVER
