"""How a shadow's answers differ from the baseline's: what is asked, and what was found."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from pydantic import Field

from controlplane.model.problem import AGO, anchored
from controlplane.model.sandbox import Reported, Resource
from controlplane.model.workload import IsNumber, WorkloadName

MAX_REQUESTS = 50
"""Replayed for one diff, each three times."""


class Change(Enum):
    """What the shadow's answer has otherwise: a field that is missing, one that is new, another type, another value."""

    REMOVED = "removed"
    ADDED = "added"
    TYPE = "type"
    VALUE = "value"


class Difference(Reported):
    """One place in which two answers differ.

    path:   `status`, `headers.content-type`, `body` or a place in a JSON body: `body.items[0].price`.
    shadow, baseline: what each of them has there, bounded; absent where it has nothing.
    """

    path: str
    change: Change
    baseline: Any = None
    shadow: Any = None


class DiffQuery(Resource):
    """Which recorded requests are sent again to baseline and shadow.

    workload: one fork of the sandbox; all of them when left out.
    path:     only requests whose path begins so.
    since:    `10m`; the last update of the sandbox, when left out.
    requests: how many different ones at most, the newest.
    """

    workload: WorkloadName | None = None
    path: Annotated[str, Field(max_length=1024)] | None = None
    since: Annotated[str, Field(pattern=anchored(AGO))] | None = None
    requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS), IsNumber] = 10


class Compared(Reported):
    """One request as baseline and shadow answer it.

    differs:  what the shadow has otherwise.
    noise:    paths that differ between two answers of the baseline as well, which says nothing about the shadow.
    problem:  why it could not be compared, "" when it was.
    headers:  the recorded header fields were sent with it: without them, what a request needs to be let in is missing.
    """

    workload: str
    request: str
    trace: str = ""
    headers: bool = False
    baseline_status: int = 0
    shadow_status: int = 0
    differs: tuple[Difference, ...] = ()
    noise: tuple[str, ...] = ()
    problem: str = ""


class Diff(Reported):
    """sentence: the outcome for a person. skipped: recorded requests that were not sent again, by why."""

    sandbox: str
    revision: int
    same: bool
    sentence: str
    compared: tuple[Compared, ...] = ()
    skipped: dict[str, int] = Field(default_factory=dict)
