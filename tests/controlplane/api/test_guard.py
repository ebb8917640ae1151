"""Who may speak to the registry: real requests, with what browsers and strangers would send."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from controlplane.api.access import Role
from controlplane.client import Client, RegistryError
from tests.controlplane.api.served import TOKENS, USER_TOKEN, Served, served
from tests.controlplane.sandboxes import USERS, document, sandbox


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


@pytest.mark.parametrize("header", [
    None, "", USER_TOKEN, f"Basic {USER_TOKEN}", "Bearer", "Bearer ", f"Bearer {USER_TOKEN}x", "Bearer \udcff",
])  # fmt: skip
async def test_on_loopback_too_only_who_has_a_token(api: Served, header: str | None) -> None:
    async with aiohttp.ClientSession() as stranger:
        headers = {} if header is None else {"authorization": header}
        for path in ("/v1/sandboxes", "/metrics", "/openapi.json", "/v1/watch/routes?workload=a/b", "/nope"):
            async with stranger.get(f"{api.url}{path}", headers=headers) as answer:
                assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
                problem = await answer.json(content_type="application/problem+json")
                assert problem["code"] == "unauthorized"
                assert USER_TOKEN not in str(problem)
        for path in ("/live", "/ready"):
            async with stranger.get(f"{api.url}{path}", headers=headers) as answer:
                assert answer.status == 200


async def test_the_scheme_is_written_in_any_case(api: Served) -> None:
    assert (await api.ask("GET", "/v1/sandboxes", headers={"authorization": f"bearer  {USER_TOKEN}"}))[0] == 200


async def test_a_wrong_token_is_told_from_none(api: Served) -> None:
    for token, said in (("wrong-" + USER_TOKEN, "the token is wrong"), ("", "a bearer token is needed")):
        async with Client(api.url, token) as client:
            with pytest.raises(RegistryError, match=said):
                await client.sandboxes()


async def test_any_name_may_be_ours_and_foreign_pages_are_still_refused(api: Served) -> None:
    headers = {"host": "registry.internal"}
    assert (await api.ask("GET", "/v1/sandboxes", headers=headers))[0] == 200
    headers["origin"] = "https://evil.example"
    assert (await api.ask("GET", "/v1/sandboxes", headers=headers))[0] == 403


PATHS = {"{name}": "a", "{namespace}": "shop", "{id}": "sidecar-1", "{preview}": "web", "{digest}": "0" * 64}


async def test_what_each_role_may(api: Served) -> None:
    """Every operation of the table, so that a new one is decided about."""
    document = (await api.ask("GET", "/openapi.json"))[1]
    may: dict[Role, set[str]] = {role: set() for role in Role}
    for role in Role:
        for path, methods in document["paths"].items():
            for part, value in PATHS.items():
                path = path.replace(part, value)
            for method in methods:
                headers = {"authorization": f"Bearer {TOKENS[role]}"}
                async with api.http.request(method, f"{api.url}{path}", headers=headers) as answer:
                    assert answer.status != 401
                    if answer.status != 403:
                        may[role].add(f"{method.upper()} {path}")
    open_to_all = {"GET /live", "GET /ready"}
    sidecars = open_to_all | {"GET /v1/watch/routes", "PUT /v1/sidecars/sidecar-1", "POST /v1/hops"}
    sidecars |= {f"GET /v1/trees/{'0' * 64}"}  # for the init container of a pod
    assert may[Role.SIDECAR] == sidecars
    asks = {"POST /v1/sandboxes/a/assertions", "POST /v1/sandboxes/a/files"}  # they change nothing
    assert may[Role.VIEWER] == {one for one in may[Role.USER] if one.startswith("GET ")} | asks
    assert {one for one in may[Role.USER] if not one.startswith("GET ")} == {
        "PUT /v1/sandboxes/a", "DELETE /v1/sandboxes/a", "PUT /v1/workloads/shop/a", "DELETE /v1/workloads/shop/a",
        "PUT /v1/sidecars/sidecar-1", "POST /v1/hops", *asks,
        "PUT /v1/sandboxes/a/stubs",
        "POST /v1/sandboxes/a/rollback", "POST /v1/sandboxes/a/extend", "POST /v1/sandboxes/a/diff",
        "PUT /v1/groups/a", "DELETE /v1/groups/a", "POST /v1/sandboxes/a/push", f"PUT /v1/files/{'0' * 64}",
        "POST /v1/sandboxes/a/previews", "DELETE /v1/sandboxes/a/previews/web", "POST /v1/sandboxes/a/reviews",
        "POST /v1/sandboxes/a/evidence",
    }  # fmt: skip
    status, problem, _ = await api.ask("GET", "/v1/sandboxes", headers=bearer(Role.SIDECAR))
    assert (status, problem["detail"]) == (
        403, "this is the token of a sidecar, who may only watch routes and report",
    )  # fmt: skip


def bearer(role: Role) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKENS[role]}"}


async def test_a_viewer_sees_no_value_of_an_environment_variable(api: Served) -> None:
    users = {"workload": USERS, "address": "127.0.0.1:1", "command": ["users"], "env": {"PASSWORD": "hunter2"}}
    assert (await api.ask("PUT", f"/v1/workloads/{USERS}", json=users))[0] == 201
    fork = {"workload": USERS, "command": ["users"], "env": {"TOKEN": "hunter2"}}
    assert (await api.ask("PUT", "/v1/sandboxes/a", json=document("a", fork)))[0] == 201
    for path in ("/v1/sandboxes", "/v1/sandboxes/a", "/v1/workloads", f"/v1/workloads/{USERS}"):
        _, plain, _ = await api.ask("GET", path)
        assert "hunter2" in str(plain)
        status, shown, _ = await api.ask("GET", path, headers=bearer(Role.VIEWER))
        assert status == 200
        assert "hunter2" not in str(shown)
        assert "(hidden)" in str(shown)


async def test_the_token_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with served() as api:
        await api.client.sandboxes()
        await api.ask("GET", "/v1/sandboxes", headers={"authorization": f"Bearer {USER_TOKEN}x"})
    assert USER_TOKEN not in caplog.text


async def test_ipv6_loopback() -> None:
    async with served(host="::1") as api:
        assert await api.client.sandboxes() == []


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
