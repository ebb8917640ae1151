"""Where nghttpx and Envoy do otherwise than Skycap on the same frames, and why that is right.

Each case comes to one of three outcomes, whatever code is said. What differs stands in
`tests/corpus/h2/differences.yaml` under a reason that somebody thought about, or the test fails. One rule has no
exceptions: a client's frames that nghttpx refuses, whose library is the strictest reader of them, do not go on here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.conformance.h2.corpus import FOLDER, Case
from tests.conformance.h2.play import Seen

REVIEWED = FOLDER / "differences.yaml"

GOES_ON = "goes on"
REFUSES = "refuses the stream"
ENDS = "ends the connection"
UNDECIDED = "comes to no decision"


def outcome(case: Case, seen: Seen) -> str:
    """What became of the case: an answer that the proxy makes itself refuses the stream like RST_STREAM."""
    heard = seen.heard
    if seen.closed or heard.gone is not None:
        return ENDS
    if seen.stuck:
        return UNDECIDED
    status = heard.heads.get(case.stream, {}).get(b":status", b"200")
    return REFUSES if heard.resets or status != b"200" else GOES_ON


@dataclass(frozen=True)
class Difference:
    """One case on which a peer did otherwise."""

    peer: str
    case: Case
    ours: str
    theirs: str

    @property
    def kind(self) -> str:
        return f"{self.peer} {self.theirs}"

    @property
    def breaks_the_rule(self) -> bool:
        return self.peer == "nghttpx" and self.case.kind != "answer" and self.ours == GOES_ON

    def __str__(self) -> str:
        return f"{self.case.id}: {self.kind}; skycap {self.ours}"


def compare(peer: str, ours: Mapping[Case, str], theirs: Mapping[Case, str]) -> list[Difference]:
    """Every case on which the two differ, in the corpus's order."""
    return [Difference(peer, case, ours[case], theirs[case]) for case in ours if ours[case] != theirs[case]]
