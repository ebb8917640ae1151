"""Who may speak to the registry: real requests, with what browsers and strangers would send."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.api.guard import host_name, is_loopback
from controlplane.client import Client, RegistryError
from tests.controlplane.api.served import Served, served
from tests.controlplane.sandboxes import document, sandbox

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7070", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]"]
)
async def test_a_name_that_was_rebound_to_loopback_is_refused(api: Served, host: str) -> None:
    status, problem, _ = await api.ask("GET", "/v1/sandboxes", headers={"host": host})
    assert (status, problem["code"]) == (403, "foreign-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.8.9.1:7070", "[::1]:7070", "[::1]"])
async def test_loopback_names_are_ours(api: Served, host: str) -> None:
    assert (await api.ask("GET", "/v1/sandboxes", headers={"host": host}))[0] == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", ""])
async def test_another_sites_page_is_refused(api: Served, method: str, origin: str) -> None:
    await api.client.apply(sandbox("a"))
    status, problem, _ = await api.ask(method, "/v1/sandboxes/a", json=document("a"), headers={"origin": origin})
    assert (status, problem["code"]) == (403, "foreign-origin")
    assert len(await api.client.sandboxes()) == 1


async def test_our_own_page_is_not(api: Served) -> None:
    assert (await api.ask("GET", "/v1/sandboxes", headers={"origin": api.url}))[0] == 200


@pytest.mark.parametrize(("site", "mode", "status"), [
    ("cross-site", "no-cors", 403), ("same-site", "cors", 403), ("cross-site", "navigate", 200),
    ("same-origin", "cors", 200), ("none", "navigate", 200),
])  # fmt: skip
async def test_a_picture_in_a_foreign_page_opens_no_stream(api: Served, site: str, mode: str, status: int) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode}
    assert (await api.ask("GET", "/v1/sandboxes", headers=headers))[0] == status


async def test_a_form_cannot_change_anything(api: Served) -> None:
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
        status, _, _ = await api.ask("PUT", "/v1/sandboxes/a", data="{}", headers={"content-type": kind})
        assert status == 415
        assert (await api.ask("POST", "/v1/sandboxes/a", data="{}", headers={"content-type": kind}))[0] == 405


async def test_with_a_token_only_who_has_it() -> None:
    async with served(token=TOKEN) as api:
        assert await api.client.sandboxes() == []
        for header in (None, "", TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", f"Bearer {TOKEN}x", "Bearer \udcff"):
            headers = {} if header is None else {"authorization": header}
            status, problem, answered = await api.ask("GET", "/v1/sandboxes", headers=headers)
            assert (status, problem["code"]) == (401, "unauthorized")
            assert answered["www-authenticate"] == "Bearer"
            assert TOKEN not in str(problem)
        assert (await api.ask("GET", "/v1/sandboxes", headers={"authorization": f"bearer  {TOKEN}"}))[0] == 200
        for path in ("/metrics", "/openapi.json", "/v1/watch/routes?workload=a/b", "/nope"):
            assert (await api.ask("GET", path))[0] == 401
        for path in ("/live", "/ready"):
            assert (await api.ask("GET", path))[0] == 200
        async with Client(api.url, "wrong-" + TOKEN) as client:
            with pytest.raises(RegistryError, match="the token is wrong"):
                await client.sandboxes()


async def test_with_a_token_any_name_may_be_ours_and_foreign_pages_are_still_refused() -> None:
    async with served(token=TOKEN) as api:
        headers = {"authorization": f"Bearer {TOKEN}", "host": "registry.internal"}
        assert (await api.ask("GET", "/v1/sandboxes", headers=headers))[0] == 200
        headers["origin"] = "https://evil.example"
        assert (await api.ask("GET", "/v1/sandboxes", headers=headers))[0] == 403


async def test_the_token_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with served(token=TOKEN) as api:
        await api.client.sandboxes()
        await api.ask("GET", "/v1/sandboxes", headers={"authorization": f"Bearer {TOKEN}x"})
    assert TOKEN not in caplog.text


async def test_ipv6_loopback() -> None:
    async with served(host="::1") as api:
        assert await api.client.sandboxes() == []


@pytest.mark.parametrize(("host", "name"), [
    ("a", "a"), ("a:1", "a"), ("[::1]", "::1"), ("[::1]:1", "::1"), ("", ""), ("[::1", "::1"), ("::1", ""),
])  # fmt: skip
def test_the_name_in_a_host_field(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize("name", ["", "localhost.", "a.localhost", "127.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "1"])
def test_what_is_not_loopback(name: str) -> None:
    assert not is_loopback(name)


async def test_answers_are_not_for_browsers_to_guess_at(api: Served) -> None:
    _, _, headers = await api.ask("GET", "/v1/sandboxes")
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


async def test_a_head_that_is_too_large_is_refused(api: Served) -> None:
    for head in (b"x: " + b"y" * 20_000, b"\r\n".join(b"x%d: y" % number for number in range(300))):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(b"GET /live HTTP/1.1\r\nhost: localhost\r\n" + head + b"\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert (await api.ask("GET", "/live"))[0] == 200
