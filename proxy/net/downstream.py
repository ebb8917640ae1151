"""A client's connection: hands its bytes to an exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.exchange.exchange import Exchange
from proxy.exchange.phase import CLOSED, PHASES
from proxy.exchange.side import Side
from proxy.net.upstream import tune


class Downstream(asyncio.Protocol):
    """One accepted connection. It is in its listener's set while it is open."""

    def __init__(self, side: Side, open_connections: set[Downstream], closed: Callable[[], None]) -> None:
        self._side = side
        self._open = open_connections
        self._on_closed = closed
        self._peer = ""
        self.exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tune(transport)
        counters = self._side.counters
        counters.connections_accepted += 1
        counters.connections_open += 1
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        exchange = self.exchange = Exchange(self._side, transport)  # type: ignore[arg-type]
        # The loop looks `data_received` up when the protocol is set: without a method in between, one call less
        # for every read.
        self.data_received = exchange.request_received  # type: ignore[method-assign]
        transport.set_protocol(self)
        self._open.add(self)

    def eof_received(self) -> bool:
        return self.exchange is not None and self.exchange.client_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._side.counters.connections_open -= 1
        self._open.discard(self)
        if self.exchange is not None:
            self.exchange.client_lost()
        self._on_closed()

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.client_full()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.client_drained()

    def describe(self) -> dict[str, Any]:
        """For people: who is connected, and what for."""
        exchange = self.exchange
        plan = exchange.plan if exchange is not None else None
        return {
            "client": self._peer,
            "phase": PHASES[exchange.phase if exchange is not None else CLOSED],
            "method": exchange.head.method.decode("latin-1") if exchange is not None else "",
            "action": plan.action.value if plan is not None else "",
            "sandbox": plan.sandbox if plan is not None else "",
        }
