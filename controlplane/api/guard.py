"""Who may speak to the registry: whoever has a token (`controlplane.api.access`), which no log ever shows.

A browser also runs programs of strangers, and may be made to send what it has: no `Origin` but our own is taken (a
page's requests carry theirs, RFC 6454, and so do its form posts), and every body says `application/json`
(`controlplane.api.body`), which a form cannot say without a preflight, which we answer with 405.
"""

from __future__ import annotations

from collections.abc import Set

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from controlplane.api.access import NAMESPACE, ROLE, Access, Visitor, within
from controlplane.api.refused import Refused
from controlplane.api.sessions import Sessions
from proxy.contract.previews import GATEWAY, PREVIEWS


def guard(access: Access, open_paths: Set[str], sessions: Sessions) -> Middleware:
    """open_paths: are asked by whoever restarts us, which has no token, and by a browser that has not signed in yet.
    They tell nothing else. sessions: of those that have."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        _same_origin(request)
        if _route(request) not in open_paths:
            visitor = await _visitor(request, access, sessions)
            request[ROLE] = visitor.role
            request[NAMESPACE] = visitor.namespace
            _asked(request)
        return await handler(request)

    return guarded


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _asked(request: web.Request) -> None:
    """A sidecar of one namespace asks for no other's routes, nor for the preview links, which are of all of them."""
    if workload := request.query.get("workload", ""):
        within(request, workload)
    if request.query.get(PREVIEWS) == "true":
        within(request, GATEWAY)


async def _visitor(request: web.Request, access: Access, sessions: Sessions) -> Visitor:
    if "authorization" not in request.headers:
        visitor = sessions.visitor(request)
        # A cookie comes by itself: what changes something has to say that it comes from our own page.
        if visitor is not None and (request.method in ("GET", "HEAD") or "origin" in request.headers):
            return visitor
    scheme, _, said = request.headers.get("authorization", "").partition(" ")
    visitor = await access.visitor(said.strip()) if scheme.lower() == "bearer" else None
    if visitor is not None:
        return visitor
    detail = "the token is wrong" if said else "a bearer token is needed"
    hint = "Whoever runs the registry finds its tokens in their state directory, and gives others --token-file."
    raise Refused(401, "unauthorized", "Not authorized", detail, hint=hint, headers={"www-authenticate": "Bearer"})


def _same_origin(request: web.Request) -> None:
    origin = request.headers.get("origin")
    foreign = origin is not None and origin != f"{request.scheme}://{request.headers.get('host', '')}"
    # A picture or a script of a foreign page sends no Origin, but says where it comes from (Fetch Metadata).
    site, mode = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
    if foreign or (site in ("cross-site", "same-site") and mode != "navigate"):
        raise Refused(403, "foreign-origin", "The request comes from another site's page")
