"""What is learned from hops: who answers where, and a request that others can repeat."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.hops import learned
from controlplane.hops.learned import Learned
from proxy.contract.hops import INBOUND, OUTBOUND, Hop


def out(ident: str, workload: str, peer: str, status: int = 200, **more: Any) -> Hop:
    return Hop(ident, "a", workload, OUTBOUND, peer=peer, status=status, method="GET", path="/", **more)


def into(ident: str, workload: str, parent: str = "", status: int = 200, **more: Any) -> Hop:
    told = {"method": "GET", "path": "/", **more}
    return Hop(ident, "a", workload, INBOUND, parent=parent, status=status, **told)


@pytest.mark.parametrize("swapped", [False, True])
def test_who_answers_at_an_address_in_either_order(swapped: bool) -> None:
    found = Learned()
    hops = [out("1", "shop/orders", "127.0.0.1:9"), into("2", "shop/payments", "1")]
    for hop in reversed(hops) if swapped else hops:
        found.see(hop)
    assert found.answers == {"127.0.0.1:9": "shop/payments"}


def test_calls_are_counted_with_those_that_failed() -> None:
    found = Learned()
    for status, time in ((200, 5.0), (500, 3.0)):
        found.see(out("1", "shop/orders", "pay:1", status, time=time))
    ((workload, peer, called),) = found.calls()
    assert (workload, peer, called.requests, called.failed, called.last) == ("shop/orders", "pay:1", 2, 1, 5.0)


def test_the_request_that_is_told_is_one_that_others_can_repeat() -> None:
    found = Learned()
    found.see(into("1", "w", status=500, path="/broken"))
    assert not found.asked
    found.see(into("2", "w", parent="9", path="/charges", request_bytes=40))
    found.see(into("3", "w", path="/entry", request_bytes=40))
    assert found.asked["w"].path == "/entry"
    found.see(into("4", "w", parent="9", path="/whole"))
    found.see(into("5", "w", path="/late", request_bytes=40))
    assert found.asked["w"].path == "/whole"


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MAX_CALLS", 2)
    monkeypatch.setattr(learned, "MAX_WAITING", 1)
    found = Learned()
    for number in range(4):
        found.see(out(str(number), f"w{number}", "p:1"))
        found.see(into(f"a{number}", f"w{number}", parent="gone"))
    assert [workload for workload, _, _ in found.calls()] == ["w2", "w3"]
    found.see(into("late", "w9", parent="2"))
    assert found.answers == {}
    assert list(found.asked) == ["w3", "w9"]
