"""Who may speak to the registry: whoever has a token (`controlplane.api.access`), which no log ever shows.

A browser also runs programs of strangers, and may be made to send what it has: no `Origin` but our own is taken (a
page's requests carry theirs, RFC 6454, and so do its form posts), and every body says `application/json`
(`controlplane.api.body`), which a form cannot say without a preflight, which we answer with 405.
"""

from __future__ import annotations

from collections.abc import Set

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from controlplane.api.access import ROLE, Access, Visitor
from controlplane.api.refused import Refused


def guard(access: Access, open_paths: Set[str]) -> Middleware:
    """open_paths: are asked by whoever restarts us, which has no token. They tell nothing else."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in open_paths:
            visitor = await _visitor(request, access)
            request[ROLE] = visitor.role
            _within(request, visitor.namespace)
        _same_origin(request)
        return await handler(request)

    return guarded


def _within(request: web.Request, namespace: str) -> None:
    """A sidecar of one namespace asks for no other's routes."""
    workload = request.query.get("workload", "")
    if namespace and workload and workload.partition("/")[0] != namespace:
        raise Refused(403, "foreign-namespace", f"A sidecar in {namespace} may not ask for {workload}")


async def _visitor(request: web.Request, access: Access) -> Visitor:
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
