"""Where Skycap and its peers differ on the same bytes, and why that is right: `tests/corpus/differences.yaml`.

An outcome is what became of a case: which requests arrived at the origin, or which answer arrived at the client. Two
outcomes that differ are a difference; it stands in the file under a reason that somebody thought about, or the test
fails. Answers of a proxy itself are compared by class only: who refuses, refuses.

One rule has no exceptions: what HAProxy refuses for its framing, we do not forward. Cases of a theme about framing
(`framing: yes`) cannot be listed with HAProxy refusing and Skycap forwarding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.corpus import CORPUS, Case, Kind
from tests.conformance.messages import Malformed, read_responses
from tests.conformance.play import Observation
from tests.conformance.rig import Result

REVIEWED = CORPUS / "differences.yaml"

Outcome = tuple[str, ...]
"""One entry per message that went through whole, then how it ended; compared for equality, printed for people."""


@dataclass(frozen=True)
class Reviewed:
    """One difference that is as it should be.

    kind:      as `kind_of` tells it
    sometimes: it depends on how the bytes happen to be cut, so its absence proves nothing
    """

    kind: str
    reason: str
    sometimes: bool


def outcome(result: Result) -> Outcome:
    """What became of the case."""
    if result.run.case.kind is Kind.RESPONSE:
        return _response_outcome(result.seen)
    return _request_outcome(result.seen, result.authority)


def _request_outcome(seen: Observation, authority: bytes) -> Outcome:
    def show(text: bytes) -> str:
        return text.replace(authority, b"ORIGIN").decode("latin-1")[:60]

    arrived = [
        f"{show(message.method)} {show(message.start[1])} host={show(b','.join(message.values(b'host')))} "
        f"body={len(message.body)}"
        for message in seen.arrived
    ]
    unreadable = [f"unreadable: {upstream.malformed}" for upstream in seen.upstream if upstream.malformed]
    return tuple(arrived + unreadable)


def _response_outcome(seen: Observation) -> Outcome:
    try:
        stream = read_responses(seen.client, [*seen.methods, b"GET"], seen.client_ended)
    except Malformed as error:
        return (f"unreadable: {error}",)
    told: list[str] = []
    final = False
    for message in stream.messages:
        if message.body == b"probe" or (final and (message.status >= 500 or not message.complete)):
            continue  # the probe's own answer, or that it came too late for the origin's connection
        if not message.complete:
            told.append("cut")
        elif message.status == 502:
            told.append("502")
        else:
            told.append(f"{message.status} body={len(message.body)}")
        final = message.status >= 200
    if any(line in ("502", "cut") for line in told) or not told:
        return ("refused",)  # early enough for a 502 or too late for it: a matter of time, not of reading
    return tuple(told)


def kind_of(ours: Outcome, theirs: Outcome, peer: str) -> str:
    """How two outcomes differ, in words; empty when they do not."""
    if ours == theirs:
        return ""
    refused: tuple[Outcome, ...] = ((), ("refused",))
    if ours in refused and theirs in refused:
        return ""
    if ours in refused:
        return f"{peer} forwards"
    if theirs in refused:
        return f"{peer} refuses"
    return f"{peer} forwards otherwise"


@dataclass(frozen=True)
class Review:
    """The whole list.

    versions:    peer -> the version that was looked at; another one may differ on fewer cases
    differences: (peer, case id) -> the difference
    """

    versions: dict[str, str]
    differences: dict[tuple[str, str], Reviewed]

    def knows(self, peer: str, case: str, kind: str) -> bool:
        """Somebody has looked at this difference, and it is still the same one."""
        known = self.differences.get((peer, case))
        return known is not None and known.kind == kind


def load_reviewed(path: Path = REVIEWED) -> Review:
    """The list as it stands in the file. Raises ValueError for one that contradicts itself."""
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    found: dict[tuple[str, str], Reviewed] = {}
    for entry in document["differences"]:
        for case in entry["cases"]:
            key = (entry["peer"], case)
            if key in found:
                raise ValueError(f"{path.name}: {case} is listed twice for {entry['peer']}")
            found[key] = Reviewed(entry["difference"], " ".join(entry["reason"].split()), entry.get("sometimes", False))
    return Review(document["versions"], found)


@dataclass(frozen=True)
class Difference:
    """One case on which a peer did otherwise."""

    peer: str
    case: Case
    kind: str
    ours: Outcome
    theirs: Outcome

    def __str__(self) -> str:
        return f"{self.case.id}: {self.kind}; skycap: {_told(self.ours)}; {self.peer}: {_told(self.theirs)}"


def compare(peer: str, ours: dict[Case, Outcome], theirs: dict[Case, Outcome]) -> list[Difference]:
    """Every case on which the two differ, in the corpus's order."""
    found = []
    for case, outcome_of_ours in ours.items():
        kind = kind_of(outcome_of_ours, theirs[case], peer)
        if kind:
            found.append(Difference(peer, case, kind, outcome_of_ours, theirs[case]))
    return found


def breaks_the_rule(difference: Difference) -> bool:
    """HAProxy refused it for its framing, and we forwarded it."""
    return (
        difference.case.framing and difference.case.kind is not Kind.RESPONSE and difference.kind == "haproxy refuses"
    )


def _told(outcome: Outcome) -> str:
    return " + ".join(outcome) or "nothing arrived"
