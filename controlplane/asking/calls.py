"""The calls of one trace, for a person.

All hops of a call are one: its caller's outbound, its callee's inbound, and, where the baseline's sidecar sent it to a
shadow, that shadow's inbound.

POST /checkout            500   41 ms  shop/frontend;baseline
└─ POST /orders           500   38 ms  shop/orders;baseline
   ├─ GET /users/ada      200    3 ms  shop/users;sandbox=agent-42;rev=3
   └─ POST /charge        402    2 ms  shop/payments;baseline
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from proxy.contract.hops import INBOUND, OUTBOUND, Hop


@dataclass(slots=True)
class Call:
    """One request that some service made of another, or that came in from outside.

    sent:     as its caller's sidecar saw it; None for an entry, and where the caller's sidecar did not tell.
    served:   as the called one's saw it; None where there is no sidecar, or nobody was reached.
    detached: it names a cause that is not there.
    """

    sent: Hop | None = None
    served: Hop | None = None
    detached: bool = False
    made: list[Call] = field(default_factory=list)

    @property
    def hop(self) -> Hop:
        """The nearest to who answered."""
        hop = self.served or self.sent
        assert hop is not None
        return hop

    @property
    def failed(self) -> bool:
        return self.hop.failed

    @property
    def who(self) -> str:
        """Who answered, as `skycap-served-by` writes it; for somebody without a sidecar, where the call went."""
        hop, stub = self.hop, self.hop.stub
        if self.served is None:
            return f"{hop.peer or 'somebody'}{f';stub={stub}' if stub else ' (no sidecar told of it)'}"
        whose = f";sandbox={self.hop.sandbox};rev={self.hop.revision}" if self.hop.sandbox else ";baseline"
        if stub:
            whose = f";stub={stub}" if hop.decision == "stub" else f"{whose};stub={stub}"
        return f"{self.hop.workload}{whose}"

    @property
    def remarks(self) -> list[str]:
        """What is not as usual about it."""
        hop = self.hop
        said = [
            hop.error,
            hop.reason,
            "its key may be lost" if hop.lost else "",
            "no cause known" if self.detached else "",
        ]
        return [remark for remark in said if remark]

    def document(self) -> dict[str, Any]:
        """The stable JSON shape."""
        hop = self.hop
        return {
            "method": hop.method,
            "path": hop.path,
            "status": hop.status,
            "grpcStatus": hop.grpc_status,
            "durationMs": hop.duration_ms,
            "workload": self.served.workload if self.served else None,
            "sandbox": hop.sandbox or None,
            "revision": hop.revision or None,
            "caller": self.sent.workload if self.sent else None,
            "peer": self.sent.peer or None if self.sent else None,
            "error": hop.error or None,
            "reason": hop.reason or None,
            "lost": hop.lost,
            "detached": self.detached,
            "made": [call.document() for call in self.made],
        }


class Placed(NamedTuple):
    """A hop and where it stands in the tree of its trace. detached: it names a parent that is not there."""

    depth: int
    hop: Hop
    detached: bool = False


def calls(hops: Iterable[Placed]) -> list[Call]:
    """The calls that the hops of a trace are. hops: in the order of the tree."""
    tops: list[Call] = []
    above: list[Call] = []
    for depth, hop, detached in hops:
        del above[depth:]
        parent = above[-1] if above else None
        if hop.side == INBOUND and parent is not None and _same_call(parent, hop):
            parent.served = hop
            above.append(parent)
            continue
        call = Call(hop if hop.side == OUTBOUND else None, hop if hop.side == INBOUND else None, detached)
        (parent.made if parent is not None else tops).append(call)
        above.append(call)
    return tops


def _same_call(call: Call, hop: Hop) -> bool:
    """Whether an inbound hop below a call is the same call, further in."""
    before = call.served
    return before is None or (before.workload == hop.workload and before.sandbox == hop.sandbox != "" and not call.made)


@dataclass(frozen=True, slots=True)
class Line:
    """A call and where it stands: `branch` is what is drawn before it."""

    branch: str
    call: Call


def drawn(tops: Sequence[Call]) -> list[Line]:
    """The calls from top to bottom, with the branches of their tree."""
    lines: list[Line] = []
    waiting = [("", "", call) for call in reversed(tops)]
    while waiting:
        branch, indent, call = waiting.pop()
        lines.append(Line(branch, call))
        last = len(call.made) - 1
        waiting += [
            (
                f"{indent}{'└─ ' if number == last else '├─ '}",
                f"{indent}{'   ' if number == last else '│  '}",
                made,
            )
            for number, made in reversed(list(enumerate(call.made)))
        ]
    return lines
