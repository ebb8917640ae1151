"""Which sandboxes of a list are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.model.desired import Desired


@dataclass(frozen=True, slots=True)
class Selection:
    """All that is said has to be so; "" and nothing mean: whatever it is.

    owner:       exactly.
    labels:      each with this value.
    description: is a part of the description, in whichever case.
    workload:    is forked.
    """

    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    workload: str = ""

    def takes(self, wanted: Desired) -> bool:
        metadata = wanted.metadata
        labels = (metadata.labels if metadata else None) or {}
        told = (metadata.description if metadata else None) or ""
        return (
            (not self.owner or (metadata is not None and metadata.owner == self.owner))
            and self.labels.items() <= labels.items()
            and self.description.casefold() in told.casefold()
            and (not self.workload or any(fork.workload == self.workload for fork in wanted.spec.forks))
        )
