"""`skycap sandbox diff` against a real registry, and two servers behind one address."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.controlplane.cli.conftest import Skycap, authorized
from tests.controlplane.cli.test_traffic import tell

WORKLOAD = "shop/differing"


@pytest.fixture
def copies(registry: str, name: str) -> Iterator[None]:
    """A baseline of WORKLOAD that sends `cents`, and a shadow that does not, as their sidecar leads to them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shadow = name in (self.headers.get("baggage") or "")
            body = json.dumps({"name": "Ada"} if shadow and self.path == "/prices" else {"name": "Ada", "cents": 100})
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if shadow:
                self.send_header("skycap-served-by", f"{WORKLOAD};sandbox={name};rev=1")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        address = f"127.0.0.1:{server.server_address[1]}"
        document = {"workload": WORKLOAD, "address": address}
        requests.put(
            f"{registry}/v1/workloads/{WORKLOAD}", json=document, headers=authorized(registry), timeout=5
        ).raise_for_status()
        yield
        server.shutdown()
        thread.join()
    requests.delete(f"{registry}/v1/workloads/{WORKLOAD}", headers=authorized(registry), timeout=5)


def test_what_a_shadow_answers_otherwise(registry: str, name: str, skycap: Skycap, copies: None) -> None:
    at = ("--registry", registry)
    made = skycap("sandbox", "apply", name, "--fork", WORKLOAD, "--endpoint", "192.0.2.1:1", "--no-dial", *at)
    assert made.code == 0, made.err
    none = skycap("sandbox", "diff", name, *at)
    assert none.code == 1, "nothing was compared, which is no proof that all is the same"

    shadow = {"workload": WORKLOAD, "sandbox": name, "revision": 1, "decision": "shadow", "time": time.time()}
    tell(registry, name, {**shadow, "path": "/users"}, {**shadow, "path": "/orders", "method": "POST"})
    same = skycap("sandbox", "diff", name, *at)
    assert (same.code, "  the same" in same.out, "1 not sent again: POST may change something" in same.out) == (
        0, True, True,
    ), same.out  # fmt: skip

    tell(registry, name, {**shadow, "path": "/prices", "id": "f" * 16})
    found = skycap("sandbox", "diff", name, "--path", "/prices", *at)
    assert found.code == 1
    assert "GET /prices (shop/differing) 200 -> 200" in found.out
    assert "removed body.cents  the baseline sends 100" in found.out
    told = json.loads(skycap("sandbox", "diff", name, "-o", "json", *at).out)
    assert told["same"] is False
    assert {one["request"] for one in told["compared"]} == {"GET /users", "GET /prices"}

    wrong = skycap("sandbox", "diff", name, "--workload", "shop/other", *at)
    assert (wrong.code, f"does not fork 'shop/other'; it forks {WORKLOAD}" in wrong.err) == (2, True)
    assert skycap("sandbox", "diff", "nobody", *at).code == 3
