"""What the shop does without Skycap: its work, its errors, and which headers each service hands on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import requests

from tests.controlplane.demo.conftest import SHOP, Recorder, free_ports, running

TRACING = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=1",
    "baggage": "routing-key=agent-42",
    "x-request-id": "r-1",
    "b3": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    "x-b3-traceid": "0af7651916cd43dd8448eb211c80319c",
    "x-b3-spanid": "b7ad6b7169203331",
    "x-b3-sampled": "1",
}
B3 = {"b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled"}


def test_checkout_charges_the_baseline_price(shop: dict[str, str]) -> None:
    answer = requests.post(f"{shop['frontend']}/checkout?user=ada&item=tea", timeout=10)
    assert answer.status_code == 200
    receipt = answer.json()
    assert receipt.pop("order") >= 1
    assert receipt == {
        "customer": "Ada Lovelace",
        "tier": "standard",
        "item": "tea",
        "price": "12.00 EUR",
        "charged": "12.00 EUR",
    }


def test_orders_are_numbered(shop: dict[str, str]) -> None:
    url = f"{shop['frontend']}/checkout?user=bob&item=kettle"
    first, second = (requests.post(url, timeout=10).json()["order"] for _ in range(2))
    assert second == first + 1


@pytest.mark.parametrize(
    ("query", "status", "service", "error"),
    [
        ("", 400, "frontend", "say what to buy"),
        ("?user=ada", 400, "frontend", "say what to buy"),
        ("?user=eve&item=tea", 404, "users", "there is no user eve"),
        ("?user=..%2Fhealth&item=tea", 404, "users", "there is no user ../health"),
        ("?user=ada&item=cake", 404, "catalog", "there is no cake to buy"),
    ],
)
def test_the_refusing_service_is_read_at_the_front_door(
    shop: dict[str, str], query: str, status: int, service: str, error: str
) -> None:
    answer = requests.post(f"{shop['frontend']}/checkout{query}", timeout=10)
    assert (answer.status_code, answer.json()["service"]) == (status, service)
    assert error in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "the body is not JSON"),
        (b"[]", "user, amount"),
        (b'{"user": "ada"}', "amount"),
        (b'{"user": "ada", "amount": 12}', "amount"),
        (b'{"user": "ada", "amount": "NaN"}', "not 'NaN'"),
        (b'{"user": "ada", "amount": "-1"}', "not '-1'"),
    ],
)
def test_payments_refuses_what_is_no_charge(shop: dict[str, str], body: bytes, error: str) -> None:
    answer = requests.post(f"{shop['payments']}/charges", data=body, timeout=10)
    assert (answer.status_code, answer.json()["service"]) == (400, "payments")
    assert error in answer.json()["error"]


def test_catalog_asks_for_whom(shop: dict[str, str]) -> None:
    assert requests.get(f"{shop['catalog']}/offers/tea", timeout=10).status_code == 400


@pytest.mark.parametrize(
    ("version", "status", "shows"),
    [
        ("users_v2", 200, {"tier": "gold", "price": "10.80 EUR", "charged": "10.80 EUR"}),
        ("users_v3_fixed", 200, {"tier": "standard", "price": "12.00 EUR", "charged": "11.28 CHF"}),
        (
            "users_v3_buggy", 400,
            {
                "service": "payments",
                "error": "ada's currency must be one of EUR, CHF, GBP, not ['CHF', 'EUR']",
            },
        ),
    ],
)  # fmt: skip
def test_each_version_of_users_changes_what_the_shop_answers(
    shop: dict[str, str], version: str, status: int, shows: dict[str, str]
) -> None:
    names = ("frontend", "catalog", "orders", "payments")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    urls = {f"{name.upper()}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    urls |= {"USERS_URL": shop[version], "RATES_URL": shop["rates"]}
    with running({name: (f"{name}.py", urls) for name in names}, ports) as addresses:
        answer = requests.post(f"{addresses['frontend']}/checkout?user=ada&item=tea", timeout=10)
    assert answer.status_code == status
    assert answer.json() | shows == answer.json()


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "forwarded"),
    [
        ("frontend", "POST", "/checkout?user=ada&item=tea", None, set(TRACING)),
        ("catalog", "GET", "/offers/tea?user=ada", None, {"x-request-id"}),
        ("orders", "POST", "/orders", {"user": "ada", "item": "tea", "price": "1.00"}, {"traceparent"}),
        ("payments", "POST", "/charges", {"user": "ada", "amount": "1.00"}, B3),
    ],
)
def test_each_service_forwards_its_own_part_of_the_tracing_headers(
    recorded: tuple[dict[str, str], Recorder],
    service: str,
    method: str,
    path: str,
    body: dict[str, str] | None,
    forwarded: set[str],
) -> None:
    addresses, recorder = recorded
    recorder.calls.clear()
    answer = requests.request(method, addresses[service] + path, json=body, headers=TRACING, timeout=10)
    assert answer.ok, answer.text
    assert recorder.calls
    for called, headers in recorder.calls:
        seen = {name: value for name, value in headers.items() if name in TRACING}
        assert seen == {name: TRACING[name] for name in forwarded}, called


@pytest.mark.parametrize("service", ["catalog", "orders", "payments"])
def test_services_behind_the_front_door_make_up_no_tracing_headers(
    recorded: tuple[dict[str, str], Recorder], service: str
) -> None:
    addresses, recorder = recorded
    recorder.calls.clear()
    path = {"catalog": "/offers/tea?user=ada", "orders": "/orders", "payments": "/charges"}[service]
    body = {"user": "ada", "item": "tea", "price": "1.00", "amount": "1.00"}
    requests.request("GET" if service == "catalog" else "POST", addresses[service] + path, json=body, timeout=10)
    [(_, headers)] = recorder.calls
    assert not TRACING.keys() & headers.keys()


def test_the_front_door_gives_a_request_without_id_a_new_one(recorded: tuple[dict[str, str], Recorder]) -> None:
    addresses, recorder = recorded
    seen = []
    for _ in range(2):
        recorder.calls.clear()
        requests.post(f"{addresses['frontend']}/checkout?user=ada&item=tea", timeout=10)
        assert len(recorder.calls) == 3
        seen.append({headers["x-request-id"] for _, headers in recorder.calls})
    assert [len(ids) for ids in seen] == [1, 1], "one id for all calls of a request"
    assert seen[0] != seen[1]


def test_a_dead_upstream_is_named() -> None:
    [orders, dead] = free_ports(2)
    environment = {"PAYMENTS_URL": f"http://127.0.0.1:{dead}"}
    with running({"orders": ("orders.py", environment)}, {"orders": orders}) as addresses:
        body = {"user": "ada", "item": "tea", "price": "1.00"}
        answer = requests.post(f"{addresses['orders']}/orders", json=body, timeout=10)
    assert (answer.status_code, answer.json()["service"]) == (502, "orders")
    assert answer.json()["error"].startswith("payments cannot be reached: ")


def test_a_service_says_what_its_environment_lacks() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"PORT", "USERS_URL"}}
    ended = subprocess.run(
        [sys.executable, "catalog.py"], cwd=SHOP, env=environment, capture_output=True, text=True, timeout=20
    )
    assert (ended.returncode, ended.stderr) == (1, "catalog: set PORT and USERS_URL\n")
