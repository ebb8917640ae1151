"""The trace as a page inside a host of agents (MCP Apps), in a real browser: greeted, told, and harmless."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.timeout(180)

ANSWER = {
    "id": "t1",
    "sandbox": "agent-42",
    "tree": "",
    "calls": [
        {
            "depth": 0,
            "request": "POST /checkout",
            "status": 500,
            "milliseconds": 94.2,
            "served_by": "shop/front;baseline",
        },
        {
            "depth": 1,
            "request": "GET /users/<img src=x onerror=alert(1)>",
            "status": 200,
            "milliseconds": 3,
            "served_by": "shop/users;sandbox=agent-42;rev=3",
            "remarks": ["its key may be lost"],
            "reply": {"body": "<script>window.parent.hurt = true</script>"},
        },
    ],
}

HOST = """<!doctype html><html lang="en"><title>host</title><iframe id="app" title="app" sandbox="allow-scripts"
 style="width: 760px; height: 320px"></iframe>
<script>
  const app = document.getElementById("app");
  window.seen = [];
  const tell = message => app.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
  window.addEventListener("message", ({ data }) => {
    window.seen.push(data.method || `answer ${data.id}`);
    const result = { protocolVersion: "2026-01-26", hostCapabilities: {}, hostContext: { theme: "dark" } };
    if (data.method === "ui/initialize") tell({ id: data.id, result });
    if (data.method === "ui/notifications/initialized") {
      tell({ method: "ui/notifications/tool-result", params: { content: [], structuredContent: ANSWER } });
      tell({ id: 7, method: "ping" });
    }
  });
  app.srcdoc = PAGE;
</script>"""


def test_a_host_shows_the_calls_of_a_request(window: Window) -> None:
    page = files("controlplane.mcp").joinpath("trace.html").read_text(encoding="utf-8")
    told = {"ANSWER": ANSWER, "PAGE": page}
    host = HOST
    for name, value in told.items():
        host = host.replace(f" {name}", " " + json.dumps(value).replace("</", "<\\/"))
    window.page.set_content(host)
    app = window.page.frame_locator("#app")
    expect(app.get_by_role("heading", name="Trace t1")).to_be_visible()
    rows = app.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("GET /users/<img src=x onerror=alert(1)>")
    expect(rows.nth(1).locator(".own")).to_have_text("shop/users;sandbox=agent-42;rev=3")
    expect(rows.nth(0).locator(".bad")).to_have_text("500")
    app.get_by_text("what was kept").click()
    expect(app.locator("details pre")).to_have_text("<script>window.parent.hurt = true</script>")
    seen = window.page.evaluate("window.seen")
    assert seen[0] == "ui/initialize"
    assert {"ui/notifications/initialized", "ui/notifications/size-changed", "answer 7"} <= set(seen)
    assert window.page.evaluate("window.hurt") is None
    assert (window.complaints, window.foreign) == ([], [])
