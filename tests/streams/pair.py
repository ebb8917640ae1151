"""The whole way of a call: client -> outbound side of the caller -> inbound side of the callee -> application.

Each place that a call may end at is a listening socket that outlives the servers on it, so that one pair of sidecars
meets the servers of many tests.

    key      ends at
    none     application
    agent    shadow
    plain    plain, a bare HTTP server, for connections that are compared with a stream
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.running import free_port
from tests.faults import peers, subject
from tests.faults.subject import WORKLOAD, Subject, until

KEYED = {"baggage": "routing-key=agent"}
PLAIN = b"baggage: routing-key=plain"


@dataclass(frozen=True)
class Places:
    application: socket.socket
    shadow: socket.socket
    plain: socket.socket


class Pair:
    """Two running sidecars and the places behind them. port: where the caller's calls go in; forward: its forward
    proxy."""

    def __init__(self, caller: Subject, callee: Subject, places: Places, forward: int) -> None:
        self.caller = caller
        self.callee = callee
        self.places = places
        self.forward = forward

    @property
    def port(self) -> int:
        return self.caller.outbound

    async def at_rest(self) -> None:
        """Return when nothing is left but idle connections of the two sidecars' pools. Raises AssertionError."""
        for sidecar in (self.caller, self.callee):
            assert "Traceback" not in sidecar.log, sidecar.log
            await self._let_go(sidecar)
        kept = int(await self.caller.metric("skycap_upstream_connections", state="idle"))
        await until(lambda: len(self.caller.peers()) <= kept, f"the caller's sidecar keeps {kept} connections")
        await until(lambda: self.caller.open_files() <= self.caller.files + kept, "and as many files")
        kept += int(await self.callee.metric("skycap_upstream_connections", state="idle"))
        await until(lambda: len(self.callee.peers()) <= kept, f"the callee's sidecar keeps {kept} connections")
        await until(lambda: self.callee.open_files() <= self.callee.files + kept, "and as many files")

    async def _let_go(self, sidecar: Subject) -> None:
        """Until no connection of a client is left: the caller's has none, the callee's only the caller's idle ones."""
        while True:
            allowed = await self.caller.metric("skycap_upstream_connections", state="idle")
            held = (await sidecar.page("/connections"))["connections"]
            busy = await sidecar.metric("skycap_upstream_connections", state="busy")
            if not busy and len(held) <= (allowed if sidecar is self.callee else 0):
                return


@contextlib.contextmanager
def places() -> Iterator[Places]:
    with peers.listening_socket() as application, peers.listening_socket() as shadow, peers.listening_socket() as plain:
        yield Places(application, shadow, plain)


@contextlib.contextmanager
def running(where: Places, folder: Path, *arguments: str) -> Iterator[Pair]:
    """Both sidecars, each started with `arguments`."""
    routes = folder / "routes.yaml"
    routes.write_text(
        "routes:\n"
        f"- {{workload: {WORKLOAD}, key: agent, endpoints: ['127.0.0.1:{port_of(where.shadow)}']}}\n"
        f"- {{workload: {WORKLOAD}, key: plain, endpoints: ['127.0.0.1:{port_of(where.plain)}']}}\n"
    )
    forward = free_port()
    with (
        subject.running(port_of(where.application), folder, "--routes", str(routes), *arguments) as callee,
        subject.running(callee.inbound, folder, "--outbound", f"127.0.0.1:{forward}", *arguments) as caller,
    ):
        yield Pair(caller, callee, where, forward)


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])
