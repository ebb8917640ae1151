"""What a test claims about a sandbox's requests, and whether the hops bear it out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from controlplane.model.problem import Grammar, anchored
from controlplane.model.sandbox import Reported, Resource
from controlplane.model.workload import IsNumber, WorkloadName

AGO = Grammar(r"[1-9][0-9]{0,5}[smh]", "how long ago: 30s, 10m, 2h")


class Claim(Resource):
    """At least so many requests reached the shadow of a workload, and nothing about them was wrong.

    revision: that answered; the sandbox's own, when left out.
    requests: how many at least.
    since:    `10m`; the last update of the sandbox, when left out.
    """

    workload: WorkloadName
    revision: Annotated[int, Field(ge=1, le=2**53 - 1), IsNumber] | None = None
    requests: Annotated[int, Field(ge=1, le=5_000), IsNumber] = 1
    since: Annotated[str, Field(pattern=anchored(AGO))] | None = None


class Judged(Reported):
    """Whether a claim holds, and the evidence.

    sentence:  the outcome for a person.
    objections: all that speaks against it, empty when it holds.
    reached:   requests that the shadow answered at that revision; `elsewhere` went to the baseline or to another
               revision, by what they got; `failed` are those of the reached without a good answer.
    lost:      calls that may have lost the key.
    traces:    of some requests that reached it, to look at.
    """

    holds: bool
    sentence: str
    objections: tuple[str, ...] = ()
    workload: str
    revision: int
    reached: int = 0
    failed: int = 0
    elsewhere: dict[str, int] = Field(default_factory=dict)
    lost: int = 0
    traces: tuple[str, ...] = ()
