"""What a sandbox changes and what speaks for it: what a reviewer reads, as a page, as Markdown, as JSON."""

from __future__ import annotations

from controlplane.model.feedback import Verdict
from controlplane.model.handoff import Evidence, PreviewStatus, Review
from controlplane.model.hop import Trace
from controlplane.model.push import PushedFile
from controlplane.model.sandbox import Phase, Reported, Timestamp


class Change(Reported):
    """One fork.

    differences: from its baseline, in words; files: those that were pushed.
    message:     why it does not serve what is wanted, "" when it does.
    """

    workload: str
    state: str
    revision: int
    differences: tuple[str, ...] = ()
    files: tuple[PushedFile, ...] = ()
    message: str = ""


class Report(Reported):
    """note: what to look at, in the words of whoever made the newest link. sample: one request that a shadow answered.

    verdict, summary: of the traffic since the last update, as feedback has them.
    """

    sandbox: str
    routing_key: str
    phase: Phase
    revision: int
    updated: Timestamp
    expires: Timestamp
    owner: str | None = None
    description: str | None = None
    note: str | None = None
    verdict: Verdict
    summary: str
    requests: int = 0
    changes: tuple[Change, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    sample: Trace | None = None
    reviews: tuple[Review, ...] = ()
    previews: tuple[PreviewStatus, ...] = ()
