"""Which hops a filter lets through."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.hops.filter import Filter
from proxy.contract.hops import OUTBOUND, Hop

HOP = Hop(
    "0" * 16, "a", "shop/users", OUTBOUND, time=100.0, trace="t1", method="POST", path="/users/ada?x=1", status=404
)


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ({}, True),
        ({"workload": "shop/users"}, True),
        ({"workload": "shop/orders"}, False),
        ({"side": "outbound"}, True),
        ({"side": "inbound"}, False),
        ({"method": "POST"}, True),
        ({"method": "GET"}, False),
        ({"path": "/users"}, True),
        ({"path": "/orders"}, False),
        ({"trace": "t1"}, True),
        ({"trace": "t"}, False),
        ({"status": "404"}, True),
        ({"status": "4xx"}, True),
        ({"status": "40x"}, True),
        ({"status": "5xx"}, False),
        ({"status": "000"}, False),
        ({"since": 100.0}, True),
        ({"since": 100.1}, False),
        ({"failed": True}, True),
        ({"status": "4xx", "path": "/orders"}, False),
    ],
)
def test_a_filter(wanted: dict[str, Any], matches: bool) -> None:
    assert Filter(**wanted).matches(HOP) is matches
