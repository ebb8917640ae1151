"""What a page in somebody's browser can send, and what it gets."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from proxy.admin.origin import is_loopback, names_this_machine, refuse_drain, refuse_reading


@pytest.mark.parametrize(
    ("peer", "verdict"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.7", False),
        ("::ffff:10.0.0.7", False),
        ("2001:db8::1", False),
        ("", False),
    ],
)
def test_is_loopback(peer: str, verdict: bool) -> None:
    assert is_loopback(peer) is verdict


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:15020", True),
        ("[::1]:15020", True),
        ("[::1]", True),
        ("10.0.0.7:15020", True),
        ("localhost:15020", True),
        ("LOCALHOST.", True),
        ("users.localhost", True),
        ("my-laptop:15020", True),
        ("", True),
        ("evil.example", False),
        ("evil.example:15020", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("a@127.0.0.1:80", False),
        ("::1", False),
        ("[::1", False),
        ("127.0.0.1:80:90", False),
        ("127.0.0.1/x", False),
    ],
)
def test_names_this_machine(host: str, verdict: bool) -> None:
    assert names_this_machine(host) is verdict


def test_reading_over_loopback_needs_a_local_name() -> None:
    assert refuse_reading("127.0.0.1", "localhost") == ""
    assert refuse_reading("127.0.0.1", None) == ""
    assert "'evil.example'" in refuse_reading("127.0.0.1", "evil.example")
    assert len(refuse_reading("127.0.0.1", "x." * 5000)) < 200


def test_reading_over_the_network_takes_any_name() -> None:
    assert refuse_reading("10.0.0.7", "users.shop.svc.cluster.local") == ""


@pytest.mark.parametrize(
    ("peer", "headers", "why"),
    [
        ("127.0.0.1", {"Skycap-Drain": "yes"}, ""),
        ("::1", {"skycap-drain": ""}, ""),
        ("10.0.0.7", {"skycap-drain": "yes"}, "only this machine"),
        ("127.0.0.1", {}, "the header skycap-drain is missing"),
        ("127.0.0.1", {"skycap-drain": "yes", "Origin": "http://localhost:15020"}, "a web page"),
        ("127.0.0.1", {"skycap-drain": "yes", "Origin": "null"}, "a web page"),
        ("127.0.0.1", {"skycap-drain": "yes", "Sec-Fetch-Site": "same-origin"}, "a web page"),
    ],
)
def test_a_drain(peer: str, headers: dict[str, str], why: str) -> None:
    refused = refuse_drain(peer, CIMultiDict(headers).get)
    assert why in refused
    assert bool(refused) is bool(why)
