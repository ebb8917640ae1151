"""Every way in which the registry says no to a request that is well formed. The API gives each its status."""

from __future__ import annotations

from controlplane.model.problem import FieldProblem


class Refusal(Exception):  # noqa: N818 (it is an answer, not a fault of the program)
    """`str()` is one sentence for a person."""


class NotFound(Refusal):
    """There is nothing of that name."""


class Conflict(Refusal):
    """What is asked for contradicts what is there. `problems` names the fields."""

    def __init__(self, problem: FieldProblem) -> None:
        super().__init__(f"{problem.path}: {problem.message}")
        self.problems = [problem]


class TooMany(Refusal):
    """A collection is full."""


class Closing(Refusal):
    """The registry is shutting down."""
