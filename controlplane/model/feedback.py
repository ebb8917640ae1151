"""The answer to "what happened, why, what now", as REST, the command line and MCP give it."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import Field

from controlplane.model.diff import Difference
from controlplane.model.handoff import Review
from controlplane.model.hop import Message
from controlplane.model.sandbox import Reported


class Verdict(Enum):
    """In one word, the first that fits.

    not-ready:  a fork serves nothing, so no request says anything about it.
    no-traffic: no request with the key was seen.
    misrouted:  requests that a shadow should have answered got another answer without a word, or none came to it.
    failing:    some request failed.
    lost-key:   none failed, and some call may have lost the key on its way.
    passing:    none of these.
    """

    NOT_READY = "not-ready"
    NO_TRAFFIC = "no-traffic"
    MISROUTED = "misrouted"
    FAILING = "failing"
    LOST_KEY = "lost-key"
    PASSING = "passing"


class Kind(Enum):
    """How a failure began.

    answered:       the origin answered so itself.
    contract-break: it failed right after a successful call into a shadow.
    crashed:        its connection ended before the answer did.
    timed-out:      its caller, or the sidecar, did not wait any longer.
    unreachable:    nobody accepted the connection.
    unseen:         it answered so, and has no sidecar that could tell why.
    refused:        a sidecar answered in its place.
    redirects:      it was asked for the same again and again.
    """

    ANSWERED = "answered"
    CONTRACT_BREAK = "contract-break"
    CRASHED = "crashed"
    TIMED_OUT = "timed-out"
    UNREACHABLE = "unreachable"
    UNSEEN = "unseen"
    REFUSED = "refused"
    REDIRECTS = "redirects"


class Step(Reported):
    """One call on the way from the entry to the origin.

    copy: `baseline`, `revision 3`, or `no sidecar`. time: when it began, seconds since 1970.
    """

    workload: str
    copy_: str = Field("", alias="copy")
    method: str
    path: str
    status: int
    duration_ms: float
    time: float = 0.0


class Span(Reported):
    """A window of time, seconds since 1970."""

    since: float
    until: float


class Printed(Reported):
    """What one copy wrote around the time of a failure, newest line last.

    window: within which the lines came.
    """

    workload: str
    copy_: str = Field("", alias="copy")
    lines: tuple[str, ...] = ()
    window: Span | None = None


class Suspect(Reported):
    """A shadow that answered well right before its caller failed: the two may not agree on what the answer says.

    request:         METHOD PATH.
    shadow_answer:   as it was captured, or, where that was not, as the same request is answered when it is sent again;
                     `baseline_answer` is what the baseline answers to it. Only requests that change nothing are sent
                     again.
    differs:         what the shadow's answer has otherwise, without what differs between two answers of the baseline.
    not_compared:    why the two were not compared, "" when they were.
    """

    workload: str
    revision: int
    request: str
    status: int = 200
    shadow_answer: Message | None = None
    baseline_answer: Message | None = None
    differs: tuple[Difference, ...] = ()
    not_compared: str = ""


class Failure(Reported):
    """Failures with one origin. example: the trace of the newest of them.

    called_by: whose call it was, absent for an entry.
    chain:     from the entry to the origin, so that the last of it is the origin and the first what the sender got.
    inferred:  a service without a sidecar in the chain: that it made the next call is told by trace and time alone.
    """

    kind: Kind
    sentence: str = ""
    workload: str
    copy_: str = Field("", alias="copy")
    called_by: str | None = None
    method: str
    path: str
    status: int
    error: str = ""
    request: Message | None = None
    response: Message | None = None
    chain: tuple[Step, ...] = ()
    output: tuple[Printed, ...] = ()
    suspect: Suspect | None = None
    count: int = 1
    example: str = ""
    inferred: str = ""


class Reached(Reported):
    """Requests to one fork's workload: how many its shadow answered, how many went elsewhere, by reason."""

    workload: str
    shadow: int = 0
    elsewhere: dict[str, int] = Field(default_factory=dict)


class Routing(Reported):
    """requests: that came in at an entry with the key."""

    requests: int = 0
    forks: tuple[Reached, ...] = ()


class LostKey(Reported):
    """Calls that may have lost the key.

    todo:  in the language of that service, as far as that is known.
    trace: of the newest of them, "" when it had none.
    """

    workload: str
    calling: str
    example: str
    trace: str = ""
    count: int = 1
    todo: str


class NextAction(Reported):
    """One thing to do now: a tool of the MCP server with its arguments, and the same as a command."""

    tool: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    command: str = ""
    why: str


class Feedback(Reported):
    """unknown: what could not be told, and why. reviews: what reviewers said, the newest last."""

    sandbox: str
    revision: int
    verdict: Verdict
    summary: str
    failures: tuple[Failure, ...] = ()
    routing: Routing
    lost_keys: tuple[LostKey, ...] = ()
    next_actions: tuple[NextAction, ...] = ()
    unknown: tuple[str, ...] = ()
    reviews: tuple[Review, ...] = ()
