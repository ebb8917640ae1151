"""Waiting, with progress for whoever waits with us."""

from __future__ import annotations

import time
from typing import Any

from mcp.server.mcpserver import Context

from controlplane.client import Client
from controlplane.mcp.views import state
from controlplane.model.sandbox import SETTLED, Sandbox

PIECE_SECONDS = 1.0
"""Between two words about what is waited for."""


async def settled(registry: Client, name: str, seconds: float, context: Context[Any, Any]) -> Sandbox:
    """The sandbox as soon as the registry has done what it can for it, or when the time is over."""
    start = time.monotonic()
    found = await registry.wait(name, 0.0)
    while found.status is None or found.status.phase not in SETTLED:
        gone = time.monotonic() - start
        if gone >= seconds:
            break
        await context.report_progress(gone, seconds, state(found))
        found = await registry.wait(name, min(PIECE_SECONDS, seconds - gone))
    return found
