"""The same bytes through Skycap, HAProxy and nginx. What differs is reviewed, or it fails.

The hard rule stands for itself: no request that HAProxy refuses for its framing is forwarded by Skycap.
"""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.conformance.__main__ import comparable, watch
from tests.conformance.corpus import Case, load_corpus
from tests.conformance.deliveries import PIPED
from tests.conformance.differences import Difference, Outcome, breaks_the_rule, compare, load_reviewed, outcome
from tests.conformance.peers import HAProxy, Nginx, Proxy
from tests.conformance.play import Run
from tests.conformance.rig import Rig
from tests.tools import find, require

CASES = comparable(load_corpus())
REVIEW = load_reviewed()
PEERS: dict[str, type[Proxy]] = {"haproxy": HAProxy, "nginx": Nginx}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def ours(skycap: Rig) -> dict[Case, Outcome]:
    seen = {result.run.case: outcome(result) for result in skycap.watch([Run(c, "inbound", PIPED) for c in CASES])}
    return {case: seen[case] for case in CASES}


@pytest.fixture(scope="module", params=sorted(PEERS))
def peer(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    require(name)
    return name


@pytest.fixture(scope="module")
def differences(peer: str, ours: dict[Case, Outcome]) -> list[Difference]:
    return compare(peer, ours, watch(PEERS[peer](), CASES))


def _is_new(difference: Difference) -> bool:
    return not REVIEW.knows(difference.peer, difference.case.id, difference.kind)


def _version(name: str) -> str:
    """The first two parts of an installed peer's version."""
    program = find(name)
    assert program is not None
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
    match = re.search(r"[0-9]+\.[0-9]+", done.stdout + done.stderr)
    assert match is not None
    return match[0]


def test_no_difference_is_new(differences: list[Difference]) -> None:
    assert [str(difference) for difference in differences if _is_new(difference)] == []


def test_what_haproxy_refuses_for_its_framing_is_not_forwarded(differences: list[Difference]) -> None:
    assert [str(difference) for difference in differences if breaks_the_rule(difference)] == []


def test_no_reviewed_difference_has_gone(peer: str, differences: list[Difference]) -> None:
    """A list that is longer than the truth hides the next difference in the same place."""
    if _version(peer) != REVIEW.versions[peer]:
        pytest.skip(f"the list was made with {peer} {REVIEW.versions[peer]}, this is {_version(peer)}")
    seen = {difference.case.id for difference in differences}
    listed = [case for (name, case), known in REVIEW.differences.items() if name == peer and not known.sometimes]
    assert [case for case in listed if case not in seen] == []
