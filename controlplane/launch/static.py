"""Bring your own endpoint: somebody else starts the shadow, the sandbox only says where it answers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from controlplane.launch.port import LaunchError, LaunchRequest, Running, refuse
from controlplane.model.problem import FieldProblem, show
from controlplane.model.sandbox import Fork, Network
from controlplane.model.workload import Workload
from controlplane.process.readiness import Readiness
from proxy.contract.routes import Endpoint, parse_endpoint

DIAL_SECONDS = 2.0
"""For one attempt: a name to resolve and a handshake, on a network where a drop has no answer."""


class StaticLauncher:
    """Nothing is started, nothing is stopped.

    check_seconds: how long to wait for one of the endpoints to accept a connection. 0, the default, does not look:
                   endpoints may be reachable for the callers' sidecars and not for the registry.
    networks:      where endpoints may be; empty: anywhere but link-local.
    """

    def __init__(self, check_seconds: float = 0.0, networks: Sequence[Network] = ()) -> None:
        self._check_seconds = check_seconds
        self._networks = networks
        self._readiness = Readiness()

    def check(self, fork: Fork, definition: Workload | None) -> list[FieldProblem]:
        return check(fork, self._networks)

    async def start(self, request: LaunchRequest) -> Running:
        refuse(self.check(request.fork, request.definition))
        if self._check_seconds > 0:
            await self._dialled([parse_endpoint(text) for text in request.fork.endpoints or ()])
        return _running(request)

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        return None if self.check(request.fork, request.definition) else _running(request)

    async def wait(self, running: Running) -> LaunchError:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable: nobody resolves it, the caller cancels")

    async def stop(self, running: Running) -> None:
        return None

    async def log(self, running: Running, lines: int) -> str:
        return ""

    async def _dialled(self, endpoints: list[Endpoint]) -> None:
        missing = await self._readiness.until(functools.partial(_dial, endpoints), self._check_seconds)
        if missing:
            raise LaunchError(missing)


def check(fork: Fork, networks: Sequence[Network]) -> list[FieldProblem]:
    """Endpoints that lie in none of the allowed networks. A name lies nowhere: it can change its address."""
    if not networks:
        return []
    problems = []
    allowed = ", ".join(map(str, networks))
    for index, text in enumerate(fork.endpoints or ()):
        try:
            address = ip_address(parse_endpoint(text).host)
        except ValueError:
            message = f"{show(text)} is a name; endpoints are limited to addresses in {allowed}"
        else:
            address = getattr(address, "ipv4_mapped", None) or address
            if any(address in network for network in networks):
                continue
            message = f"{show(text)} is outside the allowed networks: {allowed}"
        problems.append(FieldProblem(path=f"endpoints[{index}]", message=message))
    return problems


def _running(request: LaunchRequest) -> Running:
    endpoints = request.fork.endpoints or ()
    return Running(endpoints, {"endpoints": list(endpoints)})


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
