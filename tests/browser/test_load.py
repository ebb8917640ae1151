"""What the page costs with much to show, and what a request costs that comes: in questions, bytes and elements, which
are the same on every machine, and which the targets of 1 s and 0.5 s follow from on one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Request, Route

from proxy.base.access import USER, local_token
from tests.controlplane.running import SAID, environment

pytestmark = pytest.mark.timeout(180)

SANDBOXES = 100
HOPS = 5_000
BATCH = 500
QUESTIONS = 20
BYTES = 256 << 10
ELEMENTS = 6_000
"""At most. It was 15, 117 KB and 4,083; all 5,000 requests would be 900 KB and 60,000 elements."""

SHOWN = """new Promise(shown => {
  const count = (what) => document.querySelectorAll(what).length;
  const look = () => count(".list li") >= 100 && count(".main tbody tr")
    ? shown(document.querySelectorAll("*").length) : requestAnimationFrame(look);
  look();
})"""
"""How many elements the page has as soon as all sandboxes and the requests of the chosen one stand there."""


class Registry:
    """A real one, with sandboxes that nothing has to be started for."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-m", "controlplane", "--listen", "127.0.0.1:0", "--memory", "--state-dir", str(folder)),
            env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().removeprefix(SAID).decode().strip()
        self.token = local_token(self.url, USER, environment(folder))
        self.http = requests.Session()
        self.http.headers["authorization"] = f"Bearer {self.token}"

    def fill(self) -> None:
        fork = {"workload": "shop/users", "endpoints": ["127.0.0.1:9"], "reachable": False}
        for number in range(SANDBOXES):
            name = f"agent-{number:03}"
            document: dict[str, Any] = {
                "apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": name},
                "spec": {"forks": [fork]},
            }  # fmt: skip
            self.http.put(f"{self.url}/v1/sandboxes/{name}", json=document, timeout=20).raise_for_status()
        for start in range(0, HOPS, BATCH):
            self.tell(*range(start, start + BATCH))

    def tell(self, *numbers: int) -> None:
        lines = [
            json.dumps({
                "id": f"{number:016x}", "key": "agent-000", "workload": "shop/users", "side": "inbound",
                "time": time.time(), "trace": f"t{number}", "method": "GET", "path": f"/{number}", "status": 200,
            })
            for number in numbers
        ]  # fmt: skip
        headers = {"content-type": "application/x-ndjson"}
        self.http.post(f"{self.url}/v1/hops", data="\n".join(lines), headers=headers, timeout=20).raise_for_status()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    one = Registry(tmp_path)
    yield one
    one.http.close()
    one.process.terminate()
    one.process.communicate(timeout=30)


def test_a_hundred_sandboxes_and_what_comes(registry: Registry, chromium: Browser) -> None:
    registry.fill()
    context = chromium.new_context()
    page = context.new_page()
    page.goto(registry.url)
    page.get_by_label("Token").fill(registry.token)
    page.keyboard.press("Enter")
    page.locator(".list li").nth(SANDBOXES - 1).wait_for()
    page.goto("about:blank")
    asked: list[Request] = []
    page.on("request", lambda each: asked.append(each))
    page.goto(f"{registry.url}/#/s/agent-000/traffic")
    assert page.evaluate(SHOWN) <= ELEMENTS
    answers = [each for each in asked if each.resource_type != "eventsource"]
    assert len(answers) <= QUESTIONS
    assert sum(each.sizes()["responseBodySize"] for each in answers) <= BYTES
    asked.clear()
    registry.tell(HOPS)
    page.get_by_role("link", name=f"GET /{HOPS}", exact=True).wait_for()
    verdicts = f"{registry.url}/v1/sandboxes/agent-000/feedback"  # once in a second at most
    assert [each.url for each in asked if each.url != verdicts] == [], "what comes is told, not asked for"
    context.close()


def test_what_comes_while_the_page_asks_is_shown(registry: Registry, chromium: Browser) -> None:
    """Between the answer with what was there and the first word of what comes nothing is lost."""
    fork = {"workload": "shop/users", "endpoints": ["127.0.0.1:9"], "reachable": False}
    document: dict[str, Any] = {
        "apiVersion": "skycap.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": "agent-000"},
        "spec": {"forks": [fork]},
    }
    registry.http.put(f"{registry.url}/v1/sandboxes/agent-000", json=document, timeout=20).raise_for_status()
    context = chromium.new_context()
    page = context.new_page()
    page.goto(registry.url)
    page.get_by_label("Token").fill(registry.token)
    page.keyboard.press("Enter")
    page.locator(".list li").first.wait_for()

    def slow(route: Route) -> None:
        answer = route.fetch()
        registry.tell(7)
        route.fulfill(response=answer)

    page.route("**/traffic?limit=*", slow)
    page.goto(f"{registry.url}/#/s/agent-000/traffic")
    page.get_by_role("link", name="GET /7", exact=True).wait_for()
    context.close()
