"""Whether the hops of the last moments are all there: sidecars tell of a request in turn, each within 0.1 s."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from proxy.contract.hops import INBOUND, Hop


def untold(hops: Sequence[Hop], since: float, started: Collection[str]) -> bool:
    """Whether a hop that began after `since` names a cause that nobody has told of, or came to a shadow whose own
    sidecar has not told of it.

    started: workloads whose shadow has a sidecar of its own.
    """
    ids = {hop.id for hop in hops}
    causes = {hop.parent for hop in hops if hop.side == INBOUND}
    told = {hop.id for hop in hops if hop.parent in ids}
    for hop in hops:
        if hop.time + hop.duration_ms / 1000 < since:
            continue
        if hop.parent and hop.parent not in ids:
            return True
        shadow = hop.side == INBOUND and hop.sandbox and not hop.error and hop.workload in started
        if shadow and hop.id not in causes and not _is_inner(hop, hops, told):
            return True
    return False


def _is_inner(hop: Hop, hops: Sequence[Hop], told: Collection[str]) -> bool:
    """It is the shadow's own sidecar's: its cause is the hop of the baseline's sidecar of the same workload."""
    return hop.id in told and any(each.id == hop.parent and each.workload == hop.workload for each in hops)
