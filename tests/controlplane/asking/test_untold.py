"""Whether every sidecar that saw a request of the last moments has told of it."""

from __future__ import annotations

from dataclasses import replace

from controlplane.asking.untold import untold
from proxy.contract.hops import INBOUND, OUTBOUND, Hop

FORKED = {"shop/users"}

ENTRY = Hop("1" * 16, "k", "shop/front", INBOUND, time=10.0, status=500)
CALL = Hop("2" * 16, "k", "shop/front", OUTBOUND, time=10.0, parent=ENTRY.id, status=500)
MET = Hop("3" * 16, "k", "shop/users", INBOUND, time=10.0, parent=CALL.id, status=500, sandbox="a", revision=1)
SHADOW = Hop("4" * 16, "k", "shop/users", INBOUND, time=10.0, parent=MET.id, status=500, sandbox="a", revision=1)


def test_all_is_told() -> None:
    assert not untold([ENTRY, CALL, MET, SHADOW], 0.0, FORKED)
    assert not untold([], 0.0, FORKED)


def test_a_cause_is_missing() -> None:
    assert untold([CALL, MET, SHADOW], 0.0, FORKED)


def test_the_shadows_own_sidecar_has_not_told() -> None:
    assert untold([ENTRY, CALL, MET], 0.0, FORKED)
    assert not untold([ENTRY, CALL, MET], 0.0, set()), "a static fork has none of ours"
    refused = replace(MET, error="shadow-unreachable")
    assert not untold([ENTRY, CALL, refused], 0.0, FORKED), "nobody was reached"


def test_what_is_over_is_not_waited_for() -> None:
    assert not untold([CALL, MET], 11.0, FORKED)
    assert untold([replace(CALL, duration_ms=2000.0)], 11.0, FORKED), "it ended a moment ago"
