"""The page at `/`, and the page about a change that a preview link has: files of `controlplane/web`, and signing in.

    GET /  /web/FILE      the page and its parts: they tell nothing, so they need no token
    POST /session         {"token": ...} or {"code": ...}: sets the cookie; GET: whose it is; DELETE: signs out
    POST /session/code    a code that signs in once, for who has a token (`skycap page`)

    GET /~skycap/ and below it    what a gateway asks for, with its own token and the link's (`proxy.exchange.gateway`)

These are no part of the REST interface, and may change with the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

import controlplane
from controlplane.api.access import ROLE, Role
from controlplane.api.body import read_as, read_json
from controlplane.api.handoff import handoff
from controlplane.api.operations import REGISTRY, json_answer
from controlplane.api.previews import parsed
from controlplane.api.refused import Refused
from controlplane.api.sessions import SESSION_SECONDS, Sessions, cookie_name
from controlplane.life.refusals import NotFound
from controlplane.model.handoff import ReviewRequest, StoredLink
from proxy.contract.previews import OWN_PATH, TOKEN, TOKEN_FIELD

OPEN: Final = frozenset({"/", "/web/{file}", "/session"})
"""Routes that need no token."""

SESSIONS = web.AppKey("sessions", Sessions)

_FOLDER: Final = Path(controlplane.__file__).parent / "web"

_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_POLICY: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Nothing but our own files, and nothing from anywhere else."""


def files() -> Mapping[str, Path]:
    """By name: what the page consists of."""
    return {path.name: path for path in _FOLDER.iterdir() if path.suffix in _TYPES}


def attach(app: web.Application, sessions: Sessions) -> None:
    """Give an application the page."""
    app[SESSIONS] = sessions
    known = files()

    def sent(name: str) -> web.Response:
        path = known.get(name)
        if path is None:
            raise NotFound(f"the page has no file {name!r}")
        return web.Response(body=path.read_bytes(), content_type=_TYPES[path.suffix], charset="utf-8", headers=_POLICY)

    async def index(_: web.Request) -> web.Response:
        return sent("index.html")

    async def part(request: web.Request) -> web.Response:
        return sent(request.match_info["file"])

    async def about(request: web.Request) -> web.Response:
        _followed(request)
        return sent("handoff.html")

    async def part_of_about(request: web.Request) -> web.Response:
        return sent(request.match_info["file"])

    app.router.add_get("/", index)
    app.router.add_get("/web/{file}", part)
    app.router.add_get("/session", _who)
    app.router.add_post("/session", _sign_in)
    app.router.add_delete("/session", _sign_out)
    app.router.add_post("/session/code", _invite)
    app.router.add_get(OWN_PATH, about)
    app.router.add_get(f"{OWN_PATH}handoff", _handoff)
    app.router.add_post(f"{OWN_PATH}reviews", _review)
    app.router.add_get(f"{OWN_PATH}{{file}}", part_of_about)


async def _who(request: web.Request) -> web.Response:
    visitor = request.app[SESSIONS].visitor(request)
    return web.json_response({"role": visitor.role.value if visitor else None})


async def _sign_in(request: web.Request) -> web.Response:
    document = await read_json(request)
    said = document.get("token") or document.get("code") if isinstance(document, dict) else None
    opened = await request.app[SESSIONS].open(said.strip()) if isinstance(said, str) else None
    if opened is None:
        raise Refused(403, "wrong-token", "That is no token of this registry", hint="`skycap page` signs you in.")
    session, role = opened
    response = web.json_response({"role": role.value})
    response.set_cookie(
        cookie_name(request), session, path="/", max_age=SESSION_SECONDS, httponly=True, samesite="Strict",
        secure=request.secure,
    )  # fmt: skip
    return response


async def _sign_out(request: web.Request) -> web.Response:
    request.app[SESSIONS].close(request)
    response = web.json_response({"role": None})
    response.del_cookie(cookie_name(request), path="/")
    return response


async def _invite(request: web.Request) -> web.Response:
    if request[ROLE] is Role.SIDECAR:
        raise Refused(403, "forbidden", "The token does not allow this", "a sidecar sees no page")
    return web.json_response({"code": request.app[SESSIONS].invite(request[ROLE])})


def _followed(request: web.Request) -> tuple[str, StoredLink]:
    """The sandbox and the link of a reviewer, whom a gateway has let in."""
    token = request.headers.get(TOKEN_FIELD, "")
    found = request.app[REGISTRY].handoffs.followed(token) if TOKEN.fullmatch(token) else None
    if found is None:
        raise NotFound("this link leads nowhere, or not any more")
    return found


async def _handoff(request: web.Request) -> web.Response:
    sandbox, link = _followed(request)
    found = await handoff(request, sandbox)
    document = found.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"previews"})
    expires = min(link.expires, found.expires)  # no link outlives its sandbox
    document["link"] = {"name": link.name, "workload": link.workload, "expires": expires.isoformat()}
    if link.group:
        document["link"]["group"] = link.group
    if link.note:
        document["note"] = link.note
    return web.Response(text=json.dumps(document), content_type="application/json")


async def _review(request: web.Request) -> web.Response:
    sandbox, link = _followed(request)
    said = await read_as(request, lambda document: parsed(ReviewRequest, document))
    return json_answer(await request.app[REGISTRY].handoffs.review(sandbox, said, link.name), 201)
