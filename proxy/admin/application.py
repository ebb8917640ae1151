"""The pages of the admin listener, on aiohttp.

    GET  /live          the process runs
    GET  /ready         requests are decided without waiting for a table; 503 while draining
    GET  /metrics       Prometheus or OpenMetrics, as `accept` asks
    GET  /routes        the table and where it comes from; ?key=K, or ?offset=N&limit=N
    GET  /connections   open connections; ?limit=N
    POST /drain         stop accepting, finish what is in flight, end; see `proxy.admin.origin`

Errors are problem documents (RFC 9457). A page holds a limited number of entries, so that a table of 100,000
routes is shown without a stall: one entry costs 5 us.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from proxy.admin.origin import DRAIN_HEADER, refuse_drain, refuse_reading
from proxy.admin.port import Feed, Shown
from proxy.base.crowd import Crowd
from proxy.contract.routes import MAX_ROUTES, encode_route

log = logging.getLogger("skycap.admin")

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
"""Entries of one page: 2.5 ms."""

_NUMBER = re.compile(r"[0-9]{1,9}")

_CROWD = web.AppKey("crowd", Crowd)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _PageError(Exception):
    """An answer that is an error. code: stable, lower case; detail: one sentence; hint: what to do next."""

    def __init__(self, status: int, code: str, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.document = {
            "type": f"urn:skycap:error:{code}",
            "title": code.replace("-", " ").capitalize(),
            "status": status,
            "detail": detail,
            "code": code,
        }
        if hint:
            self.document["hint"] = hint


def application(shown: Shown, crowd: Crowd) -> web.Application:
    """The application of one sidecar. crowd: is told which connections are in use."""
    pages = _Pages(shown)
    made = web.Application(middlewares=[_guard], client_max_size=1024)
    made[_CROWD] = crowd
    made.router.add_get("/live", pages.live)
    made.router.add_get("/ready", pages.ready)
    made.router.add_get("/metrics", pages.metrics)
    made.router.add_get("/routes", pages.routes)
    made.router.add_get("/connections", pages.connections)
    made.router.add_post("/drain", pages.drain)
    return made


class _Pages:
    """One method per page."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    async def live(self, _: web.Request) -> web.Response:
        return _json({"live": True})

    async def ready(self, _: web.Request) -> web.Response:
        if self._shown.draining():
            raise _PageError(503, "draining", "the sidecar is shutting down")
        if not self._shown.feed.ready:
            raise _PageError(503, "not-ready", "no routes have been received yet", self._shown.feed.problem)
        if trouble := self._shown.trouble():
            raise _PageError(503, "not-ready", "a task of the sidecar has failed", trouble)
        return _json({"ready": True})

    async def metrics(self, request: web.Request) -> web.Response:
        text, content_type = self._shown.metrics(request.headers.get("accept", ""))
        return web.Response(body=text, headers={"content-type": content_type})

    async def routes(self, request: web.Request) -> web.Response:
        table = self._shown.table
        page: dict[str, Any] = {
            "workload": table.workload,
            "synced": table.synced,
            "feed": _feed(self._shown.feed),
            "total": len(table),
        }
        if "key" in request.query:
            found = table.lookup(request.query["key"])
            page["routes"] = [encode_route(found)] if found else []
            return _json(page)
        offset = _number(request, "offset", 0, range(MAX_ROUTES))
        limit = _number(request, "limit", DEFAULT_LIMIT, range(1, MAX_LIMIT + 1))
        listed = table.routes()[offset : offset + limit]
        page["offset"] = offset
        page["routes"] = [encode_route(route) for route in listed]
        if offset + len(listed) < len(table):
            page["next"] = f"/routes?{urlencode({'offset': offset + limit, 'limit': limit})}"
        return _json(page)

    async def connections(self, request: web.Request) -> web.Response:
        limit = _number(request, "limit", DEFAULT_LIMIT, range(1, MAX_LIMIT + 1))
        listed = list(islice(self._shown.connections(), limit + 1))
        return _json({"connections": listed[:limit], "truncated": len(listed) > limit})

    async def drain(self, request: web.Request) -> web.Response:
        if why := refuse_drain(_peer(request), request.headers):
            hint = f"from this machine: curl -X POST -H '{DRAIN_HEADER}: yes' URL"
            raise _PageError(403, "drain-refused", why, hint)
        self._shown.drain()
        return _json({"draining": True}, status=202)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request passes here, and every error becomes a problem document here."""
    try:
        if why := refuse_reading(_peer(request), request.headers.get("host")):
            raise _PageError(421, "misdirected", why, "use an address or localhost")
        with request.app[_CROWD].serving(request.protocol):
            answer = await handler(request)
    except _PageError as problem:
        answer = _problem(problem)
    except web.HTTPNotFound:
        known = sorted({resource.canonical for resource in request.app.router.resources()})
        answer = _problem(_PageError(404, "not-found", "there is no such page", f"there are {', '.join(known)}"))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = _problem(_PageError(405, "method-not-allowed", f"this page answers {allowed}"))
        answer.headers["allow"] = allowed
    except Exception:
        log.exception("admin listener: internal error")
        answer = _problem(_PageError(500, "internal-error", "the sidecar's log says more"))
    answer.headers["server"] = "skycap"
    answer.headers["cache-control"] = "no-store"
    answer.headers["x-content-type-options"] = "nosniff"
    return answer


def _feed(feed: Feed) -> dict[str, Any]:
    age = feed.age()
    return {
        "source": feed.source,
        "connected": feed.connected,
        "ready": feed.ready,
        "givenUp": feed.given_up,
        "applied": feed.applied,
        "ageSeconds": None if age is None else round(age, 3),
        "refused": feed.refused,
        "ignored": feed.ignored,
        "failures": feed.failures,
        "problem": feed.problem,
    }


def _number(request: web.Request, name: str, default: int, numbers: range) -> int:
    text = request.query.get(name, str(default))
    if not _NUMBER.fullmatch(text) or int(text) not in numbers:
        raise _PageError(400, "bad-query", f"{name} must be a number from {numbers[0]} to {numbers[-1]}")
    return int(text)


def _peer(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return str(peer[0]) if peer else ""


def _json(document: object, status: int = 200) -> web.Response:
    body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    return web.Response(body=body, status=status, content_type="application/json")


def _problem(problem: _PageError) -> web.Response:
    body = json.dumps(problem.document).encode() + b"\n"
    return web.Response(body=body, status=problem.status, content_type="application/problem+json")
