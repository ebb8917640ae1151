"""Debian's Chromium over a real environment: the demo's shop, and a service with a page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

import controlplane
from proxy.base.programs import program
from tests.tools import find, require

SHOP = Path(controlplane.__file__).parent / "demo" / "shop"
SKYCAP = program("controlplane/cli")
PATIENCE_MS = 20_000
"""Only ever spent by a test that fails."""


class Running:
    """`skycap up` of an environment. url: of the registry."""

    def __init__(self, folder: Path) -> None:
        self.environ = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
        self.environ.pop("SKYCAP_REGISTRY", None)
        file = folder / "environment.json"
        file.write_text(json.dumps(_document()))
        self._process = subprocess.Popen(
            (*SKYCAP, "up", str(file), "--output", "json"), env=self.environ, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "up":
                assert not event["problems"], event["problems"]
                self.url: str = event["registry"]
                self.addresses = {service["name"]: service["address"] for service in event["services"]}
                break
        else:
            pytest.fail("the environment did not come up")

    def skycap(self, *arguments: str) -> Any:
        """The JSON that a command prints."""
        done = subprocess.run(
            (*SKYCAP, *arguments, "--registry", self.url, "--output", "json"),
            env=self.environ, cwd=SHOP, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def fork(self, name: str, program: str, *more: str) -> None:
        command = f"{sys.executable} {program}"
        self.skycap("sandbox", "apply", name, "--fork", "shop/users", "--command", command, "--wait", *more)

    def checkout(self, key: str) -> None:
        """A request through the whole shop, with a key, whatever comes of it."""
        url = f"http://{self.addresses['frontend']}/checkout?user=ada&item=tea"
        subprocess.run((*SKYCAP, "request", "-X", "POST", key, url), env=self.environ, capture_output=True, timeout=60)

    def sign_in(self) -> str:
        link: str = self.skycap("page")["link"]
        return link

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.stdout is not None
        self._process.stdout.read()
        self._process.wait(60)
        self._process.stdout.close()


def _document() -> dict[str, Any]:
    calls = {"frontend": ["users", "catalog", "orders"], "users": [], "catalog": ["users"], "orders": ["payments"]}
    services = [
        {"name": name, "command": [sys.executable, str(SHOP / f"{name}.py")], "cwd": str(SHOP),
         "upstreams": [{"name": called} for called in called_ones], "readiness": {"path": "/health"}}
        for name, called_ones in {**calls, "payments": ["users", "rates"], "rates": []}.items()
    ]  # fmt: skip
    site = {
        "name": "site", "command": [sys.executable, str(Path(__file__).with_name("site.py"))],
        "upstreams": [{"name": "users"}], "readiness": {"path": "/health"},
    }  # fmt: skip
    return {
        "apiVersion": "skycap.dev/v1alpha1",
        "kind": "Environment",
        "metadata": {"name": "shop"},
        "spec": {"registry": {"listen": "127.0.0.1:0"}, "services": [*services, site]},
    }


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """One for each test: while it runs, an event loop does, beside which no test of another kind could have its own."""
    require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """A page and all that it complains of."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.foreign.append(request.url))

    def is_usable(self) -> None:
        """axe-core finds nothing, nothing stands out to the side, and nobody has complained."""
        found = Axe().run(self.page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert self.complaints == []


@pytest.fixture(params=[("light", 1280), ("dark", 360)], ids=["light-wide", "dark-narrow"])
def window(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Window]:
    scheme, width = request.param
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    yield Window(context)
    context.close()
