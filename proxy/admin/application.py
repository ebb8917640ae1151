"""The pages of the admin listener: a request in, an answer out.

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
from collections.abc import Callable
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from proxy.admin.origin import DRAIN_HEADER, refuse_drain, refuse_reading
from proxy.admin.port import Feed, Shown
from proxy.contract.routes import MAX_ROUTES, encode_route
from proxy.wire.fields import Field
from proxy.wire.head import RequestHead

log = logging.getLogger("skycap.admin")

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
"""Entries of one page: 2.5 ms."""

MAX_QUERY: Final = 20
"""Members of a query; the pages know three names."""

_NUMBER = re.compile(r"[0-9]{1,9}")


class Asked:
    """A request. peer: the address that it came from. header: a field's last value, None without one."""

    def __init__(self, head: RequestHead, peer: str) -> None:
        self._head = head
        target = head.target.decode("latin-1")
        if not target.startswith("/"):  # the absolute-form (RFC 9112 section 3.2.2)
            target = f"/{target.partition('://')[2].partition('/')[2]}"
        self.method = head.method.decode("latin-1")
        self.path, _, self.query = target.partition("?")
        self.peer = peer

    def header(self, name: str) -> str | None:
        values = self._head.values(name.encode())
        return values[-1].decode("latin-1") if values else None


class Answer:
    """fields: those of this answer, its content-type among them."""

    def __init__(self, status: int, content_type: str, body: bytes, fields: tuple[Field, ...] = ()) -> None:
        self.status = status
        self.body = body
        self.fields = ((b"content-type", content_type.encode()), *fields)


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


Page = Callable[[Asked], Answer]


class Application:
    """All pages of one sidecar."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._pages: dict[str, tuple[str, Page]] = {
            "/live": ("GET", self.live),
            "/ready": ("GET", self.ready),
            "/metrics": ("GET", self.metrics),
            "/routes": ("GET", self.routes),
            "/connections": ("GET", self.connections),
            "/drain": ("POST", self.drain),
        }

    def answer(self, asked: Asked) -> Answer:
        """Every request passes here, and every error becomes a problem document here."""
        try:
            if why := refuse_reading(asked.peer, asked.header("host")):
                raise _PageError(421, "misdirected", why, "use an address or localhost")
            if asked.path not in self._pages:
                raise _PageError(
                    404, "not-found", "there is no such page", f"there are {', '.join(sorted(self._pages))}"
                )
            method, page = self._pages[asked.path]
            if asked.method not in (method, "HEAD" if method == "GET" else method):
                allowed = "GET, HEAD" if method == "GET" else method
                refused = _PageError(405, "method-not-allowed", f"this page answers {allowed}")
                return _problem(refused, ((b"allow", allowed.encode()),))
            return page(asked)
        except _PageError as problem:
            return _problem(problem)
        except Exception:
            log.exception("admin listener: internal error")
            return _problem(_PageError(500, "internal-error", "the sidecar's log says more"))

    def live(self, _: Asked) -> Answer:
        return _json({"live": True})

    def ready(self, _: Asked) -> Answer:
        if self._shown.draining():
            raise _PageError(503, "draining", "the sidecar is shutting down")
        if not self._shown.feed.ready:
            raise _PageError(503, "not-ready", "no routes have been received yet", self._shown.feed.problem)
        if trouble := self._shown.trouble():
            raise _PageError(503, "not-ready", "a task of the sidecar has failed", trouble)
        return _json({"ready": True})

    def metrics(self, asked: Asked) -> Answer:
        text, content_type = self._shown.metrics(asked.header("accept") or "")
        return Answer(200, content_type, text)

    def routes(self, asked: Asked) -> Answer:
        table = self._shown.table
        page: dict[str, Any] = {
            "workload": table.workload,
            "synced": table.synced,
            "feed": _feed(self._shown.feed),
            "total": len(table),
        }
        query = _query(asked)
        if "key" in query:
            found = table.lookup(query["key"])
            page["routes"] = [encode_route(found)] if found else []
            return _json(page)
        offset = _number(query, "offset", 0, range(MAX_ROUTES))
        limit = _number(query, "limit", DEFAULT_LIMIT, range(1, MAX_LIMIT + 1))
        listed = table.routes()[offset : offset + limit]
        page["offset"] = offset
        page["routes"] = [encode_route(route) for route in listed]
        if offset + len(listed) < len(table):
            page["next"] = f"/routes?{urlencode({'offset': offset + limit, 'limit': limit})}"
        return _json(page)

    def connections(self, asked: Asked) -> Answer:
        limit = _number(_query(asked), "limit", DEFAULT_LIMIT, range(1, MAX_LIMIT + 1))
        listed = list(islice(self._shown.connections(), limit + 1))
        return _json({"connections": listed[:limit], "truncated": len(listed) > limit})

    def drain(self, asked: Asked) -> Answer:
        if why := refuse_drain(asked.peer, asked.header):
            hint = f"from this machine: curl -X POST -H '{DRAIN_HEADER}: yes' URL"
            raise _PageError(403, "drain-refused", why, hint)
        self._shown.drain()
        return _json({"draining": True}, status=202)


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


def _query(asked: Asked) -> dict[str, str]:
    """Of several members of one name the first."""
    try:
        return dict(reversed(parse_qsl(asked.query, keep_blank_values=True, max_num_fields=MAX_QUERY)))
    except ValueError:
        raise _PageError(400, "bad-query", f"the query has more than {MAX_QUERY} members") from None


def _number(query: dict[str, str], name: str, default: int, numbers: range) -> int:
    text = query.get(name, str(default))
    if not _NUMBER.fullmatch(text) or int(text) not in numbers:
        raise _PageError(400, "bad-query", f"{name} must be a number from {numbers[0]} to {numbers[-1]}")
    return int(text)


def _json(document: object, status: int = 200) -> Answer:
    return Answer(status, "application/json", json.dumps(document, separators=(",", ":")).encode() + b"\n")


def _problem(problem: _PageError, fields: tuple[Field, ...] = ()) -> Answer:
    body = json.dumps(problem.document).encode() + b"\n"
    return Answer(problem.status, "application/problem+json", body, fields)


def too_large() -> Answer:
    """For content that is not read."""
    return _problem(_PageError(413, "content-too-large", "no page takes content"))
