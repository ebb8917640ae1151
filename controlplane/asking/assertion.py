"""Whether requests really reached the code under test: a green test on the wrong code does not pass here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from controlplane.model.assertion import Judged
from proxy.base.text import counted
from proxy.contract.hops import INBOUND, Hop

SHOWN_TRACES = 3


def assert_routed(hops: Sequence[Hop], *, sandbox: str, workload: str, revision: int, requests: int) -> Judged:
    """Whether at least `requests` of these hops reached the shadow of `workload` at `revision`, with no fallback, no
    lost key and no bad answer. hops: of the sandbox's key, in the window that is judged."""
    inner = {hop.parent for hop in hops if hop.side == INBOUND}
    reached: list[Hop] = []
    elsewhere: Counter[str] = Counter()
    for hop in hops:
        if hop.workload != workload or hop.side != INBOUND or hop.id in inner:
            continue  # of two sidecars that tell of one request the inner one counts
        if hop.sandbox == sandbox and hop.revision == revision:
            reached.append(hop)
        elif hop.sandbox == sandbox:
            elsewhere[f"revision {hop.revision}"] += 1
        else:
            elsewhere[hop.reason or hop.error or "baseline"] += 1
    failed = [hop for hop in reached if hop.failed]
    lost = sum(hop.lost for hop in hops)
    objections = list(_objections(len(reached), len(failed), elsewhere, lost, workload, revision, requests))
    proof = f"{counted(len(reached), 'request')} reached revision {revision} of {workload}, and nothing else did"
    return Judged(
        holds=not objections,
        sentence=objections[0] if objections else proof,
        objections=tuple(objections),
        workload=workload,
        revision=revision,
        reached=len(reached),
        failed=len(failed),
        elsewhere=dict(elsewhere),
        lost=lost,
        traces=tuple(dict.fromkeys(hop.trace for hop in (failed or reached)[-SHOWN_TRACES:] if hop.trace)),
    )


def _objections(
    reached: int, failed: int, elsewhere: Counter[str], lost: int, workload: str, revision: int, requests: int
) -> list[str]:
    said = []
    if reached < requests:
        said.append(f"{counted(reached, 'request')} reached revision {revision} of {workload}, {requests} should have")
    said += [
        f"something else answered {counted(count, 'request')} to {workload}: {what}"
        for what, count in elsewhere.items()
    ]
    if failed:
        said.append(f"{failed} of the {counted(reached, 'request')} that reached it got no good answer")
    if lost:
        said.append(f"{counted(lost, 'call')} may have lost the key on the way")
    return said
