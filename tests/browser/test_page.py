"""The page in a real browser: everything that it shows comes by itself, and a keyboard is enough for all of it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS, Running, Window

pytestmark = pytest.mark.timeout(180)
expect.set_options(timeout=PATIENCE_MS)


def test_from_the_first_command_to_the_body_of_the_failing_call(shop: Running, window: Window) -> None:
    page = window.page
    page.goto(shop.sign_in())
    expect(page.get_by_role("heading", name="No sandbox yet")).to_be_visible()
    expect(page.get_by_text("skycap sandbox apply my-change --fork shop/")).to_be_visible()
    assert "code=" not in page.url
    window.is_usable()

    shop.fork("loyalty", "users_v3_buggy.py", "--owner", "ada")
    row = page.get_by_role("link", name="loyalty").first
    expect(row).to_contain_text("Ready")
    row.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="loyalty", exact=True)).to_be_visible()
    expect(page.get_by_text("No request with its key has come yet")).to_be_visible()

    shop.checkout("loyalty")
    request = page.get_by_role("link", name="POST /checkout")
    expect(request).to_have_count(1)
    expect(page.get_by_text("shop/payments failed (400) right after")).to_be_visible()
    window.is_usable()

    request.focus()
    page.keyboard.press("Enter")
    line = page.locator(".trace summary", has_text="POST /charges")
    expect(line).to_contain_text("400")
    line.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("currency must be one of EUR, CHF, GBP").first).to_be_visible()
    window.is_usable()

    for name, sign in (("Output", "Output of shop/users"), ("Changes", "users_v3_buggy.py"), ("Links", "A new link")):
        page.get_by_role("navigation", name="About this sandbox").get_by_role("link", name=name).focus()
        page.keyboard.press("Enter")
        if name == "Output":
            expect(page.get_by_role("group", name=sign)).to_be_visible()
        else:
            expect(page.get_by_text(sign).first).to_be_visible()
        window.is_usable()
    page.get_by_label("What to look at").fill("the currency")
    page.get_by_role("button", name="Make the link").press("Enter")
    expect(page.get_by_role("link", name="review page")).to_be_visible()
    page.get_by_role("button", name=re.compile("Revoke")).press("Enter")
    expect(page.get_by_text("No link leads into it.")).to_be_visible()

    shop.skycap("sandbox", "delete", "loyalty")
    expect(page.get_by_text("There is no sandbox of that name, or not any more.")).to_be_visible()
    assert {url.partition("/")[2].partition("/")[2].partition("/")[0] for url in window.foreign} == {
        shop.url.removeprefix("http://")
    }
    page.get_by_role("button", name="Sign out").press("Enter")
    expect(page.get_by_role("heading", name="Sign in to Skycap")).to_be_visible()
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("no token of this registry")
