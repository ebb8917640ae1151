"""Hop records cross the contract whole, and readers of another version take what they know."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.hops import (
    INBOUND,
    MAX_BODY_BYTES,
    MAX_HOP_BYTES,
    OUTBOUND,
    Captured,
    Hop,
    decode_hop,
    encode_hop,
    hop_document,
    read_hop,
)
from proxy.errors import ContractError

LEAST: dict[str, Any] = {"id": "00000001000000ff", "key": "a", "workload": "shop/users", "side": "inbound"}


def hop(**fields: Any) -> Hop:
    return Hop("0123456789abcdef", "agent-42", "shop/users", INBOUND, **fields)


def test_what_has_its_default_is_left_out() -> None:
    assert hop_document(hop()) == {
        "id": "0123456789abcdef",
        "key": "agent-42",
        "workload": "shop/users",
        "side": "inbound",
    }


texts = st.text(max_size=20)
captured = st.none() | st.builds(
    Captured,
    headers=st.lists(st.tuples(texts, texts), max_size=4).map(tuple),
    body=st.none() | texts,
    length=st.integers(0, 1 << 40),
    truncated=st.booleans(),
    omitted=texts,
)
hops = st.builds(
    Hop,
    id=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    key=st.from_regex(r"[A-Za-z0-9._-]{1,63}", fullmatch=True),
    workload=st.just("shop/users"),
    side=st.sampled_from([INBOUND, OUTBOUND]),
    time=st.floats(0, 1e10),
    parent=texts,
    trace=texts,
    peer=texts,
    decision=texts,
    reason=texts,
    sandbox=texts,
    revision=st.integers(0, 1 << 50),
    protocol=texts,
    method=texts,
    path=texts,
    status=st.integers(0, 999),
    grpc_status=st.none() | st.integers(0, 16),
    error=texts,
    lost=st.booleans(),
    duration_ms=st.floats(0, 1e9),
    request_bytes=st.integers(0, 1 << 50),
    request=captured,
    response=captured,
)


@given(hops)
def test_a_hop_comes_back_as_it_was(sent: Hop) -> None:
    line = encode_hop(sent)
    assert line.count(b"\n") == 1
    assert decode_hop(line) == sent


def test_what_a_newer_sidecar_says_is_ignored() -> None:
    assert read_hop({**LEAST, "colour": "blue", "request": {"sparkle": 1}}) == Hop(
        "00000001000000ff", "a", "shop/users", INBOUND, request=Captured()
    )


def test_fields_that_are_null_are_absent() -> None:
    assert read_hop({**LEAST, "status": None, "parent": None}).status == 0


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"id": "xyz"}, "id"),
        ({"id": None}, "id"),
        ({"key": "no key"}, "key"),
        ({"key": 7}, "key"),
        ({"workload": "users"}, "workload"),
        ({"side": "beside"}, "side"),
        ({"status": "500"}, "status"),
        ({"status": True}, "status"),
        ({"path": 1}, "path"),
    ],
)
def test_what_makes_a_line_useless_is_named(change: dict[str, Any], path: str) -> None:
    with pytest.raises(ContractError) as refused:
        read_hop({**LEAST, **change})
    assert path in [problem[0] for problem in refused.value.problems]


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_line_that_is_no_hop(line: bytes) -> None:
    with pytest.raises(ContractError):
        decode_hop(line)


def test_the_largest_hop_fits_its_limit() -> None:
    """A control character takes six bytes as JSON writes it, and a head is as large as a body at most."""
    worst = "\x01" * MAX_BODY_BYTES
    full = Captured(body=worst, headers=(("x", "a" * MAX_BODY_BYTES),), length=1 << 40)
    assert len(encode_hop(hop(request=full, response=full))) < MAX_HOP_BYTES


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({"status": 200}, False),
        ({"status": 101}, False),
        ({"status": 304}, False),
        ({"status": 404}, True),
        ({"status": 503}, True),
        ({"status": 0}, True),
        ({"status": 200, "grpc_status": 0}, False),
        ({"status": 200, "grpc_status": 14}, True),
        ({"status": 200, "error": "cut"}, True),
    ],
)
def test_what_counts_as_failed(fields: dict[str, Any], failed: bool) -> None:
    assert hop(**fields).failed is failed


def test_the_captured_are_read_leniently() -> None:
    odd = {"headers": [["a", "b"], ["c"], 7, ["d", 1]], "body": 3, "length": "x", "omitted": None}
    assert read_hop({**LEAST, "response": odd}).response == Captured(headers=(("a", "b"),))
    assert read_hop({**LEAST, "response": {"headers": "none"}}).response == Captured()
    assert read_hop({**LEAST, "response": json.loads('"text"')}).response is None
