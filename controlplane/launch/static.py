"""Bring your own endpoint: somebody else starts the shadow, the sandbox only says where it answers."""

from __future__ import annotations

import asyncio
import functools
from contextlib import suppress
from typing import Any

from controlplane.launch.port import LaunchError, LaunchRequest, Running
from controlplane.process.readiness import Readiness
from proxy.contract.routes import Endpoint, parse_endpoint

DIAL_SECONDS = 2.0
"""For one attempt: a name to resolve and a handshake, on a network where a drop has no answer."""


class StaticLauncher:
    """Nothing is started, nothing is stopped.

    check_seconds: how long to wait for one of the endpoints to accept a connection. 0, the default, does not look:
                   endpoints may be reachable for the callers' sidecars and not for the registry.
    """

    def __init__(self, check_seconds: float = 0.0) -> None:
        self._check_seconds = check_seconds
        self._readiness = Readiness()

    async def start(self, request: LaunchRequest) -> Running:
        if not request.endpoints:
            raise LaunchError(f"the fork of {request.workload} names no endpoints")
        try:
            endpoints = [parse_endpoint(text) for text in request.endpoints]
        except ValueError as error:
            raise LaunchError(str(error)) from None
        if self._check_seconds > 0:
            await self._check(endpoints)
        return _running(request)

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        return _running(request) if request.endpoints else None

    async def wait(self, running: Running) -> LaunchError:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable: nobody resolves it, the caller cancels")

    async def stop(self, running: Running) -> None:
        return None

    def log(self, running: Running, lines: int) -> str:
        return ""

    async def _check(self, endpoints: list[Endpoint]) -> None:
        missing = await self._readiness.until(functools.partial(_dial, endpoints), self._check_seconds)
        if missing:
            raise LaunchError(missing)


def _running(request: LaunchRequest) -> Running:
    return Running(request.endpoints, {"endpoints": list(request.endpoints)})


async def _dial(endpoints: list[Endpoint]) -> str:
    if any(await asyncio.gather(*map(_accepts, endpoints))):
        return ""
    return f"nothing accepts connections at {', '.join(map(str, endpoints))}"


async def _accepts(endpoint: Endpoint) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(DIAL_SECONDS):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True
    return False
