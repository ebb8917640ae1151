"""The map: what is declared, what was seen, and a request that works."""

from __future__ import annotations

from typing import Any

from controlplane.asking.service_map import chart
from controlplane.hops.learned import Learned
from controlplane.model.service_map import Service, ServiceMap
from controlplane.model.workload import Readiness, Upstream, Workload
from proxy.contract.hops import INBOUND, OUTBOUND, Hop
from proxy.contract.routes import State
from tests.controlplane.sandboxes import sandbox

ORDERS = Workload(
    workload="shop/orders",
    address="127.0.0.1:1001",
    command=("python", "orders.py"),
    upstreams=(Upstream(name="payments", workload="shop/payments", address="127.0.0.1:1002"),),
    readiness=Readiness(path="/health"),
)
PAYMENTS = Workload(workload="shop/payments", address="127.0.0.1:1002")


def learned(*hops: Hop) -> Learned:
    found = Learned()
    for hop in hops:
        found.see(hop)
    return found


def call(workload: str, peer: str, **more: Any) -> Hop:
    told = {"method": "POST", "path": "/charges", "status": 200, "time": 5.0, **more}
    return Hop("1", "a", workload, OUTBOUND, peer=peer, **told)


def service(found: ServiceMap, name: str) -> Service:
    return next(one for one in found.services if one.workload == name)


def test_before_any_request_it_tells_what_is_declared() -> None:
    found = chart([], [ORDERS, PAYMENTS], [], {"shop/orders": 1}, Learned())
    orders, payments = service(found, "shop/orders"), service(found, "shop/payments")
    (calls,) = orders.calls
    assert (calls.workload, calls.declared, calls.requests, calls.last) == ("shop/payments", True, 0, None)
    assert [one.workload for one in payments.called_by] == ["shop/orders"]
    assert orders.example is not None
    assert orders.example.command == "skycap request KEY http://127.0.0.1:1001/health"
    assert not orders.example.seen
    assert payments.example is None
    assert (orders.sidecars, payments.sidecars) == (1, 0)


def test_what_was_seen_stands_beside_what_is_declared() -> None:
    entry = Hop("9", "a", "shop/orders", INBOUND, method="POST", path="/orders?x=1&y", status=201)
    seen = learned(call("shop/orders", "127.0.0.1:1002"), call("shop/orders", "127.0.0.1:1002", status=500), entry)
    orders = service(chart([], [ORDERS, PAYMENTS], [], {}, seen), "shop/orders")
    (calls,) = orders.calls
    assert (calls.workload, calls.declared, calls.requests, calls.failed) == ("shop/payments", True, 2, 1)
    assert calls.example == "POST /charges"
    assert orders.example is not None
    assert orders.example.command == "skycap request -X POST KEY 'http://127.0.0.1:1001/orders?x=1&y'"
    assert (orders.example.seen, orders.example.status) == (True, 201)


def test_whom_nobody_registered_is_known_by_where_it_answered() -> None:
    answered = Hop("2", "a", "team/ledger", INBOUND, parent="1", method="GET", path="/x", status=200)
    found = chart([], [PAYMENTS], [], {}, learned(call("shop/payments", "ledger:80"), answered))
    ledger = service(found, "team/ledger")
    assert (ledger.baseline, ledger.address) == (False, "ledger:80")
    assert [one.workload for one in ledger.called_by] == ["shop/payments"]
    assert ledger.example is not None
    assert ledger.example.url == "http://ledger:80/x"


def test_somebody_without_a_sidecar_is_an_address() -> None:
    found = chart([], [PAYMENTS], [], {}, learned(call("shop/payments", "db:5432")))
    (calls,) = service(found, "shop/payments").calls
    assert (calls.workload, calls.address) == (None, "db:5432")
    assert [one.workload for one in found.services] == ["shop/payments"]


def test_the_gateway_is_no_service() -> None:
    seen = learned(call("skycap/gateway", "127.0.0.1:1002"))
    found = chart(["skycap/gateway"], [PAYMENTS], [], {"skycap/gateway": 1}, seen)
    assert [one.workload for one in found.services] == ["shop/payments"]
    assert found.services[0].called_by == ()


def test_two_addresses_of_one_service_are_one_way() -> None:
    seen = learned(call("shop/orders", "127.0.0.1:1002", time=9.0), call("shop/orders", "other:1", time=2.0))
    seen.see(Hop("5", "a", "shop/payments", INBOUND, parent="6", status=200))
    seen.see(call("shop/orders", "other:1", time=3.0))
    seen.see(Hop("7", "a", "shop/payments", INBOUND, parent="1", status=200))
    (calls,) = service(chart([], [ORDERS, PAYMENTS], [], {}, seen), "shop/orders").calls
    assert (calls.requests, calls.address) == (3, "127.0.0.1:1002")
    assert calls.last is not None
    assert calls.last.timestamp() == 9.0


def test_who_forks_it_now() -> None:
    found = chart([], [], [sandbox("agent-42")], {}, Learned())
    (fork,) = service(found, "shop/users").forks
    assert (fork.sandbox, fork.routing_key, fork.state) == ("agent-42", "agent-42", State.PENDING)


def test_what_a_cluster_runs_can_be_forked_although_nobody_registered_it() -> None:
    found = chart(["shop/orders"], [], [], {}, Learned(), ["shop/users"])
    assert (service(found, "shop/users").baseline, service(found, "shop/orders").baseline) == (True, False)
