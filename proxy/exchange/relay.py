"""A client's connection and the upstream that it has: deadline and back-pressure, whatever the bytes mean.

Reading from one end pauses while the other takes no more. Reading from the client also pauses while too much has come
ahead of its turn, and for what else is told below; reading goes on when no reason holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from proxy.exchange.phase import TUNNEL
from proxy.exchange.ports import FAR, Stream, Upstream
from proxy.exchange.side import Side
from proxy.exchange.tunnel import Tunnel

AHEAD: Final = 1
"""Reading from the client is paused because too much came ahead of its turn."""
FULL: Final = 2
"""Reading from the client is paused because the upstream takes no more."""
TURN: Final = 4
"""Reading from the client is paused until the loop's next turn: it has had its share of this one."""
CLOGGED: Final = 8
"""Reading from the client is paused because it does not take its answers: no request of it begins."""


class Relay(ABC):
    """
    stream:   the way to the client.
    phase:    one of `proxy.exchange.phase`.
    due, slot: as in the port `Timed`.
    upstream: the connection that it has been lent, None without one.
    tunnel:   both connections joined, None while there are messages, or no upstream.
    held:     what the client sent ahead of its turn: before there was an upstream, or behind the request in hand.
    ended:    the client sends no more.
    paused:   why nothing is read from the client, 0 when it is.
    clogged:  the client takes no more.
    """

    __slots__ = (
        "clogged",
        "due",
        "ended",
        "held",
        "paused",
        "phase",
        "side",
        "slot",
        "stream",
        "tunnel",
        "upstream",
    )

    def __init__(self, side: Side, stream: Stream, phase: int) -> None:
        self.side = side
        self.stream = stream
        self.phase = phase
        self.due = 0
        self.slot = FAR
        self.upstream: Upstream | None = None
        self.tunnel: Tunnel | None = None
        self.held = b""
        self.ended = False
        self.paused = 0
        self.clogged = False

    @abstractmethod
    def expired(self) -> None:
        """The deadline of the current phase has passed."""

    def arm(self, ticks: int) -> None:
        """Set the deadline of a phase."""
        wheel = self.side.wheel
        self.due = due = wheel.now + ticks
        if due < self.slot:
            wheel.arm(self)

    def client_full(self) -> None:
        """The client takes no more: stop reading from the upstream."""
        self.clogged = True
        if self.upstream is not None:
            self.side.counters.paused_upstream += 1
            self.upstream.stream.pause_reading()

    def client_drained(self) -> None:
        self.clogged = False
        if self.upstream is not None:
            self.upstream.stream.resume_reading()

    def upstream_full(self) -> None:
        """The upstream takes no more: stop reading from the client."""
        self.side.counters.paused_downstream += 1
        self.pause(FULL)

    def upstream_drained(self) -> None:
        self.resume(FULL)

    def pause(self, reason: int) -> None:
        """Stop reading from the client."""
        if not self.paused:
            self.stream.pause_reading()
        self.paused |= reason

    def resume(self, reason: int) -> None:
        """The reason holds no more."""
        if self.paused:
            self.paused &= ~reason
            if not self.paused:
                self.stream.resume_reading()

    def open_tunnel(self, first: bytes) -> None:
        """From here on both connections carry bytes, not messages. first: what the upstream has already sent."""
        assert self.upstream is not None
        side = self.side
        side.counters.tunnels_opened += 1
        self.phase = TUNNEL
        self.arm(side.settings.stream_ticks)
        tunnel = self.tunnel = Tunnel(self.stream, self.upstream.stream)
        if first:
            tunnel.upstream_received(first)
        held, self.held = self.held, b""
        if held:
            tunnel.client_received(held)
        if self.ended:
            tunnel.client_eof()
        self.resume(AHEAD)

    def upstream_eof(self) -> bool:
        """The upstream sends no more. True: keep the way to it open."""
        return self.tunnel is not None and self.tunnel.upstream_eof()
