"""Who may speak to the registry.

With a token: whoever has it. It is compared in constant time and appears in no log.

Without one, the registry is on loopback and every program of this machine may use it, as with any development
server. A browser on this machine also runs programs of strangers, so three things are required that a hostile
page cannot provide:

* a `Host` that is a loopback name or address: a page that rebinds its own name to 127.0.0.1 still sends its name;
* no `Origin` but our own: a page's requests carry theirs (RFC 6454), and so do its form posts;
* `application/json` for every body (`controlplane.api.body`): a form cannot say that without a preflight, which
  we answer with 405.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from functools import lru_cache

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from controlplane.api.refused import Refused

OPEN_PATHS = frozenset({"/live", "/ready"})
"""Asked by whoever restarts us, which has no token. They tell nothing else."""


def guard(token: str) -> Middleware:
    """The middleware for a registry with this token; empty: for one on loopback without any."""
    check = _by_token(token) if token else _by_loopback

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            check(request)
        _same_origin(request)
        return await handler(request)

    return guarded


def _by_token(token: str) -> Callable[[web.Request], None]:
    expected = token.encode()

    def check(request: web.Request) -> None:
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        given = said.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and hmac.compare_digest(given, expected):
            return
        detail = "the token is wrong" if said else "a bearer token is needed"
        raise Refused(401, "unauthorized", "Not authorized", detail, headers={"www-authenticate": "Bearer"})

    return check


def _by_loopback(request: web.Request) -> None:
    host = request.headers.get("host", "")
    if not is_loopback(host_name(host)):
        detail = f"this registry has no token, so it answers only to loopback names, not to {host[:100]!r}"
        raise Refused(403, "foreign-host", "The host is not this machine", detail, hint="Ask for 127.0.0.1.")


def _same_origin(request: web.Request) -> None:
    origin = request.headers.get("origin")
    foreign = origin is not None and origin != f"{request.scheme}://{request.headers.get('host', '')}"
    # A picture or a script of a foreign page sends no Origin, but says where it comes from (Fetch Metadata).
    site, mode = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
    if foreign or (site in ("cross-site", "same-site") and mode != "navigate"):
        raise Refused(403, "foreign-origin", "The request comes from another site's page")


def host_name(host: str) -> str:
    """The name in a `Host` field, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


@lru_cache(maxsize=32)  # parsing an address is 5 % of what a sidecar's report costs, and they all say the same one
def is_loopback(name: str) -> bool:
    """`localhost`, 127.0.0.0/8 or ::1."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
