from __future__ import annotations

from email.utils import formatdate

import pytest

from controlplane.asking.doctor import Check, clock, lost_keys, ports, versions
from controlplane.model.feedback import LostKey
from controlplane.model.sidecar import Sidecar
from controlplane.model.workload import Workload


def test_a_lost_key_is_told_by_the_names_of_the_workloads_and_what_to_do() -> None:
    lost = LostKey(
        workload="shop/users", calling="shop/payments", example="POST /charge", count=3, todo="hand on `traceparent`."
    )
    assert lost_keys("agent-42", [lost]) == [
        Check(
            False,
            "sandbox agent-42",
            "shop/users may lose the key when it calls shop/payments: 3 times, as in POST /charge",
            "hand on `traceparent`",
        )
    ]


def sidecar(ident: str, version: str | None, connected: bool = True) -> Sidecar:
    return Sidecar.model_validate({
        "id": ident, "workload": "shop/users", "connected": connected, "inSync": True, "sentRevision": 1,
        "appliedRevision": 1, "lastSeen": "2030-01-01T00:00:00Z", "version": version,
    })  # fmt: skip


def test_versions_that_are_too_far_apart() -> None:
    beside = [sidecar("a", "0.1.0"), sidecar("b", "0.2.7"), sidecar("c", None), sidecar("d", "0.9.0", connected=False)]
    assert versions("0.1.0", "0.1.3", beside[:1]) == []
    near = versions("0.1.0", "0.1.0", beside)
    assert [(check.ok, check.found) for check in near] == [(True, "version 0.2.7 beside a registry of 0.1.0: b")]
    far = versions("0.4.0", "0.2.0", [sidecar("a", "0.4.1"), sidecar("b", "0.4.1")])
    assert [check.ok for check in far] == [False, False]
    assert far[0].found == "this is version 0.4.0, the registry is 0.2.0"
    assert far[1].found == "version 0.4.1 beside a registry of 0.2.0: a, b"
    assert "one minor version apart" in far[1].advice
    assert not versions("1.0.0", "0.1.0", [])[0].ok
    assert versions("0.1.0", "", beside) == versions("0.1.0", "unknown", beside) == []


@pytest.mark.parametrize(("apart", "wrong"), [(0.0, False), (2.9, False), (60.0, True), (-60.0, True)])
def test_clocks_that_are_apart(apart: float, wrong: bool) -> None:
    found = clock(formatdate(1_800_000_000 + apart, usegmt=True), 1_800_000_000.0)
    assert [check.ok for check in found] == [False] * wrong
    assert all(check.found.startswith("its clock and that of this machine are 60 s apart") for check in found)


def test_a_date_that_is_none_says_nothing() -> None:
    assert clock("", 0.0) == clock("today", 0.0) == []


def test_two_workloads_at_one_address() -> None:
    known = {"a": "h:1", "b": "h:1", "c": "h:2"}
    (check,) = ports([Workload(workload=f"shop/{name}", address=address) for name, address in known.items()])
    assert (check.ok, check.subject) == (False, "shop/a")
    assert check.found == "h:1 is registered for shop/a and shop/b: callers of one reach the other"
