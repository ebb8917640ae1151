"""`skycap-served-by`, read back by an independent parser of structured fields (RFC 9651)."""

from __future__ import annotations

from typing import Any

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.names import DNS_LABEL, ROUTING_KEY, WORKLOAD
from proxy.errors import FAILURES
from proxy.routing.served import NAME, baseline_item, error_item, names_shadow, sandbox_item


def parsed(*items: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The list that the items make up: (value, parameters), tokens and strings alike as text."""
    found: Any = http_sf.parse(b", ".join(items), tltype="list")
    return [
        (str(value), {name: _text(parameter) for name, parameter in parameters.items()}) for value, parameters in found
    ]


def _text(value: object) -> object:
    return str(value) if isinstance(value, http_sf.Token) else value


def test_the_example() -> None:
    items = [
        baseline_item("shop/frontend"),
        sandbox_item("shop/users", "agent-42", 3),
        baseline_item("shop/payments"),
    ]
    assert b", ".join(items) == b"shop/frontend;baseline, shop/users;sandbox=agent-42;rev=3, shop/payments;baseline"
    assert parsed(*items) == [
        ("shop/frontend", {"baseline": True}),
        ("shop/users", {"sandbox": "agent-42", "rev": 3}),
        ("shop/payments", {"baseline": True}),
    ]
    assert NAME == NAME.lower() == b"skycap-served-by"


def test_why_the_baseline_answered() -> None:
    for reason in ("unsynced", "shadow-unreachable"):
        assert parsed(baseline_item("shop/users", reason)) == [("shop/users", {"baseline": True, "reason": reason})]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_what_the_sidecar_itself_answered(failure: Any) -> None:
    assert parsed(error_item("shop/users", failure.code)) == [("shop/users", {"error": failure.code})]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("agent-42", b"agent-42"), ("a", b"a"), ("42", b'"42"'), ("3-b", b'"3-b"'), ("-x", b'"-x"'), ("1.5", b'"1.5"'),
        (".a", b'".a"'), ("_", b'"_"'), ("A_b.c", b"A_b.c"),
    ],
)  # fmt: skip
def test_names_that_are_no_token_are_strings_rfc_9651_3_3(text: str, written: bytes) -> None:
    """`42` alone would be an integer and `-x` nothing at all."""
    assert sandbox_item("shop/users", text, 1) == b"shop/users;sandbox=" + written + b";rev=1"
    assert parsed(sandbox_item("shop/users", text, 1)) == [("shop/users", {"sandbox": text, "rev": 1})]


LABELS = st.from_regex(rf"\A{DNS_LABEL}\Z")
WORKLOADS = st.tuples(LABELS, LABELS).map("/".join)


@given(
    workloads=st.lists(WORKLOADS, min_size=3, max_size=3),
    sandbox=st.from_regex(ROUTING_KEY, fullmatch=True),
    revision=st.integers(1, 2**53 - 1),
)
@settings(deadline=None, max_examples=60)
def test_every_name_of_the_contract_survives(workloads: list[str], sandbox: str, revision: int) -> None:
    first, second, third = workloads
    assert WORKLOAD.fullmatch(first)
    revision = min(revision, 999_999_999_999_999)  # the largest integer of RFC 9651 section 3.3.1
    items = [baseline_item(first, "unsynced"), sandbox_item(second, sandbox, revision), error_item(third, "loop")]
    assert parsed(*items) == [
        (first, {"baseline": True, "reason": "unsynced"}),
        (second, {"sandbox": sandbox, "rev": revision}),
        (third, {"error": "loop"}),
    ]
    assert names_shadow(items[1], second)
    assert names_shadow(b", ".join([items[1], items[0]]), second)
    assert names_shadow(b", ".join([items[0], items[1]]), second) is (first == second and False)
    assert not names_shadow(items[0], first)
    assert not names_shadow(items[2], third)


@pytest.mark.parametrize(
    ("value", "speaks"),
    [
        (b"shop/users;sandbox=a;rev=1", True),
        (b" \tshop/users;sandbox=a;rev=1, shop/payments;baseline", True),
        (b'"shop/users";sandbox=a', True),
        (b"shop/users;rev=1;sandbox=a", True),
        (b"shop/users;baseline, shop/users;sandbox=a", False),
        (b"shop/users, shop/users;sandbox=a", False),
        (b"shop/payments;sandbox=a", False),
        (b"shop/users2;sandbox=a", False),
        (b"shop/user;sandbox=a", False),
        (b"shop/users", False),
        (b"shop/users;sandboxes=a", False),
        (b"", False),
        (b",", False),
        (b'"', False),
        (b'""', False),
        (b";sandbox=a", False),
    ],
)
def test_whether_a_shadow_speaks_for_itself(value: bytes, speaks: bool) -> None:
    assert names_shadow(value, "shop/users") is speaks


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", [b" ", b'"', b";", b",", b"a", b'"a', b";sandbox="])
def test_hostile_lists_of_64_kib(part: bytes) -> None:
    assert not names_shadow(part * (65_536 // len(part)), "shop/users")
