"""Bring your own endpoint: somebody else starts the shadow, the sandbox only says where it answers.

It counts as started when one of its endpoints accepts a connection, and as dead when for a while none does; then it
is dialled again until one does. A fork may say that the control plane cannot reach its endpoints (`reachable: false`):
then nobody looks, and a condition of the sandbox says so.

A dial goes to an address, never to a name: a name is resolved once, every address that it leads to is judged by every
rule that a written one is judged by, and one of those that were judged is dialled.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from controlplane.launch.port import LaunchError, LaunchRequest, Running, refuse
from controlplane.model.copy_log import ALWAYS, Window
from controlplane.model.problem import FieldProblem, show
from controlplane.model.sandbox import Fork, Network
from controlplane.model.workload import Workload
from controlplane.process.readiness import Readiness
from proxy.contract.addresses import Address, forms, why_no_shadow
from proxy.contract.routes import Endpoint, parse_endpoint

DIAL_SECONDS = 2.0
"""For one attempt: a name to resolve and a handshake, on a network where a drop has no answer."""

START_SECONDS = 5.0
"""For one of the endpoints to accept: who starts a shadow and a sandbox together need not hurry."""

LOOK_SECONDS = 2.0
"""Between two looks at one that runs."""

LOOKS_PER_SECOND = 200
"""At all of them: a dial on loopback costs about 150 us, so 3 % of a core. Thousands are looked at less often."""

MISSED_LOOKS = 3
"""One after the other, until it counts as dead: a restart of the application need not be told to everybody."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Where endpoints may be.

    networks: in these; empty: anywhere but where no shadow may be (`proxy.contract.addresses`).
    own:      (address, port) that the registry listens on: never there, for any sidecar would lead to it.
    """

    networks: Sequence[Network] = ()
    own: Collection[tuple[str, int]] = ()

    def why_not(self, address: Address, port: int) -> str:
        """Why there is no endpoint at this address, to stand behind it; "" when there may be one."""
        forbidden = why_no_shadow(address)
        if forbidden:
            return forbidden
        if any(self._is_own(form, port) for form in forms(address)):
            return "is the registry itself"
        inner = getattr(address, "ipv4_mapped", None) or address
        if self.networks and not any(inner in network for network in self.networks):
            return f"is outside the allowed networks: {self._allowed()}"
        return ""

    def why_no_name(self, host: str, port: int) -> str:
        """The same for a name. With networks there is none: it can change its address."""
        if self.networks:
            return f"is a name; endpoints are limited to addresses in {self._allowed()}"
        if host.lower().rstrip(".") == "localhost" and any(own == port for _, own in self.own):
            return "is the registry itself"
        return ""

    def _allowed(self) -> str:
        return ", ".join(map(str, self.networks))

    def _is_own(self, address: Address, port: int) -> bool:
        for host, own in self.own:
            listening = ip_address(host)
            if own == port and (address == listening or (listening.is_unspecified and _is_of_this_machine(address))):
                return True
        return False


class StaticLauncher:
    """Nothing is started, nothing is stopped."""

    def __init__(self, rules: Rules = Rules(), start_seconds: float = START_SECONDS) -> None:
        self._rules = rules
        self._start_seconds = start_seconds
        self._readiness = Readiness()
        self._watched = 0

    def __repr__(self) -> str:
        return f"<StaticLauncher {self._watched} watched>"

    def check(self, fork: Fork, definition: Workload | None) -> list[FieldProblem]:
        return check(fork, self._rules)

    async def start(self, request: LaunchRequest) -> Running:
        refuse(check(request.fork, self._rules))
        if request.fork.dialled:
            endpoints = [parse_endpoint(text) for text in request.fork.endpoints or ()]
            missing = await self._readiness.until(functools.partial(self._dial, endpoints), self._start_seconds)
            if missing:
                raise LaunchError(missing, again=True)
        return _running(request)

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        return None if check(request.fork, self._rules) else _running(request)

    async def wait(self, running: Running) -> LaunchError:
        if not running.handle.get("dialled"):
            await asyncio.get_running_loop().create_future()
        endpoints = [parse_endpoint(text) for text in running.endpoints]
        missed = 0
        self._watched += 1
        try:
            while True:
                await asyncio.sleep(max(LOOK_SECONDS, self._watched / LOOKS_PER_SECOND))
                missing = await self._dial(endpoints)
                missed = missed + 1 if missing else 0
                if missed == MISSED_LOOKS:
                    return LaunchError(f"{missing} any more", again=True)
        finally:
            self._watched -= 1

    async def stop(self, running: Running) -> None:
        return None

    async def connected(self, running: Running) -> bool:
        return False

    async def log(self, running: Running, lines: int, window: Window = ALWAYS) -> str:
        return ""

    async def _dial(self, endpoints: list[Endpoint]) -> str:
        """Returns "" when one of them accepts."""
        answers = await asyncio.gather(*map(self._accepts, endpoints))
        if "" in answers:
            return ""
        refused = [answer for answer in answers if answer != _SILENT]
        return refused[0] if refused else f"nothing accepts connections at {', '.join(map(str, endpoints))}"

    async def _accepts(self, endpoint: Endpoint) -> str:
        """Why not, "" when it does."""
        loop = asyncio.get_running_loop()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(DIAL_SECONDS):
                found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
                for *_, place in found:
                    why = self._rules.why_not(ip_address(str(place[0]).partition("%")[0]), endpoint.port)
                    if why:
                        return f"{show(str(endpoint))} leads to {place[0]}, which {why}"
                for family, *_, place in found:
                    with suppress(OSError), socket.socket(family) as connection:
                        connection.setblocking(False)
                        await loop.sock_connect(connection, place)
                        if connection.getsockname() != connection.getpeername():  # a simultaneous open with ourselves
                            return ""
        return _SILENT


_SILENT = "silent"


def check(fork: Fork, rules: Rules) -> list[FieldProblem]:
    """Endpoints where none may be."""
    problems = []
    for index, text in enumerate(fork.endpoints or ()):
        endpoint = parse_endpoint(text)
        try:
            why = rules.why_not(ip_address(endpoint.host), endpoint.port)
        except ValueError:
            why = rules.why_no_name(endpoint.host, endpoint.port)
        if why:
            problems.append(FieldProblem(path=f"endpoints[{index}]", message=f"{show(text)} {why}"))
    return problems


def _running(request: LaunchRequest) -> Running:
    endpoints = request.fork.endpoints or ()
    return Running(endpoints, {"endpoints": list(endpoints), "dialled": request.fork.dialled})


def _is_of_this_machine(address: Address) -> bool:
    """Only an address of ours can be bound."""
    if address.is_loopback:
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
