"""A claim holds when the code under test really answered, and nothing speaks against it."""

from __future__ import annotations

from typing import Any

from controlplane.asking.assertion import assert_routed
from controlplane.model.assertion import Judged
from tests.controlplane.asking.test_feedback import NAME, SHADOW, Chain


def judged(*chains: Chain, **claim: Any) -> Judged:
    hops = [hop for chain in chains for hop in chain.hops]
    known = {"sandbox": NAME, "workload": "shop/users", "revision": 3, "requests": 1, **claim}
    return assert_routed(hops, **known)


def good(trace: str = "t") -> Chain:
    return Chain(trace).entry("shop/front", 200).call("shop/front", "shop/users", 200, **SHADOW)


def test_it_holds() -> None:
    found = judged(good("t1"), good("t2"), requests=2)
    assert (found.holds, found.reached, found.traces) == (True, 2, ("t1", "t2"))
    assert found.sentence == "2 requests reached revision 3 of shop/users, and nothing else did"


def test_too_few() -> None:
    found = judged(good(), requests=2)
    assert not found.holds
    assert found.sentence == "1 request reached revision 3 of shop/users, 2 should have"


def test_another_revision_is_other_code() -> None:
    found = judged(good(), revision=4)
    assert found.objections == (
        "0 requests reached revision 4 of shop/users, 1 should have",
        "something else answered 1 request to shop/users: revision 3",
    )


def test_a_fallback_is_other_code() -> None:
    fallen = {"decision": "fallback", "reason": "shadow-unreachable"}
    found = judged(good(), Chain("x").entry("shop/users", 200, **fallen))
    assert (found.holds, found.elsewhere) == (False, {"shadow-unreachable": 1})


def test_the_baseline_is_other_code() -> None:
    found = judged(good(), Chain("x").entry("shop/users", 200, decision="baseline"))
    assert (found.holds, found.elsewhere) == (False, {"baseline": 1})


def test_a_bad_answer_speaks_against_it() -> None:
    found = judged(good(), Chain("x").entry("shop/users", 500, **SHADOW))
    assert (found.holds, found.failed, found.traces) == (False, 1, ("x",))
    assert found.sentence == "1 of the 2 requests that reached it got no good answer"


def test_a_lost_key_speaks_against_it() -> None:
    chain = good().back()
    chain.out("shop/front", "catalog:80", 200, lost=True)
    found = judged(chain)
    assert (found.holds, found.sentence) == (False, "1 call may have lost the key on the way")


def test_a_shadow_whose_own_sidecar_tells_as_well_is_counted_once() -> None:
    chain = Chain().entry("shop/users", 200, **SHADOW).entry("shop/users", 200, **SHADOW)
    assert judged(chain).reached == 1
