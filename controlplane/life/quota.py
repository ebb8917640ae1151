"""How many sandboxes there may be, of all and of one owner."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from controlplane.life.refusals import TooMany
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Metadata

MAX_SANDBOXES = 100_000
"""As many keys as one table is measured with."""


@dataclass(frozen=True, slots=True)
class Quota:
    """sandboxes: at most; per_owner: of each, None for no limit. What is being deleted counts until it is gone."""

    sandboxes: int = MAX_SANDBOXES
    per_owner: int | None = None

    def missing(self, metadata: Metadata) -> list[FieldProblem]:
        """With a limit for each owner, nobody is without a name."""
        if self.per_owner is None or metadata.owner:
            return []
        message = "is required: this registry limits how many sandboxes each owner has"
        return [FieldProblem(path="metadata.owner", message=message)]

    def check(self, metadata: Metadata, others: Collection[Metadata | None]) -> None:
        """Before one more sandbox is there, or has this owner. others: of all the others. Raises TooMany."""
        if len(others) >= self.sandboxes:
            raise TooMany(f"there are {len(others)} sandboxes, which is the limit: delete one, or wait until one ends")
        if self.per_owner is None:
            return
        mine = sum(other is not None and other.owner == metadata.owner for other in others)
        if mine >= self.per_owner:
            have = f"{metadata.owner!r} has {mine} sandbox{'es' if mine != 1 else ''}"
            raise TooMany(f"{have}, which is the limit of each owner: delete one, or wait until one ends")
