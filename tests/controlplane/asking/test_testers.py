"""What a browser asks for by itself is not the tester's request; what a test asks for is, whatever its path."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.asking.replay import REPLAY
from controlplane.asking.testers import of_the_tester
from proxy.contract.hops import INBOUND, OUTBOUND, Captured, Hop

CHROMIUM = (("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36"),)
CURL = (("user-agent", "curl/8.5.0"),)


def hop(ident: str, path: str, status: int = 404, **fields: Any) -> Hop:
    known = {"key": "agent-42", "workload": "shop/frontend", "side": INBOUND, "method": "GET", **fields}
    return Hop(id=ident, path=path, status=status, **known)


def asked_by(fields: tuple[tuple[str, str], ...]) -> Captured:
    return Captured(headers=fields)


@pytest.mark.parametrize("path", [
    "/favicon.ico", "/favicon.ico?v=2", "/apple-touch-icon-120x120-precomposed.png", "/robots.txt",
    "/.well-known/appspecific/com.chrome.devtools.json", "/.well-known/change-password",
])  # fmt: skip
def test_a_browser_asks_for_it_by_itself(path: str) -> None:
    page = hop("a" * 16, "/", 200)
    inner = hop("c" * 16, "/anything", parent="b" * 16, workload="shop/catalog")
    assert of_the_tester([page, hop("b" * 16, path, request=asked_by(CHROMIUM)), inner]) == [page]


@pytest.mark.parametrize("fields", [
    {"request": asked_by(CURL)}, {"request": None}, {"request": asked_by(CHROMIUM), "parent": "d" * 16},
    {"request": asked_by(CHROMIUM), "status": 200},
])  # fmt: skip
def test_a_test_asks_for_the_same_on_purpose(fields: dict[str, Any]) -> None:
    """Or a service does, or it is not known who does, or nothing failed."""
    told = hop("b" * 16, "/favicon.ico", **fields)
    assert of_the_tester([told]) == [told]


def test_what_a_page_names_is_its_own_fault() -> None:
    told = hop("b" * 16, "/app.js", request=asked_by(CHROMIUM))
    assert of_the_tester([told]) == [told]


def test_our_own_replays_are_nobodys() -> None:
    replay = hop("b" * 16, "/users", 500, trace=f"{REPLAY}0123456789abcdef")
    call = hop("c" * 16, "/accounts", 500, side=OUTBOUND, parent="b" * 16, trace="its own")
    assert of_the_tester([replay, call]) == []
