"""`skycap-served-by`, read back by an independent parser of structured fields (RFC 9651)."""

from __future__ import annotations

from typing import Any

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.names import DNS_LABEL, ROUTING_KEY, WORKLOAD
from proxy.errors import FAILURES
from proxy.routing.served import (
    INVALID_KEY,
    LOST_KEY,
    MAX_BYTES,
    NAME,
    OWN_BYTES,
    TRUNCATED,
    Served,
    baseline_item,
    conflict,
    error_item,
    sandbox_item,
    speaks_for,
)


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
    assert all(len(item) + 200 < OWN_BYTES for item in items)
    served = Served()
    served.add(b", ".join(items))
    assert served.value == b", ".join(items), "what we write we also take"
    assert speaks_for(b", ".join([items[1], items[0]]), items[1], second)
    assert speaks_for(items[2], items[1], third)
    assert not speaks_for(items[0], items[1], second)


def test_what_else_there_is_to_say() -> None:
    item = baseline_item("shop/users", key=INVALID_KEY) + conflict("42") + conflict("agent-b") + LOST_KEY
    assert parsed(item) == [("shop/users", {"baseline": True, "key": "invalid", "conflict": "agent-b", "lost": 1})]
    assert b';conflict="42";' in item
    assert sandbox_item("shop/users", "a", 3, INVALID_KEY) == b"shop/users;sandbox=a;rev=3;key=invalid"


class TestCollecting:
    def test_each_item_once_in_the_order_in_which_they_came(self) -> None:
        served = Served()
        assert served.value == b""
        served.add(b"shop/b;baseline, shop/a;baseline")
        served.add(b"shop/a;baseline,shop/b;baseline ,\tshop/c;sandbox=x;rev=1")
        assert served.value == b"shop/b;baseline, shop/a;baseline, shop/c;sandbox=x;rev=1"
        assert repr(served) == "<Served shop/b;baseline, shop/a;baseline, shop/c;sandbox=x;rev=1>"

    def test_a_comma_in_a_string_parts_nothing(self) -> None:
        served = Served()
        served.add(b'"a, b";x="c, \\"d";y=?, shop/a;baseline')
        assert served.value == b""
        served.add(b'"a, b";x="c, \\"d";y=-1, shop/a;baseline')
        assert served.value == b'"a, b";x="c, \\"d";y=-1, shop/a;baseline'
        assert len(parsed(served.value)) == 2

    def test_it_is_bounded_in_bytes_and_says_so(self) -> None:
        """64 answers of 60 items each made a head of 95 KB, which the next sidecar refused."""
        served = Served()
        for answer in range(64):
            served.add(b", ".join(b"shop/w%d-%d;baseline" % (answer, item) for item in range(60)))
        assert served.truncated
        assert MAX_BYTES - OWN_BYTES - 40 < len(served.value) <= MAX_BYTES - OWN_BYTES
        assert served.value.endswith(b", " + TRUNCATED)
        assert served.value.count(TRUNCATED) == 1
        assert parsed(served.value)[-1] == ("truncated", {})

    def test_what_was_left_out_before_stays_said(self) -> None:
        served = Served()
        served.add(b"shop/a;baseline, truncated")
        served.add(b"shop/b;baseline")
        assert served.value == b"shop/a;baseline, shop/b;baseline, truncated"

    @pytest.mark.parametrize(
        "value", [b"", b",", b" ", b"a b", b"(a b)", b"a;", b"a;X", b"a=", b'"', b"\xff", b"a\x00b", b";", b"@1"]
    )
    def test_what_is_no_list_of_ours_adds_nothing(self, value: bytes) -> None:
        served = Served()
        served.add(value)
        assert served.value == b""
        served.add(b"shop/a;baseline, " + value)
        assert served.value == b"shop/a;baseline", "as far as it is one"

    @given(values=st.lists(st.binary(max_size=80) | st.from_regex(rb"[a-c/;=\", ]{0,40}", fullmatch=True), max_size=6))
    @settings(deadline=None, max_examples=60)
    def test_whatever_comes_what_leaves_is_a_list(self, values: list[bytes]) -> None:
        served = Served(room=100)
        for value in values:
            served.add(value)
        assert len(served.value) <= 100 + len(TRUNCATED)
        if served.value:
            parsed(served.value)


ITEM = sandbox_item("shop/users", "a", 3)


@pytest.mark.parametrize(
    ("value", "speaks"),
    [
        (b"shop/users;sandbox=a;rev=3", True),
        (b" \tshop/users;sandbox=a;rev=3, shop/payments;baseline", True),
        (b"shop/users;sandbox=a;rev=3;lost=1;conflict=b", True),
        (b"shop/users;error=app-unreachable", True),
        (b"shop/users;sandbox=a;rev=33", False),
        (b"shop/users;sandbox=a;rev=3.5", False),
        (b"shop/users;sandbox=a;rev=4", False),
        (b"shop/users;sandbox=b;rev=3", False),
        (b"shop/users;sandbox=a", False),
        (b"shop/users;sandbox=a;rev=3;sandbox=b", False),
        (b"shop/users;sandbox=a;rev=3;rev=9", False),
        (b"shop/users;sandbox=a;rev=3;baseline", False),
        (b"shop/users;baseline, shop/users;sandbox=a;rev=3", False),
        (b"shop/payments;error=loop", False),
        (b"shop/users2;sandbox=a;rev=3", False),
        (b"", False),
        (b",", False),
        (b'"', False),
    ],
)
def test_whether_a_shadow_speaks_for_itself(value: bytes, speaks: bool) -> None:
    """Item by item with what was dialled: workload, sandbox and revision."""
    assert speaks_for(value, ITEM, "shop/users") is speaks


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", [b" ", b'"', b";", b",", b"a", b'"a', b";sandbox=", b"a,", b"a;b=", b'"\\"'])
def test_hostile_lists_of_64_kib(part: bytes) -> None:
    value = part * (65_536 // len(part))
    assert not speaks_for(value, ITEM, "shop/users")
    served = Served()
    served.add(value)
    assert len(served.value) <= MAX_BYTES
