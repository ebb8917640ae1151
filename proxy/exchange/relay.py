"""A client's connection and the upstream that it has: deadline and back-pressure, whatever the bytes mean.

Reading from one end pauses while the other takes no more. Reading from the client also pauses while too much has come
ahead of its turn, while what it sends is moved without being read (port `Splicer`), and for what else is told below;
reading goes on when no reason holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from proxy.exchange.phase import TUNNEL
from proxy.exchange.ports import FAR, Splice, Stream, Upstream
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
SPLICED: Final = 16
"""Reading from the client is paused because what it sends is moved without being read."""

ENDLESS: Final = 1 << 60
"""Bytes that nobody will ever have sent: the end of a tunnel is that of its connections."""


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
    up, down: what is moved from the client to the upstream, and back, without being read; None when nothing is.
    """

    __slots__ = (
        "clogged",
        "down",
        "due",
        "ended",
        "held",
        "paused",
        "phase",
        "side",
        "slot",
        "stream",
        "tunnel",
        "up",
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
        self.up: Splice | None = None
        self.down: Splice | None = None

    @abstractmethod
    def expired(self) -> None:
        """The deadline of the current phase has passed."""

    @abstractmethod
    def upstream_lost(self, *, error: bool) -> None:
        """The upstream's connection is gone; `error` when it was reset rather than closed."""

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
        if self.down is not None:
            self.down.sink_drained()
        elif self.upstream is not None:
            self.upstream.stream.resume_reading()

    def upstream_full(self) -> None:
        """The upstream takes no more: stop reading from the client."""
        self.side.counters.paused_downstream += 1
        self.pause(FULL)

    def upstream_drained(self) -> None:
        if self.up is not None:
            self.up.sink_drained()
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

    def tunnel_up(self, data: bytes) -> None:
        """Bytes of the tunnel, from the client."""
        assert self.tunnel is not None
        self.due = self.side.wheel.now + self.side.settings.stream_ticks
        if self.tunnel.client_received(data):
            self.splice_up(ENDLESS)

    def tunnel_down(self, data: bytes) -> None:
        """Bytes of the tunnel, from the upstream."""
        assert self.tunnel is not None
        if self.down is not None:
            return  # left behind by an upstream that was reset: what is before it is still in the kernel
        self.due = self.side.wheel.now + self.side.settings.stream_ticks
        if self.tunnel.upstream_received(data):
            self.splice_down(ENDLESS)

    # -- what is moved without being read ---------------------------------------------------------------------------

    def splice_up(self, count: int) -> None:
        """The next `count` bytes of the client need not be read, if there is a way to move them so."""
        upstream = self.upstream
        if self.side.splicer is not None and upstream is not None:
            self.up = self.side.splicer.splice(self.stream, upstream.stream, count, SpliceUp(self))
            if self.up is not None:
                self.pause(SPLICED)

    def splice_down(self, count: int) -> None:
        """The next `count` bytes of the upstream need not be read, if there is a way to move them so."""
        upstream = self.upstream
        if self.side.splicer is not None and upstream is not None:
            self.down = self.side.splicer.splice(upstream.stream, self.stream, count, SpliceDown(self))
            if self.down is not None:
                upstream.stream.pause_reading()

    def stop_splices(self) -> bool:
        """Before either connection is closed, let go or used otherwise. True: bytes were on their way, and are lost."""
        up, self.up = self.up, None
        down, self.down = self.down, None
        lost = up is not None and up.cancel()
        if down is not None and down.cancel():
            lost = True
        self.resume(SPLICED)
        return lost

    def moved_up(self, count: int) -> None:
        """So many bytes have gone from the client to the upstream without being read."""
        self.due = self.side.wheel.now + self.side.settings.stream_ticks

    def moved_down(self, count: int) -> None:
        """So many bytes have gone from the upstream to the client without being read."""
        self.due = self.side.wheel.now + self.side.settings.stream_ticks

    @abstractmethod
    def spliced_up(self) -> None:
        """Reading from the client goes on."""

    @abstractmethod
    def spliced_down(self, *, behind: bool) -> None:
        """Reading from the upstream goes on. behind: it has sent more than was to be moved."""

    def client_failed(self) -> None:
        """The client was reset, which its stream may not know."""
        self.stop_splices()
        self.stream.abort()

    def upstream_failed(self) -> None:
        """The upstream was reset, which its stream may not know."""
        upstream = self.upstream
        assert upstream is not None
        self.stop_splices()
        upstream.borrower = None
        upstream.stream.abort()
        self.upstream_lost(error=True)

    @abstractmethod
    def upstream_refuses(self) -> None:
        """It was reset while bytes were moved to it; what it has said before may not have been read."""

    def upstream_eof(self) -> bool:
        """The upstream sends no more. True: keep the way to it open."""
        return self.tunnel is not None and self.tunnel.upstream_eof()


class SpliceUp:
    """From the client to the upstream. Implements the port `SpliceOwner`."""

    __slots__ = ("_relay",)

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def splice_moved(self, count: int, /) -> None:
        relay = self._relay
        relay.side.counters.spliced_bytes += count
        relay.moved_up(count)

    def splice_full(self) -> None:
        self._relay.side.counters.paused_downstream += 1

    def splice_done(self, left: int, /, *, behind: bool) -> None:
        relay = self._relay
        relay.up = None
        relay.resume(SPLICED)
        relay.spliced_up()

    def splice_source_failed(self) -> None:
        self._relay.up = None
        self._relay.client_failed()

    def splice_sink_failed(self) -> None:
        self._relay.up = None
        self._relay.upstream_refuses()


class SpliceDown:
    """From the upstream to the client. Implements the port `SpliceOwner`."""

    __slots__ = ("_relay",)

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def splice_moved(self, count: int, /) -> None:
        relay = self._relay
        relay.side.counters.spliced_bytes += count
        relay.moved_down(count)

    def splice_full(self) -> None:
        self._relay.side.counters.paused_upstream += 1

    def splice_done(self, left: int, /, *, behind: bool) -> None:
        relay = self._relay
        assert relay.upstream is not None
        relay.down = None
        if not relay.clogged:
            relay.upstream.stream.resume_reading()
        relay.spliced_down(behind=behind)

    def splice_source_failed(self) -> None:
        self._relay.down = None
        self._relay.upstream_failed()

    def splice_sink_failed(self) -> None:
        self._relay.down = None
        self._relay.client_failed()
