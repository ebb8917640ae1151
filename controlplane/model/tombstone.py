"""What is remembered of a routing key when its sandbox has ended.

Without it the key would lead to the baseline from then on, and a test that goes on with it would be green for no
reason. So its requests are refused for KEPT_SECONDS more, unless somebody else takes the key.
"""

from __future__ import annotations

from datetime import UTC, datetime

from controlplane.model.desired import Part
from proxy.contract.routes import OnUnavailable, Route, State

KEPT_SECONDS = 86400.0
"""A day: a test run that goes on over night, and the morning after."""

MAX_OF_ONE = 16
"""Of one sandbox's name, which may have had many keys; the oldest is forgotten."""


class Tombstone(Part):
    """forks: the workloads that were forked, each with its last revision.
    why:   to stand behind "the sandbox has ended: ".
    """

    key: str
    forks: tuple[tuple[str, int], ...]
    ended: datetime
    why: str
    on_unavailable: OnUnavailable

    def routes(self, sandbox: str, policy: OnUnavailable) -> list[Route]:
        """One for each workload. policy: of the installation; who asked for the baseline gets it all the same."""
        since = self.ended.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        on_unavailable = policy if policy is OnUnavailable.BASELINE else self.on_unavailable
        return [
            Route(workload, self.key, (), sandbox, revision, State.ENDED, on_unavailable, since, self.why)
            for workload, revision in self.forks
        ]
