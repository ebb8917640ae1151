"""Who calls whom, learned from the hops as they come: what outlives the hops themselves and the sandboxes they had.

A call is an outbound hop: its workload called its peer, an address. Who answers at an address is what an inbound hop
says that names the outbound one as its parent. The two come from two sidecars, in either order, so the halves that
wait for each other are remembered for a while.

Of each workload the best request is remembered with which it was once asked: one that somebody else can repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from proxy.contract.hops import INBOUND, OUTBOUND, Hop

MAX_CALLS = 10_000
"""Pairs of a workload and an address; the one that was quiet for longest gives way."""

MAX_WAITING = 4_096
"""Halves of calls. The other one comes within the 0.1 s of a sidecar's batch: enough for 10,000 calls/s."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(slots=True)
class Called:
    """What is known of the calls of one workload to one address. last: seconds since 1970."""

    requests: int = 0
    failed: int = 0
    last: float = 0.0
    example: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a workload answered well. rank: how well others can repeat it, more is better."""

    rank: int
    method: str
    path: str
    status: int
    time: float


class Learned:
    """What was learned since the start."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], Called] = {}
        self._answers: dict[str, str] = {}
        self._asked: dict[str, Asked] = {}
        self._went: dict[str, str] = {}
        self._came: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Learned {len(self._calls)} calls, {len(self._asked)} workloads>"

    @property
    def size(self) -> int:
        """Grows with what nobody has seen before."""
        return len(self._calls) + len(self._answers)

    @property
    def answers(self) -> Mapping[str, str]:
        """Address -> the workload that answered there last."""
        return self._answers

    @property
    def asked(self) -> Mapping[str, Asked]:
        """Workload -> a request that it answered well."""
        return self._asked

    def calls(self) -> Iterator[tuple[str, str, Called]]:
        """(workload, address that it called, what is known of that)."""
        for (workload, peer), called in self._calls.items():
            yield workload, peer, called

    def see(self, hop: Hop) -> None:
        """Learn from one hop."""
        if hop.side == OUTBOUND:
            self._call(hop)
        elif hop.side == INBOUND:
            self._answer(hop)

    def _call(self, hop: Hop) -> None:
        pair = hop.workload, hop.peer
        called = self._calls.pop(pair, None) or Called()
        called.requests += 1
        called.failed += hop.failed
        called.last = max(called.last, hop.time)
        called.example = f"{hop.method} {hop.path}"
        _keep(self._calls, pair, called, MAX_CALLS)
        workload = self._came.pop(hop.id, None)
        if workload is None:
            _keep(self._went, hop.id, hop.peer, MAX_WAITING)
        else:
            _keep(self._answers, hop.peer, workload, MAX_CALLS)

    def _answer(self, hop: Hop) -> None:
        if hop.parent:
            peer = self._went.pop(hop.parent, None)
            if peer is None:
                _keep(self._came, hop.parent, hop.workload, MAX_WAITING)
            else:
                _keep(self._answers, peer, hop.workload, MAX_CALLS)
        if hop.failed:
            return
        # One without a body is told whole by its method and path; one from outside is meant for others to send.
        rank = 2 * (not hop.request_bytes) + (not hop.parent)
        known = self._asked.get(hop.workload)
        if known is None or rank >= known.rank:
            _keep(self._asked, hop.workload, Asked(rank, hop.method, hop.path, hop.status, hop.time), MAX_CALLS)


def _keep(table: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """Put it in as the newest; the oldest gives way."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]
