"""Who has to serve a request, and whether they did."""

from __future__ import annotations

import pytest

from proxy.routing.expect import MAX_EXPECTED, Expected, parse_expected, unmet

SERVED = b"shop/web;baseline, shop/users;sandbox=a;rev=3, shop/pay;sandbox=a;rev=1;status=500"


def test_what_a_request_says_is_read() -> None:
    assert parse_expected([b"shop/users@3 ,\tshop/pay", b"shop/web"]) == [
        Expected("shop/users", 3), Expected("shop/pay", 0), Expected("shop/web", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("said", [b"", b"users", b"shop/users@0", b"shop/users@x", b"shop/users;rev=3", b"a/b,,"])
def test_what_names_nobody_is_refused(said: bytes) -> None:
    with pytest.raises(ValueError, match="is not NAMESPACE/NAME"):
        parse_expected([said])


def test_what_names_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 16"):
        parse_expected([b",".join([b"a/b"] * (MAX_EXPECTED + 1))])


@pytest.mark.parametrize(
    ("expected", "served", "missing"),
    [
        ("shop/users", SERVED, ""),
        ("shop/users@3, shop/pay@1", SERVED, ""),
        ("shop/users@4", SERVED, "revision 4 of a shadow of shop/users: shop/users;sandbox=a;rev=3"),
        ("shop/web", SERVED, "a shadow of shop/web: shop/web;baseline"),
        ("shop/users", SERVED + b", shop/users;baseline", "a shadow of shop/users: shop/users;baseline"),
        ("shop/users", b"shop/users;error=loop", "a shadow of shop/users: shop/users;error=loop"),
        ("shop/users", b"shop/users;stub=a", "a shadow of shop/users: shop/users;stub=a"),
        ("shop/users@1", b"shop/users;sandbox=a", "revision 1 of a shadow of shop/users: shop/users;sandbox=a"),
    ],
)
def test_who_served_is_compared(expected: str, served: bytes, missing: str) -> None:
    assert unmet(parse_expected([expected.encode()]), served) == missing.replace(": ", " was expected, and it was ")


@pytest.mark.parametrize("served", [SERVED, b"", b"%%%"])
def test_who_took_no_part_is_missed(served: bytes) -> None:
    said = "a shadow of shop/none was expected, and shop/none took no part"
    assert unmet([Expected("shop/none", 0)], served) == said
