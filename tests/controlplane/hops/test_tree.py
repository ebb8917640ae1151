"""Hops of a trace as a tree, and where a failure began."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controlplane.hops.tree import Node, grow, origins, unseen
from proxy.contract.hops import INBOUND, OUTBOUND, Hop


def hop(name: str, parent: str = "", side: str = INBOUND, status: int = 200, time: float = 0.0, **more: Any) -> Hop:
    return Hop(name, "a", f"shop/{name.strip('>')}", side, parent=parent, status=status, time=time, **more)


def drawn(tops: list[Node]) -> list[str]:
    return [f"{'  ' * depth}{node.hop.id}" for top in tops for depth, node in top.walk()]


CHAIN = [
    hop("front", status=500),
    hop(">orders", "front", OUTBOUND, status=500, time=1),
    hop("orders", ">orders", status=500, time=2),
    hop(">users", "orders", OUTBOUND, time=3),
    hop("users", ">users", time=4),
    hop(">pay", "orders", OUTBOUND, status=402, time=5),
    hop("pay", ">pay", status=402, time=6),
]


def test_hops_in_any_order_make_the_same_tree() -> None:
    expected = ["front", "  >orders", "    orders", "      >users", "        users", "      >pay", "        pay"]
    assert drawn(grow(CHAIN)) == expected
    assert drawn(grow(reversed(CHAIN))) == expected
    assert drawn(grow(CHAIN + CHAIN)) == expected


def test_the_origin_is_the_deepest_that_failed_while_its_calls_succeeded() -> None:
    (way,) = origins(grow(CHAIN))
    assert [node.hop.id for node in way] == ["front", ">orders", "orders", ">pay", "pay"]


def test_two_failures_have_two_origins() -> None:
    broken = [replace(item, status=500) for item in CHAIN]
    assert [way[-1].hop.id for way in origins(grow(broken))] == ["users", "pay"]


def test_a_call_that_reached_nobody_is_an_origin_itself() -> None:
    hops = [hop("front", status=502), hop(">gone", "front", OUTBOUND, status=502, error="app-unreachable", time=1)]
    (way,) = origins(grow(hops))
    assert way[-1].hop.id == ">gone"
    assert not unseen(way[-1])


def test_a_call_answered_without_a_sidecar_is_told_apart() -> None:
    (top,) = grow([hop(">bare", side=OUTBOUND, status=404)])
    assert unseen(top)
    assert not unseen(grow(CHAIN)[0])


def test_a_parent_that_is_missing_leaves_a_top_that_says_so() -> None:
    tops = grow([hop("late", parent="unheard"), hop("entry", time=1)])
    assert [(top.hop.id, top.detached) for top in tops] == [("late", True), ("entry", False)]


def test_a_circle_of_parents_loses_no_hop() -> None:
    tops = grow([hop("a", parent="b"), hop("b", parent="a", time=1), hop("c", parent="c", time=2)])
    assert sorted(line.strip() for line in drawn(tops)) == ["a", "b", "c"]


def test_a_deep_chain_is_walked_without_recursion() -> None:
    hops = [hop(f"h{number}", parent=f"h{number - 1}", time=number) for number in range(5_000)]
    (top,) = grow(hops)
    assert max(depth for depth, _ in top.walk()) == 4_999
