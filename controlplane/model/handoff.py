"""What is shared of a sandbox: links into it, what speaks for it, and the words that come back.

It is kept beside the sandbox and not in it: to hand out a link changes nothing of what runs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from controlplane.model.problem import NAME, anchored
from controlplane.model.sandbox import Name, Reported, Resource, Timestamp, Ttl
from controlplane.model.workload import IsNumber, WorkloadName
from proxy.contract.previews import MAX_NAME

MAX_LINK_SECONDS = 7 * 86400
"""A week: a review that takes longer gets a new link."""

MAX_LINKS_OF_ONE = 64
MAX_REVIEWS = 200
MAX_EVIDENCE = 50
"""Of one sandbox. The newest are kept of what speaks for it; the oldest words are not thrown away for new ones."""

PreviewName = Annotated[str, StringConstraints(pattern=anchored(NAME), max_length=MAX_NAME)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=4000, strip_whitespace=True)]


class PreviewRequest(Resource):
    """A link that somebody wants.

    name:     a part of the link's host; the workload's name, when left out.
    workload: where the browser enters; the one that no other calls, when left out.
    ttl:      7d at most, and never longer than the sandbox; as long as it may, when left out.
    login:    token: whoever follows the link is asked for a second secret, which is told once, with the link.
    note:     what to look at, for the reviewer.
    group:    a route group that the sandbox is in, whose key the browser's requests get: they meet the changes of all.
    """

    name: PreviewName | None = None
    workload: WorkloadName | None = None
    ttl: Ttl | None = None
    login: Literal["token"] | None = None
    note: Words | None = None
    group: Name | None = None


class PreviewStatus(Reported):
    """A link as it is told.

    id:       names it to whoever revokes it.
    url:      of the application; absent where it is not known any more, because only its hash outlives the registry.
    handoff:  of the page about the change.
    password: the second secret, once.
    """

    id: str
    name: str
    workload: str
    created: Timestamp
    expires: Timestamp
    login: bool = False
    note: str | None = None
    group: str | None = None
    url: str | None = None
    handoff: str | None = None
    password: str | None = None


class ReviewRequest(Resource):
    """What a reviewer says.

    verdict: approved, or changes are wanted, or neither.
    """

    text: Words
    author: Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)] = ""
    verdict: Literal["approved", "changes", "comment"] = "comment"


class Review(Reported):
    """What a reviewer has said. preview: the name of the link that it came by, "" for none."""

    id: Annotated[int, IsNumber]
    time: Timestamp
    revision: Annotated[int, IsNumber]
    text: str
    author: str = ""
    verdict: Literal["approved", "changes", "comment"] = "comment"
    preview: str = ""


class EvidenceRequest(Resource):
    """What somebody ran against a sandbox, and how it ended.

    title:    the command, or what it shows.
    passed:   whether it bears the change out.
    sentence: the outcome in words.
    detail:   the end of what it printed, and the like.
    traces:   of requests to look at.
    """

    title: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    passed: bool
    sentence: Annotated[str, StringConstraints(max_length=1000)] = ""
    detail: Annotated[str, StringConstraints(max_length=8000)] = ""
    traces: Annotated[tuple[Annotated[str, StringConstraints(max_length=256)], ...], Field(max_length=10)] = ()


class Evidence(Reported):
    """The same as it is kept. kind: an assertion that the registry judged, or a run that was reported to it."""

    kind: Literal["assertion", "run"]
    time: Timestamp
    revision: Annotated[int, IsNumber]
    title: str
    passed: bool
    sentence: str = ""
    detail: str = ""
    traces: tuple[str, ...] = ()


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True)


class StoredLink(_Stored):
    """hash: of its token. login: hash of the second secret. declared: the sandbox's spec names it. group: whose key
    its requests get instead of the sandbox's, "" for none."""

    hash: str
    name: str
    workload: str
    created: datetime
    expires: datetime
    login: str = ""
    note: str = ""
    declared: bool = False
    group: str = ""

    @property
    def id(self) -> str:
        return self.hash[:12]


class Handoff(_Stored):
    """All that is shared of one sandbox, as it is stored. said: how many reviews there have been."""

    sandbox: str
    links: tuple[StoredLink, ...] = ()
    reviews: tuple[Review, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    said: int = 0
