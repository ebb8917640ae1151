"""`/v1/events`: every change of what the registry knows, as it happens, for a page that shows it.

First all sandboxes, one event each, then `event: ready`; afterwards a sandbox again whenever something of it is
different, `event: gone` with its name when nothing is left of it, and `event: map` when baselines or calls between them
have changed. Changes that come close together are told once.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from aiohttp import web

from controlplane.api.operations import REGISTRY, Answer, Operation, Values, shown
from controlplane.api.refused import Refused
from controlplane.life.registry import Registry
from proxy.contract.watch import Event, encode_event

GATHER_SECONDS = 0.05
"""A start goes through some phases in a moment: they are told together."""

LOOK_SECONDS = 2.0
"""Between two looks whether anybody has called what he had not called before; a comment is written then."""

PIECE = 50
"""Sandboxes written at a stretch: 5 ms."""


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/events", "followChanges", "All sandboxes, then each of them again whenever it changes", _follow,
            {200: Answer("sandbox, gone, map and ready", media_type="text/event-stream")}, problems=(503,),
        ),
    )  # fmt: skip


async def _follow(request: web.Request, _: Values) -> web.StreamResponse:
    registry = request.app[REGISTRY]
    if registry.closing:
        raise Refused(503, "shutting-down", "The registry is shutting down", headers={"retry-after": "1"})
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-accel-buffering": "no"})
    await response.prepare(request)
    follower = registry.changes.follow()
    try:
        with suppress(ConnectionError):
            await _tell(request, response, registry, registry.sandboxes.names())
            await response.write(_event("ready", {}))
            calls = registry.intake.learned.size
            while not registry.closing:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await follower.more.wait()
                await asyncio.sleep(GATHER_SECONDS)
                changed = follower.take()
                if "" in changed or registry.intake.learned.size != calls:
                    calls = registry.intake.learned.size
                    await response.write(_event("map", {}))
                names = sorted(changed - {""})
                await (_tell(request, response, registry, names) if names else response.write(b": quiet\n\n"))
    finally:
        registry.changes.leave(follower)
    return response


async def _tell(request: web.Request, response: web.StreamResponse, registry: Registry, names: list[str]) -> None:
    find = registry.sandboxes.finder()
    for start in range(0, len(names), PIECE):
        piece = []
        for name in names[start : start + PIECE]:
            sandbox = find(name)
            if sandbox is None:
                piece.append(_event("gone", {"name": name}))
            else:
                piece.append(_event("sandbox", shown(sandbox, request).document()))
        await response.write(b"".join(piece))


def _event(name: str, document: object) -> bytes:
    return encode_event(Event(name, json.dumps(document, separators=(",", ":"))))
