"""`skycap sandbox traffic` and `skycap trace`, against a real registry."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from proxy.base.programs import program
from proxy.contract.hops import HOPS_TYPE, INBOUND, OUTBOUND, Hop, encode_hop
from tests.controlplane.cli.conftest import Origin, Skycap, authorized
from tests.controlplane.sandboxes import document


@pytest.fixture
def sandbox(registry: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A sandbox of its own for the test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[:60].strip("-")
    url = f"{registry}/v1/sandboxes/{name}"
    requests.put(url, headers=authorized(registry), json=document(name), timeout=5).raise_for_status()
    yield name
    requests.delete(url, headers=authorized(registry), timeout=5)


def tell(registry: str, key: str, *hops: dict[str, Any]) -> None:
    defaults = {"workload": "shop/users", "side": INBOUND, "status": 200, "method": "GET", "path": "/"}
    lines = [
        encode_hop(Hop(**{"id": f"{number:016x}", "key": key, "time": float(number), **defaults, **hop}))
        for number, hop in enumerate(hops, 1)
    ]
    headers = {"content-type": HOPS_TYPE, **authorized(registry)}
    requests.post(f"{registry}/v1/hops", data=b"".join(lines), headers=headers, timeout=5).raise_for_status()


def test_the_newest_stand_last_and_filters_narrow(registry: str, sandbox: str, skycap: Skycap) -> None:
    tell(registry, sandbox, {"path": "/one"}, {"path": "/two", "status": 500}, {"path": "/three", "status": 404})
    shown = skycap("sandbox", "traffic", sandbox, "--registry", registry)
    assert re.findall(r"/(?:one|two|three)", shown.out) == ["/one", "/two", "/three"]
    shown = skycap("sandbox", "traffic", sandbox, "--failed", "--limit", "1", "--registry", registry)
    assert re.findall(r"/(?:one|two|three)", shown.out) == ["/three"]
    shown = skycap("sandbox", "traffic", sandbox, "--status", "5xx", "-o", "json", "--registry", registry)
    assert [item["path"] for item in json.loads(shown.out)["items"]] == ["/two"]


def test_pages_are_followed_until_there_are_enough(registry: str, sandbox: str, skycap: Skycap) -> None:
    tell(registry, sandbox, {"path": "/first"}, *({"path": "/more"} for _ in range(450)))
    for _ in range(3):
        tell(registry, sandbox, *({"path": "/more"} for _ in range(450)))
    shown = skycap("sandbox", "traffic", sandbox, "--path", "/first", "--registry", registry)
    assert "/first" in shown.out


def test_nothing_seen_is_said(registry: str, sandbox: str, skycap: Skycap) -> None:
    assert "no request" in skycap("sandbox", "traffic", sandbox, "--registry", registry).out


def test_what_is_wrong_with_a_filter_is_one_line(registry: str, sandbox: str, skycap: Skycap) -> None:
    ended = skycap("sandbox", "traffic", sandbox, "--status", "five", "--registry", registry)
    assert ended.code == 2
    assert "'five' is not a status or its class" in ended.err
    assert skycap("sandbox", "traffic", "nobody", "--registry", registry).code == 3


def test_a_foreign_path_cannot_write_to_the_terminal(registry: str, sandbox: str, skycap: Skycap) -> None:
    tell(registry, sandbox, {"path": "/\x1b]0;title\x07"})
    assert "\x1b" not in skycap("sandbox", "traffic", sandbox, "--registry", registry).out


def test_following_prints_what_comes_until_the_sandbox_ends(registry: str, sandbox: str) -> None:
    tell(registry, sandbox, {"path": "/before"})
    command = [*program("controlplane/cli"), "sandbox", "traffic", sandbox, "-f", "--registry", registry]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "/before" in process.stdout.readline()
        tell(registry, sandbox, {"path": "/after"})
        assert "/after" in process.stdout.readline()
        url = f"{registry}/v1/sandboxes/{sandbox}"
        requests.delete(url, headers=authorized(registry), timeout=5).raise_for_status()
        assert "has ended" in process.stdout.readline()
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def test_feedback_is_markdown_and_fails_unless_all_is_well(registry: str, sandbox: str, skycap: Skycap) -> None:
    requests.get(f"{registry}/v1/sandboxes/{sandbox}?wait=20s", headers=authorized(registry), timeout=30)
    told = skycap("sandbox", "feedback", sandbox, "--registry", registry)
    assert told.code == 1
    assert told.out.startswith(f"# {sandbox} revision 1: ")
    whole = json.loads(skycap("sandbox", "feedback", sandbox, "-o", "json", "--registry", registry).out)
    assert whole["verdict"] in {"no-traffic", "not-ready"}
    assert whole["summary"] in told.out


def test_a_request_shows_what_it_led_to(registry: str, sandbox: str, skycap: Skycap, origin: Origin) -> None:
    trace = "ab" * 16
    tell(
        registry,
        sandbox,
        {"trace": trace, "workload": "shop/front", "path": "/checkout"},
        {"trace": trace, "workload": "shop/front", "side": OUTBOUND, "parent": f"{1:016x}", "status": 404},
        {"trace": trace, "parent": f"{2:016x}", "status": 404, "sandbox": sandbox, "revision": 1},
    )
    origin.headers = [("skycap-served-by", "shop/front;baseline")]
    parent = f"traceparent: 00-{trace}-{'cd' * 8}-01"
    shown = skycap("request", sandbox, origin.url, "-H", parent, "--registry", registry)
    assert shown.code == 0
    assert [line.split()[0] for line in shown.out.splitlines()[-3:]] == ["REQUEST", "GET", "└─"]
    assert shown.out.splitlines()[-1].split()[-1] == f"shop/users;sandbox={sandbox};rev=1"
    assert f"skycap trace {trace}" in shown.err
    whole = json.loads(skycap("request", sandbox, origin.url, "-H", parent, "-o", "json", "--registry", registry).out)
    assert (whole["trace"], whole["calls"][0]["made"][0]["status"]) == (trace, 404)


def test_an_assertion_holds_or_says_what_speaks_against_it(registry: str, sandbox: str, skycap: Skycap) -> None:
    claim = ("sandbox", "assert", sandbox, "shop/users", "--since", "1m", "--registry", registry)
    told = skycap(*claim)
    assert (told.code, told.out) == (
        1, "does not hold: 0 requests reached revision 1 of shop/users, 1 should have\n",
    )  # fmt: skip
    tell(registry, sandbox, {"time": time.time(), "sandbox": sandbox, "revision": 1, "trace": "t-9"})
    told = skycap(*claim)
    assert told.code == 0
    assert told.out == (
        "holds: 1 request reached revision 1 of shop/users, and nothing else did\nsee `skycap trace t-9`\n"
    )
    told = skycap("sandbox", "assert", sandbox, "shop/typo", "--registry", registry)
    assert told.code == 2
    assert "it forks shop/users" in told.err


def test_a_trace_is_drawn_as_a_tree(registry: str, sandbox: str, skycap: Skycap) -> None:
    tell(
        registry,
        sandbox,
        {"trace": "t-1", "workload": "shop/front", "status": 500, "duration_ms": 41.2, "path": "/checkout"},
        {"trace": "t-1", "workload": "shop/front", "side": OUTBOUND, "parent": f"{1:016x}", "status": 500},
        {"trace": "t-1", "parent": f"{2:016x}", "status": 500, "sandbox": sandbox, "revision": 3},
    )
    shown = skycap("trace", "t-1", "--registry", registry)
    rows = [re.split(r"  +", line.strip()) for line in shown.out.splitlines()]
    assert rows[0][:4] == ["REQUEST", "STATUS", "MS", "SERVED BY"]
    assert rows[1] == ["GET /checkout", "500", "41", "shop/front;baseline"]
    assert rows[2] == ["└─ GET /", "500", "0", f"shop/users;sandbox={sandbox};rev=3"]
    found = json.loads(skycap("trace", "t-1", "-o", "json", "--registry", registry).out)
    assert found["calls"][0]["made"][0]["revision"] == 3
    assert skycap("trace", "t-2", "--registry", registry).code == 3
