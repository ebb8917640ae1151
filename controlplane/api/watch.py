"""`/v1/watch/routes`: the stream that `proxy.contract.watch` describes.

    resume, or snapshot -> synced -> what changed meanwhile -> attached: changes as they happen

Until a watcher is attached its own coroutine writes, at the pace of the reader, and what happens meanwhile stays
in the change log. Attaching follows the last look into the log without a pause between them, so nothing is told
twice and nothing is lost. From then on `Watchers.tell` writes, and the coroutine only waits for the end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from aiohttp import web

from controlplane.api.operations import (
    LAST_EVENT_ID,
    REGISTRY,
    WATCHED,
    WATCHER_ID,
    WITH_PREVIEWS,
    Answer,
    Operation,
    Values,
)
from controlplane.api.refused import Refused
from controlplane.life.published import DEFAULT_CAPTURE, encoded, encoded_captures, encoded_keys, synced
from controlplane.life.registry import Registry
from controlplane.life.watchers import Watcher
from controlplane.model.routes import RouteEvent
from proxy.contract.previews import PREVIEWS
from proxy.contract.watch import WATCH_PATH

STALLED_SECONDS = 30.0
"""Without a byte taken while a table is written: such a reader hangs, and holds a whole table in memory."""

_REVISION = re.compile(r"[0-9]{1,16}")


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", WATCH_PATH, "watchRoutes", "The routes of one workload, and every change of them", _watch,
            {200: Answer("snapshot, synced, then put and delete", media_type="text/event-stream")},
            (WATCHED, WATCHER_ID, WITH_PREVIEWS, LAST_EVENT_ID), problems=(503, 505), lenient=True, sidecars=True,
        ),
    )  # fmt: skip


async def _watch(request: web.Request, values: Values) -> web.StreamResponse:
    registry = request.app[REGISTRY]
    if request.version < (1, 1):
        raise Refused(505, "http-version", "HTTP/1.1 is needed", "the stream is sent in chunks")
    transport = request.transport
    if registry.closing or transport is None:
        raise Refused(503, "shutting-down", "The registry is shutting down", headers={"retry-after": "1"})
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-accel-buffering": "no"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    watcher = Watcher(values["workload"], values.get("sidecar", ""), transport)
    try:
        gateway = values.get(PREVIEWS) == "true"
        applied = await _catch_up(registry, watcher, response, _resumed(request), gateway=gateway)
        if applied is None:
            watcher.cut()
        else:
            await _attached(registry, watcher, applied)
    except (TimeoutError, ConnectionError):
        watcher.cut()
    finally:
        registry.watchers.remove(watcher)
    return response


def _resumed(request: web.Request) -> int | None:
    """The id that the reader has applied, if it is one of ours by its form and comes alone."""
    said = request.headers.getall("last-event-id", [])
    return int(said[0]) if len(said) == 1 and _REVISION.fullmatch(said[0]) else None


async def _catch_up(
    registry: Registry, watcher: Watcher, response: web.StreamResponse, resumed: int | None, *, gateway: bool
) -> int | None:
    """Bring the reader up to date. Returns what it had before, 0 after a snapshot; None: it is too slow for us."""
    published = registry.published
    missed = published.since(watcher.workload, resumed) if resumed is not None else None
    at = published.revision
    if missed is None:
        registry.watchers.snapshots += 1
        for piece in published.snapshot(watcher.workload):
            await _write(response, piece)
    else:
        registry.watchers.resumed += 1
        await _write(response, _joined(missed))
    keys = frozenset(published.keys)
    for event in encoded_keys(sorted(keys)):
        await _write(response, event)
    captures = dict(published.captures)
    await _write(response, b"".join(encoded_captures(captures)))
    rules = registry.rules.version
    for event in registry.rules.told():
        await _write(response, event)
    if gateway:
        registry.watchers.add_gateway(watcher)
        # In one write: what changes from here on is written behind it.
        await _write(response, b"".join(registry.handoffs.told()))
    await _write(response, synced(at, previews=gateway))
    while (
        (later := published.since(watcher.workload, at))
        or keys != published.keys
        or captures != published.captures
        or rules != registry.rules.version
    ):
        if later is None:
            break
        changed = encoded_keys(sorted(published.keys - keys), sorted(keys - published.keys))
        changed += encoded_captures(dict.fromkeys(captures, DEFAULT_CAPTURE) | published.captures)
        changed += registry.rules.since(rules)
        at, keys, captures = published.revision, frozenset(published.keys), dict(published.captures)
        rules = registry.rules.version
        await _write(response, _joined(later) + b"".join(changed))
    if later is None or registry.closing:
        return None
    watcher.sent = at
    return resumed if missed is not None and resumed is not None else 0


async def _attached(registry: Registry, watcher: Watcher, applied: int) -> None:
    """Until the reader goes, or is cut off. The server cancels us then."""
    registry.watchers.add(watcher)
    if watcher.sidecar:
        registry.sidecars.connected(watcher, applied)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        registry.sidecars.disconnected(watcher)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    if data:
        async with asyncio.timeout(STALLED_SECONDS):
            await response.write(data)


def _joined(events: Iterable[RouteEvent]) -> bytes:
    return b"".join(map(encoded, events))
