"""Hops: what the sidecars tell (`POST /v1/hops`), and what people and agents ask about it.

A page is what matches among the newest PAGE_SCANNED hops from where it begins, so that a filter that matches nothing
costs a bounded time; `before` then leads on. Following is a `text/event-stream`: first what is kept above
`Last-Event-ID`, or nothing when it is not said, then what comes, each hop as `event: hop` with its position as `id:`
and `event: end` when the sandbox has ended.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress
from typing import Any

from aiohttp import web

from controlplane.api.access import NAMESPACE
from controlplane.api.operations import (
    GROUP_NAME,
    LAST_EVENT_ID,
    REGISTRY,
    SANDBOX_NAME,
    Answer,
    Operation,
    Parameter,
    Values,
)
from controlplane.api.refused import Refused
from controlplane.hops.filter import Filter
from controlplane.hops.port import HopsUnavailableError, Kept
from controlplane.hops.tree import grow
from controlplane.model.hop import Trace, TrafficPage
from controlplane.model.problem import AGO, NAME, WORKLOAD_NAME, Grammar
from proxy.contract.hops import HOPS_PATH, HOPS_TYPE, MAX_BATCH_BYTES, hop_document
from proxy.contract.watch import Event, encode_event

PAGE_HOPS = 100
"""Of one page, when nobody says how many."""

PAGE_SCANNED = 1_000
"""Looked at for one page."""

BATCH_SECONDS = 10.0
"""For a batch to arrive."""

QUIET_SECONDS = 15.0
"""Between two comments on a stream without hops, so that both ends know of each other."""

TEXT = Grammar(r"[\x21-\x7e]{1,512}", "1 to 512 printable characters without spaces")
TRACE_ID = Grammar(r"[\x21-\x2e\x30-\x7e]{1,256}", "1 to 256 printable characters without spaces and slashes")
STATUS = Grammar(r"[0-9][0-9x]{2}", "a status or its class: 404, 5xx, or 000 for none")
SIDE = Grammar(r"(?:inbound|outbound)", "inbound or outbound")
SWITCH = Grammar(r"(?:true|false)", "true or false")
LIMIT = Grammar(r"(?:[1-9][0-9]{0,2}|1000)", "a whole number from 1 to 1000")
POSITION = Grammar(r"[0-9]{1,15}", "a position, as a page names it")

SINCE = Parameter("since", "query", AGO, "only what began at most so long ago", example="10m")

_FILTERS = (
    Parameter("workload", "query", WORKLOAD_NAME, "only hops at this workload", example="shop/users"),
    Parameter("side", "query", SIDE, "only hops of this side"),
    Parameter("method", "query", TEXT, "only requests with this method", example="POST"),
    Parameter("path", "query", TEXT, "only requests whose path begins so", example="/checkout"),
    Parameter("trace", "query", TRACE_ID, "only hops of this trace"),
    Parameter("status", "query", STATUS, "only answers with this status, or of this class", example="5xx"),
    Parameter("failed", "query", SWITCH, "true: only hops without a good answer"),
    SINCE,
)
_LIMIT = Parameter("limit", "query", LIMIT, f"at most so many hops, {PAGE_HOPS} by default")
_BEFORE = Parameter("before", "query", POSITION, "go on where a page ended")
_TRACE = Parameter("id", "path", TRACE_ID, "of the trace, as a hop names it", True, "4bf92f3577b34da6a3ce929d0e0e4736")
_SANDBOX = Parameter("sandbox", "query", NAME, "only among the hops of this sandbox")

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "POST", HOPS_PATH, "postHops", "A sidecar tells of requests, one hop of JSON on a line", _post,
            {204: Answer("taken: what is of no use was dropped and counted")},
            lines=HOPS_TYPE, problems=(408, 413, 415), lenient=True, sidecars=True,
        ),
        Operation(
            "GET", "/v1/sandboxes/{name}/traffic", "getTraffic", "Its requests as the sidecars saw them, newest first",
            _traffic, {200: Answer("one page of hops", TrafficPage)},
            (SANDBOX_NAME, *_FILTERS, _LIMIT, _BEFORE), problems=(404,),
        ),
        Operation(
            "GET", "/v1/sandboxes/{name}/traffic/stream", "followTraffic", "Its requests as they come",
            _follow, {200: Answer("hop after hop, then end", media_type="text/event-stream")},
            (SANDBOX_NAME, *_FILTERS, LAST_EVENT_ID), problems=(404, 503),
        ),
        Operation(
            "GET", "/v1/groups/{name}/traffic", "getGroupTraffic",
            "The requests with its key as the sidecars saw them, newest first",
            _traffic_of_group, {200: Answer("one page of hops", TrafficPage)},
            (GROUP_NAME, *_FILTERS, _LIMIT, _BEFORE), problems=(404,),
        ),
        Operation(
            "GET", "/v1/groups/{name}/traffic/stream", "followGroupTraffic", "The requests with its key as they come",
            _follow_group, {200: Answer("hop after hop, then end", media_type="text/event-stream")},
            (GROUP_NAME, *_FILTERS, LAST_EVENT_ID), problems=(404, 503),
        ),
        Operation(
            "GET", "/v1/traces/{id}", "getTrace", "The hops of one trace, as the tree that they are", _trace,
            {200: Answer("the hops, a call before what it caused", Trace)}, (_TRACE, _SANDBOX), problems=(404,),
        ),
    )  # fmt: skip


async def _post(request: web.Request, _: Values) -> web.Response:
    if request.content_type != HOPS_TYPE:
        raise Refused(415, "not-ndjson", "The media type is not supported", f"hops come as {HOPS_TYPE}")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(None if request.content.is_eof() else BATCH_SECONDS):
            async for part in request.content.iter_any():
                size += len(part)
                if size > MAX_BATCH_BYTES:
                    raise Refused(
                        413, "body-too-large", "The body is too large", f"{MAX_BATCH_BYTES} bytes are allowed"
                    )
                parts.append(part)
    except TimeoutError:
        raise Refused(408, "body-timeout", "The body did not arrive in time") from None
    await request.app[REGISTRY].intake.take(b"".join(parts), request[NAMESPACE])
    return web.Response(status=204)


async def _traffic(request: web.Request, values: Values) -> web.Response:
    return await _page(request, values, request.app[REGISTRY].sandboxes.get(values["name"]).routing_key)


async def _traffic_of_group(request: web.Request, values: Values) -> web.Response:
    return await _page(request, values, request.app[REGISTRY].groups.key(values["name"]))


async def _page(request: web.Request, values: Values, key: str) -> web.Response:
    registry = request.app[REGISTRY]
    wanted = _filter(values)
    limit = int(values.get("limit", PAGE_HOPS))
    before = int(values["before"]) if "before" in values else None
    scanned = await registry.hops.newest(key, PAGE_SCANNED, before)
    found = [kept for kept in scanned if wanted.matches(kept.hop)]
    last = found[limit - 1] if len(found) > limit else scanned[-1] if len(scanned) == PAGE_SCANNED else None
    page: dict[str, Any] = {"items": [_document(kept) for kept in found[:limit]]}
    if last is not None:
        page["before"] = last.position
    return _json(page)


async def _trace(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    named = values.get("sandbox")
    sandboxes = [registry.sandboxes.get(named)] if named else registry.sandboxes.all()
    whose = [(sandbox.routing_key, {"sandbox": sandbox.name}) for sandbox in sandboxes]
    groups = registry.groups.of(named) if named else registry.groups.names()
    whose += [(registry.groups.key(name), {"sandbox": named or "", "group": name}) for name in groups]
    for key, told in whose:
        hops = await registry.hops.trace(key, values["id"])
        if hops:
            nodes = [
                {**hop_document(node.hop), "depth": depth, "detached": node.detached}
                for top in grow(hops)
                for depth, node in top.walk()
            ]
            return _json({"id": values["id"], **told, "hops": nodes})
        await asyncio.sleep(0)  # a ring is looked through in a millisecond, and there may be a thousand of them
    meant = f"sandbox {named!r}" if named else "any sandbox"
    raise Refused(
        404, "not-found", "There is no such thing", f"no hop of trace {values['id']!r} is kept for {meant}",
        hint="only requests with a sandbox's routing key leave hops, and the newest 5,000 of each sandbox are kept",
    )  # fmt: skip


async def _follow(request: web.Request, values: Values) -> web.StreamResponse:
    return await _stream(request, values, request.app[REGISTRY].sandboxes.get(values["name"]).routing_key)


async def _follow_group(request: web.Request, values: Values) -> web.StreamResponse:
    return await _stream(request, values, request.app[REGISTRY].groups.key(values["name"]))


async def _stream(request: web.Request, values: Values, key: str) -> web.StreamResponse:
    """Of a sandbox or a group with this key."""
    registry = request.app[REGISTRY]
    owner = registry.owner(key)
    wanted = _filter(values)
    if registry.closing:
        raise Refused(503, "shutting-down", "The registry is shutting down", headers={"retry-after": "1"})
    said = request.headers.get("last-event-id", "")
    after = int(said) if re.fullmatch(POSITION.pattern, said) else await registry.hops.last(key)
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-accel-buffering": "no"})
    await response.prepare(request)
    with suppress(ConnectionError, HopsUnavailableError):  # without its end: the reader comes back
        while (piece := await registry.hops.newer(key, after, QUIET_SECONDS)) is not None:
            await response.write(_events(piece, wanted) or b": quiet\n\n")
            after = piece[-1].position if piece else after
            if owner is None or registry.owner(key) != owner:
                break  # it has ended between two pieces
        await response.write(b"event: end\ndata: {}\n\n")
    return response


def _events(piece: list[Kept], wanted: Filter) -> bytes:
    return b"".join(
        encode_event(Event("hop", json.dumps(_document(kept), separators=(",", ":")), str(kept.position)))
        for kept in piece
        if wanted.matches(kept.hop)
    )


def _filter(values: Values) -> Filter:
    since = values.get("since")
    return Filter(
        workload=values.get("workload", ""),
        side=values.get("side", ""),
        method=values.get("method", ""),
        path=values.get("path", ""),
        trace=values.get("trace", ""),
        status=values.get("status", ""),
        since=time.time() - seconds_ago(since) if since else 0.0,
        failed=values.get("failed") == "true",
    )


def seconds_ago(text: str) -> int:
    """The seconds of `10m`."""
    return int(text[:-1]) * _SECONDS[text[-1]]


def _document(kept: Kept) -> dict[str, Any]:
    return {"position": kept.position, **hop_document(kept.hop)}


def _json(document: dict[str, Any]) -> web.Response:
    text = json.dumps(document, separators=(",", ":"))
    return web.Response(text=text, content_type="application/json")
