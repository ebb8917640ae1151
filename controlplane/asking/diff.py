"""Which recorded requests tell how a shadow differs from its baseline, and the outcome in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from controlplane.asking.compare import in_words
from controlplane.asking.replay import SAFE
from controlplane.model.diff import Compared, Diff
from proxy.contract.hops import INBOUND, Hop


class Recorded(NamedTuple):
    """requests: one hop for each different request, the newest first. skipped: how many were not taken, by why."""

    requests: list[Hop]
    skipped: dict[str, int]


def recorded(hops: Sequence[Hop], workloads: Collection[str], path: str, limit: int) -> Recorded:
    """The safe requests to the forked workloads among some hops.

    Of several hops of one request the one that has its header fields is taken.
    """
    found: dict[tuple[str, str, str], Hop] = {}
    skipped: Counter[str] = Counter()
    for hop in reversed(hops):
        if hop.side != INBOUND or hop.workload not in workloads or not hop.path.startswith(path):
            continue
        if hop.method not in SAFE:
            skipped[f"{hop.method} may change something"] += 1
            continue
        request = (hop.workload, hop.method, hop.path)
        if request not in found or (found[request].request is None and hop.request is not None):
            found[request] = hop
    if len(found) > limit:
        skipped["more than were asked for"] = len(found) - limit
    return Recorded(list(found.values())[:limit], dict(skipped))


def outcome(sandbox: str, revision: int, compared: Sequence[Compared], skipped: dict[str, int]) -> Diff:
    different = [one for one in compared if one.differs]
    problems = [one for one in compared if one.problem]
    return Diff(
        sandbox=sandbox,
        revision=revision,
        same=bool(compared) and not different and not problems,
        sentence=_sentence(compared, different, problems, skipped),
        compared=tuple(compared),
        skipped=skipped,
    )


def _sentence(
    compared: Sequence[Compared], different: Sequence[Compared], problems: Sequence[Compared], skipped: Iterable[str]
) -> str:
    if not compared:
        why = f" ({', '.join(skipped)})" if skipped else ""
        return f"no request was recorded that could be sent again{why}: send some with the sandbox's key first"
    failed = f"; {len(problems)} could not be compared: {problems[0].problem}" if problems else ""
    if not different:
        good = len(compared) - len(problems)
        return f"{good} of {len(compared)} requests are answered as the baseline answers them{failed}"
    first = different[0]
    words = in_words(first.differs)
    return f"{len(different)} of {len(compared)} requests are answered differently: {first.request} {words}{failed}"
