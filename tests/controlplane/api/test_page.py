"""The page over HTTP: what needs no token tells nothing, and a cookie is worth what its token was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import aiohttp
import pytest

from controlplane.api.access import Access, Role
from controlplane.api.page import files
from controlplane.api.sessions import CODE_SECONDS, MAX_SESSIONS, SESSION_SECONDS, Sessions
from controlplane.model.handoff import PreviewRequest
from controlplane.model.workload import Workload
from tests.controlplane.api.served import TOKENS, USER_TOKEN, Served
from tests.controlplane.sandboxes import document, sandbox

NAME = "agent-42"


@asynccontextmanager
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """It keeps cookies of addresses as well, as browsers do."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as one:
        yield one


async def sign_in(api: Served, one: aiohttp.ClientSession, **secret: str) -> int:
    async with one.post(f"{api.url}/session", json=secret, headers={"origin": api.url}) as answer:
        return answer.status


async def test_the_page_needs_no_token_and_loads_nothing_from_elsewhere(api: Served) -> None:
    async with browser() as one, one.get(api.url) as answer:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        text = await answer.text()
    assert "http" not in text
    for name, path in files().items():
        assert not any(f"{quote}http" in path.read_text() for quote in "\"'`") or "www.w3.org" in path.read_text(), name


async def test_its_parts_are_those_and_no_others(api: Served) -> None:
    async with browser() as one:
        for name in files():
            async with one.get(f"{api.url}/web/{name}") as answer:
                assert answer.status == 200
                assert answer.headers["x-content-type-options"] == "nosniff"
        for name in ("__init__.py", "..%2Fsettings.py", "none.js"):
            async with one.get(f"{api.url}/web/{name}") as answer:
                assert answer.status == 404


@pytest.mark.parametrize("role", [Role.USER, Role.VIEWER])
async def test_signing_in_with_a_token(api: Served, role: Role) -> None:
    async with browser() as one:
        async with one.get(f"{api.url}/v1/sandboxes") as answer:
            assert answer.status == 401
        async with one.post(f"{api.url}/session", json={"token": TOKENS[role]}) as answer:
            assert await answer.json() == {"role": role.value}
            cookie = answer.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert TOKENS[role] not in cookie
        async with one.get(f"{api.url}/v1/sandboxes") as answer:
            assert answer.status == 200
        changes = one.put(f"{api.url}/v1/sandboxes/{NAME}", json=document(NAME), headers={"origin": api.url})
        async with changes as answer:
            assert answer.status == (201 if role is Role.USER else 403)
        async with one.delete(f"{api.url}/session", headers={"origin": api.url}) as answer:
            assert answer.status == 200
        async with one.get(f"{api.url}/v1/sandboxes") as answer:
            assert answer.status == 401
        async with one.get(f"{api.url}/session") as answer:
            assert await answer.json() == {"role": None}


@pytest.mark.parametrize(
    "secret", [{"token": "wrong"}, {"token": TOKENS[Role.SIDECAR]}, {"code": "x"}, {}, {"token": ""}]
)
async def test_who_has_no_token_does_not_get_in(api: Served, secret: dict[str, str]) -> None:
    async with browser() as one:
        assert await sign_in(api, one, **secret) == 403


async def test_a_cookie_alone_changes_nothing(api: Served) -> None:
    """It comes by itself: what changes something has to come from our own page."""
    async with browser() as one:
        await sign_in(api, one, token=USER_TOKEN)
        for headers, status in (({}, 401), ({"origin": "http://evil.example"}, 403)):
            async with one.put(f"{api.url}/v1/sandboxes/{NAME}", json=document(NAME), headers=headers) as answer:
                assert answer.status == status
        assert await api.client.sandboxes() == []


async def test_a_wrong_token_is_not_helped_by_a_cookie(api: Served) -> None:
    async with browser() as one:
        await sign_in(api, one, token=USER_TOKEN)
        async with one.get(f"{api.url}/v1/sandboxes", headers={"authorization": "Bearer wrong"}) as answer:
            assert answer.status == 401


async def test_a_code_signs_in_once(api: Served) -> None:
    status, invited, _ = await api.ask("POST", "/session/code", json={})
    assert status == 200
    async with browser() as one:
        assert await sign_in(api, one, code=invited["code"]) == 200
        assert await sign_in(api, one, code=invited["code"]) == 403
    for role, expected in ((Role.SIDECAR, 403), (Role.VIEWER, 200)):
        headers = {"authorization": f"Bearer {TOKENS[role]}"}
        assert (await api.ask("POST", "/session/code", json={}, headers=headers))[0] == expected


async def test_codes_and_sessions_end() -> None:
    now = [0.0]
    sessions = Sessions(Access(TOKENS), lambda: now[0])
    code = sessions.invite(Role.USER)
    now[0] = CODE_SECONDS
    assert await sessions.open(code) is None
    opened = await sessions.open(USER_TOKEN)
    assert opened is not None
    assert sessions._sessions[opened[0]].ends == CODE_SECONDS + SESSION_SECONDS
    for _ in range(MAX_SESSIONS):
        await sessions.open(USER_TOKEN)
    assert len(sessions._sessions) == MAX_SESSIONS
    assert opened[0] not in sessions._sessions


# -- the page that a link has -------------------------------------------------------------------------------------

FROM_THE_GATEWAY = {"authorization": f"Bearer {TOKENS[Role.SIDECAR]}"}


async def link(api: Served, **more: str) -> dict[str, str]:
    """A link into a sandbox; the fields that the gateway sends with its token."""
    await api.client.put_workload(Workload(workload="shop/frontend", address="127.0.0.1:1"))
    await api.client.apply(sandbox(NAME))
    await api.client.wait(NAME, 10)
    made = await api.client.create_preview(NAME, PreviewRequest(workload="shop/frontend", **more))
    assert made.url is not None
    return {**FROM_THE_GATEWAY, "skycap-preview": made.url.removeprefix("http://").partition("--")[0]}


async def test_what_a_reviewer_sees_and_says(api: Served) -> None:
    fields = await link(api, note="the price")
    status = (await api.client.sandbox(NAME)).status
    assert status is not None
    async with aiohttp.ClientSession(headers=fields) as gateway:
        async with gateway.get(f"{api.url}/~skycap/") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
        async with gateway.get(f"{api.url}/~skycap/style.css") as answer:
            assert answer.status == 200
        async with gateway.get(f"{api.url}/~skycap/handoff") as answer:
            seen = await answer.json()
        assert (seen["sandbox"], seen["note"], seen["link"]["workload"]) == (NAME, "the price", "shop/frontend")
        assert datetime.fromisoformat(seen["link"]["expires"]) == status.expires, "no link outlives its sandbox"
        assert "previews" not in seen, "other links are not this reviewer's"
        async with gateway.post(f"{api.url}/~skycap/reviews", json={"text": "nice", "verdict": "approved"}) as answer:
            assert answer.status == 201
        async with gateway.post(f"{api.url}/~skycap/reviews", json={"text": ""}) as answer:
            assert answer.status == 422
    found = await api.client.feedback(NAME)
    assert [(review.text, review.preview) for review in found.reviews] == [("nice", "frontend")]


async def test_without_a_link_there_is_no_such_page(api: Served) -> None:
    fields = await link(api)
    for token in ("", "a" * 26, "../x"):
        async with aiohttp.ClientSession(headers={**fields, "skycap-preview": token}) as gateway:
            for path in ("/~skycap/", "/~skycap/handoff"):
                async with gateway.get(f"{api.url}{path}") as answer:
                    assert answer.status == 404
    async with browser() as one, one.get(f"{api.url}/~skycap/handoff") as answer:
        assert answer.status == 401
