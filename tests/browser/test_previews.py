"""A link in a real browser: the application with the change, what one looks at, and words that find their way back."""

from __future__ import annotations

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS, Running, Window

pytestmark = pytest.mark.timeout(180)
expect.set_options(timeout=PATIENCE_MS)


def test_a_reviewer_with_nothing_but_a_link(shop: Running, window: Window) -> None:
    shop.fork("loyalty", "users_v2.py")
    made = shop.skycap("sandbox", "link", "loyalty", "--workload", "shop/site", "--note", "the tier of ada")
    page = window.page
    answer = page.goto(made["url"])
    assert answer is not None
    assert answer.headers["skycap-sandbox"] == "loyalty"
    assert answer.headers["cache-control"] == "no-store"
    expect(page.locator("#user")).to_contain_text("gold")
    banner = page.locator("skycap-banner")
    expect(banner).to_be_visible()
    window.is_usable()

    page.locator("#absolute").click()
    assert page.url == f"{made['url']}?absolute"
    expect(page.locator("#cookie")).to_contain_text("seen=1")
    page.goto(f"{made['url']}moved")
    assert page.url == f"{made['url']}?moved"
    heard = page.evaluate("new Promise(heard => new EventSource('/events').onmessage = event => heard(event.data))")
    assert heard == "hello"

    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the banner's own buttons come last
    expect(banner).to_have_count(0)
    page.reload()
    expect(page.locator("#user")).to_be_visible()
    expect(banner).to_have_count(0)

    page.goto(made["handoff"])
    expect(page.get_by_text("the tier of ada")).to_be_visible()
    expect(page.get_by_text("users_v2.py").first).to_be_visible()
    expect(page.locator(".trace summary").first).to_be_visible()
    window.is_usable()
    page.get_by_label("Your words").fill("Gold is spelt with a capital.")
    page.get_by_label("Verdict").select_option("changes")
    page.get_by_role("button", name="Send").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Sent.")
    window.is_usable()
    found = shop.skycap("sandbox", "feedback", "loyalty")
    assert [(one["text"], one["verdict"]) for one in found["reviews"]] == [("Gold is spelt with a capital.", "changes")]
    assert {url.split("/")[2] for url in window.foreign if url.startswith("http")} == {made["url"].split("/")[2]}


def test_a_link_of_an_address_and_one_with_a_password(shop: Running) -> None:
    shop.fork("loyalty", "users_v2.py")
    made = shop.skycap("sandbox", "link", "loyalty", "--workload", "shop/site", "--password")
    host = made["url"].split("/")[2]
    token, port = host.partition("--")[0], host.rpartition(":")[2]
    by_name = requests.get(f"http://127.0.0.1:{port}/", headers={"host": host}, timeout=20)
    assert by_name.status_code == 401
    with requests.Session() as browser:
        asked = {"accept": "text/html"}
        opened = browser.get(f"http://127.0.0.1:{port}/~skycap/{token}/?x", headers=asked, allow_redirects=False)
        assert (opened.status_code, opened.headers["location"]) == (303, "/?x")
        assert browser.get(f"http://127.0.0.1:{port}/?x", headers=asked).status_code == 401
        entered = browser.get(f"http://127.0.0.1:{port}/?x", headers=asked, auth=("anybody", made["password"]))
        assert (entered.status_code, "gold" in entered.text) == (200, True)
        assert "gold" in browser.get(f"http://127.0.0.1:{port}/?x", headers=asked).text
        shop.skycap("sandbox", "delete", "loyalty")
        gone = browser.get(f"http://127.0.0.1:{port}/?x", headers=asked)
        unknown = requests.get(f"http://127.0.0.1:{port}/~skycap/{'a' * 26}/", timeout=20)
        assert (gone.status_code, gone.text) == (unknown.status_code, unknown.text) == (404, unknown.text)
