"""`skycap-served-by` against RFC 9651, and against what the sidecar writes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.asking.served_by import Hop, parse_served_by
from proxy.contract.names import DNS_LABEL
from proxy.routing.served import baseline_item, error_item, sandbox_item


@pytest.mark.parametrize(
    ("lines", "hops"),
    [
        ([], []),
        ([""], []),
        (["shop/frontend;baseline"], [Hop("shop/frontend")]),
        (["shop/users;sandbox=agent-42;rev=3"], [Hop("shop/users", "agent-42", 3)]),
        (["a/b;baseline,c/d;baseline"], [Hop("a/b"), Hop("c/d")]),
        (["a/b;baseline", "c/d;baseline"], [Hop("a/b"), Hop("c/d")]),
        (["a/b;baseline;reason=unsynced"], [Hop("a/b", reason="unsynced")]),
        (['"1a/2b";sandbox="42";rev=1'], [Hop("1a/2b", "42", 1)]),
        (["a/b; sandbox=x; rev=1 ,  c/d;baseline"], [Hop("a/b", "x", 1), Hop("c/d")]),
        (["a/b;error=shadow-unreachable"], [Hop("a/b", error="shadow-unreachable")]),
        (["a/b"], None),
        (["a/b;baseline=?0"], None),
        (["a/b;sandbox"], None),
        (["a/b;baseline;later=(1)"], None),
        (["a/b;baseline;later=1.5"], [Hop("a/b")]),
        (["a/b;baseline,"], None),
        (["a/b c/d"], None),
        (["a/b;rev=?1"], None),
        (["a/b;rev=1.0"], None),
        (["a/b;sandbox=1"], None),
        (["(a/b c/d);baseline"], None),
        (["42;baseline"], None),
        (["a/bü;baseline"], None),
        (['"a/b;baseline'], None),
    ],
)  # fmt: skip
def test_field_lines(lines: list[str], hops: list[Hop] | None) -> None:
    if hops is None:
        with pytest.raises(ValueError, match=r"."):
            parse_served_by(lines)
    else:
        assert parse_served_by(lines) == (hops, False)


LABEL = st.from_regex(DNS_LABEL, fullmatch=True)


@settings(deadline=None)
@given(st.lists(st.tuples(LABEL, LABEL, st.none() | LABEL | st.tuples(LABEL, st.integers(1, 2**49)))))
def test_every_item_that_the_sidecar_writes_is_read_back(
    items: list[tuple[str, str, tuple[str, int] | str | None]],
) -> None:
    written, hops = [], []
    for namespace, name, shadow in items:
        workload = f"{namespace}/{name}"
        if shadow is None:
            written.append(baseline_item(workload, "unsynced").decode())
            hops.append(Hop(workload, reason="unsynced"))
        elif isinstance(shadow, str):
            code = f"x{shadow}"
            written.append(error_item(workload, code).decode())
            hops.append(Hop(workload, error=code))
        else:
            written.append(sandbox_item(workload, *shadow).decode())
            hops.append(Hop(workload, *shadow))
    assert parse_served_by(written) == (hops, False)


def test_what_else_a_sidecar_says_of_a_hop() -> None:
    lines = ["a/b;baseline;key=unknown;conflict=other;lost=1", "truncated"]
    assert parse_served_by(lines) == ([Hop("a/b", key="unknown", conflict="other", lost=True)], True)
    assert str(parse_served_by(lines)[0][0]) == "baseline (key unknown, may have lost the key)"
    assert parse_served_by(["a/b;sandbox=x;rev=1;lost=0"])[0] == [Hop("a/b", "x", 1)]


def test_a_hop_in_words() -> None:
    assert str(Hop("a/b")) == "baseline"
    assert str(Hop("a/b", reason="unsynced")) == "baseline (unsynced)"
    assert str(Hop("a/b", "agent-42", 3)) == "sandbox agent-42, revision 3"
    assert str(Hop("a/b", error="loop")) == "nobody (loop)"
    assert str(Hop("a/b", "agent-42")) == "sandbox agent-42"
