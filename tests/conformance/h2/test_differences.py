"""The same frames through Skycap, nghttpx and Envoy. What differs is reviewed, or it fails.

The hard rule stands for itself: what nghttpx refuses of a client does not go on here.
"""

from __future__ import annotations

import pytest

from tests.conformance.differences import load_reviewed
from tests.conformance.h2.__main__ import watch
from tests.conformance.h2.corpus import Case, load_corpus
from tests.conformance.h2.differences import REVIEWED, UNDECIDED, Difference, compare
from tests.conformance.h2.peers import Envoy, Nghttpx, version
from tests.conformance.peers import Proxy, Skycap
from tests.tools import require

CASES = load_corpus()
REVIEW = load_reviewed(REVIEWED)
PEERS: dict[str, type[Proxy]] = {"envoy": Envoy, "nghttpx": Nghttpx}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def ours() -> dict[Case, str]:
    return watch(Skycap(), CASES)


@pytest.fixture(scope="module", params=sorted(PEERS))
def peer(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    require(name)
    return name


@pytest.fixture(scope="module")
def differences(peer: str, ours: dict[Case, str]) -> list[Difference]:
    return compare(peer, ours, watch(PEERS[peer](), CASES))


def _is_new(difference: Difference) -> bool:
    return not REVIEW.knows(difference.peer, difference.case.id, difference.kind)


def test_no_difference_is_new(differences: list[Difference]) -> None:
    assert [str(difference) for difference in differences if _is_new(difference)] == []


def test_what_nghttpx_refuses_of_a_client_does_not_go_on(differences: list[Difference]) -> None:
    assert [str(difference) for difference in differences if difference.breaks_the_rule] == []


def test_every_proxy_comes_to_a_decision(differences: list[Difference]) -> None:
    assert [str(difference) for difference in differences if UNDECIDED in (difference.ours, difference.theirs)] == []


def test_no_reviewed_difference_has_gone(peer: str, differences: list[Difference]) -> None:
    """A list that is longer than the truth hides the next difference in the same place."""
    if version(peer) != REVIEW.versions[peer]:
        pytest.skip(f"the list was made with {peer} {REVIEW.versions[peer]}, this is {version(peer)}")
    seen = {(difference.case.id, difference.kind) for difference in differences}
    listed = [(case, known.kind) for (name, case), known in REVIEW.differences.items() if name == peer]
    assert [entry for entry in listed if entry not in seen] == []


def test_every_reviewed_difference_is_about_a_case() -> None:
    assert {case for _, case in REVIEW.differences} <= {case.id for case in CASES}
