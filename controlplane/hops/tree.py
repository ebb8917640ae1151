"""The tree that the hops of one trace are.

A hop names its parent, so nothing is guessed: an inbound hop's parent is the outbound hop of its caller, an outbound
hop's is the inbound hop whose call it is. A hop whose parent is not there (its sidecar has not told yet, or was not
heard) stands at the top, marked as `detached`. Calls stand in the order in which they began.

    inbound frontend 500
      outbound -> orders 500
        inbound orders 500
          outbound -> payments 402
            inbound payments 402        <- the origin: it failed, and nothing that it called did
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from proxy.contract.hops import INBOUND, OUTBOUND, Hop


@dataclass(slots=True)
class Node:
    """A hop and what it caused. `detached`: it names a parent that is not there."""

    hop: Hop
    children: list[Node] = field(default_factory=list)
    detached: bool = False

    def __repr__(self) -> str:
        return f"<Node {self.hop.side} {self.hop.workload} {self.hop.status}, {len(self.children)} below>"

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """This node and all below it, each with its depth, a call before what it caused."""
        waiting = [(depth, self)]
        while waiting:
            level, node = waiting.pop()
            yield level, node
            waiting.extend((level + 1, child) for child in reversed(node.children))


def grow(hops: Iterable[Hop]) -> list[Node]:
    """The trees of some hops, by the time at which they began. Hops that come twice count once."""
    nodes = {hop.id: Node(hop) for hop in hops}
    circles = _circles(nodes)
    tops: list[Node] = []
    for node in sorted(nodes.values(), key=lambda node: node.hop.time):
        parent = nodes.get(node.hop.parent)
        if parent is None or node.hop.id in circles:
            node.detached = bool(node.hop.parent)
            tops.append(node)
        else:
            parent.children.append(node)
    return tops


def origins(tops: Sequence[Node]) -> list[list[Node]]:
    """Where failures began: each the way from the entry to the deepest hop that failed while everything that it called
    succeeded, or that could not be reached. The two hops of one call count as one: the inbound one is the origin."""
    found: list[list[Node]] = []
    for top in tops:
        way: list[Node] = []
        for depth, node in top.walk():
            del way[depth:]
            way.append(node)
            if node.hop.failed and not any(child.hop.failed for child in node.children):
                found.append(list(way))
    return found


def entry(way: Sequence[Node]) -> Hop:
    """The hop at which a way begins."""
    return way[0].hop


def unseen(node: Node) -> bool:
    """A call that went out and was answered by somebody whose own sidecar said nothing: there is none, or not yet."""
    hop = node.hop
    return hop.side == OUTBOUND and bool(hop.status) and not hop.error and not node.children


def served_by_shadow(hop: Hop) -> bool:
    return hop.side == INBOUND and bool(hop.sandbox)


def _circles(nodes: dict[str, Node]) -> set[str]:
    """One hop of each circle of parents: ids are the senders', so there may be some. A circle is opened there."""
    opened: set[str] = set()
    done: set[str] = set()
    for ident in nodes:
        way: dict[str, None] = {}
        while ident in nodes and ident not in done and ident not in way:
            way[ident] = None
            ident = nodes[ident].hop.parent
        if ident in way:
            opened.add(ident)
        done.update(way)
    return opened
