"""The hops of a trace as calls, and the calls as a drawing."""

from __future__ import annotations

from typing import Any

from controlplane.asking.calls import Call, Placed, calls, drawn
from proxy.contract.hops import Hop


def hop(depth: int, workload: str, side: str, status: int = 200, detached: bool = False, **more: Any) -> Placed:
    fields = {"method": "GET", "path": f"/{workload}", **more}
    return Placed(depth, Hop("0" * 16, "a", f"shop/{workload}", side, status=status, **fields), detached)


CHAIN = [
    hop(0, "front", "inbound", 500, method="POST", path="/checkout"),
    hop(1, "front", "outbound", 500, peer="orders:80"),
    hop(2, "orders", "inbound", 500),
    hop(3, "orders", "outbound", peer="users:80"),
    hop(4, "users", "inbound", sandbox="a", revision=3),
    hop(3, "orders", "outbound", 502, peer="gone:80", error="app-unreachable"),
    hop(1, "front", "outbound", 204, peer="mail:80"),
]


def shown(tops: list[Call]) -> list[str]:
    return [f"{line.branch}{line.call.hop.status} {line.call.who}" for line in drawn(tops)]


def test_the_two_hops_of_a_call_are_one_line() -> None:
    assert shown(calls(CHAIN)) == [
        "500 shop/front;baseline",
        "├─ 500 shop/orders;baseline",
        "│  ├─ 200 shop/users;sandbox=a;rev=3",
        "│  └─ 502 gone:80 (no sidecar told of it)",
        "└─ 204 mail:80 (no sidecar told of it)",
    ]


def test_a_call_knows_both_of_its_ends() -> None:
    (front,) = calls(CHAIN)
    orders = front.made[0]
    assert orders.sent is not None
    assert orders.served is not None
    assert (orders.sent.workload, orders.served.workload) == ("shop/front", "shop/orders")
    assert [call.failed for call in (front, orders, *orders.made)] == [True, True, False, True]
    assert orders.made[1].remarks == ["app-unreachable"]


def test_a_call_whose_cause_is_not_there_says_so() -> None:
    (call,) = calls([hop(0, "users", "inbound", detached=True, reason="unsynced", lost=True)])
    assert call.remarks == ["unsynced", "its key may be lost", "no cause known"]


def test_a_call_that_the_baseline_sidecar_sent_to_a_shadow_is_one_line() -> None:
    shadow: dict[str, Any] = {"sandbox": "a", "revision": 1}
    (entry,) = calls([hop(0, "users", "inbound", **shadow), hop(1, "users", "inbound", **shadow)])
    assert shown([entry]) == ["200 shop/users;sandbox=a;rev=1"]


def test_a_request_that_an_application_forwards_to_itself_is_two_lines() -> None:
    (entry,) = calls([hop(0, "users", "inbound"), hop(1, "users", "inbound")])
    assert shown([entry]) == ["200 shop/users;baseline", "└─ 200 shop/users;baseline"]


def test_the_document_is_nested() -> None:
    (front,) = calls(CHAIN)
    document = front.document()
    assert document["caller"] is None
    assert [made["peer"] for made in document["made"]] == ["orders:80", "mail:80"]
    assert document["made"][0]["made"][0] == {
        "method": "GET", "path": "/users", "status": 200, "grpcStatus": None, "durationMs": 0.0,
        "workload": "shop/users", "sandbox": "a", "revision": 3, "caller": "shop/orders", "peer": "users:80",
        "error": None, "reason": None, "lost": False, "detached": False, "made": [],
    }  # fmt: skip
