"""Clients that say nothing: is it their turn to speak, or the application's?

In most protocols the client speaks first; in some (SMTP, FTP, MySQL) it waits to be greeted. So when a client has been
silent for `delay`, the application is dialled for it:

- the application speaks: the connection is opaque, and the next ones are dialled at once
- the client speaks after all: if it is HTTP, the dialled connection goes to the pool; if not, it has its upstream
- the application hangs up without a word: so do we
- it cannot be dialled: the client has `connect_ticks` left to say something that can be answered with an error

A silent connection costs the application as much as one in use, and clients that open connections in
advance open many. So an application that has answered HTTP, and has never spoken first, is not dialled for a silent
client any more: it is the client's turn. Before that is known, at most MAX_SILENT are dialled at a time, the others
wait for one of those to end, and none is kept for longer than an idle connection of a pool.
"""

from __future__ import annotations

from typing import Protocol

from proxy.errors import Failure
from proxy.exchange.ports import FAR, Pool, Stream, Upstream
from proxy.exchange.side import Side
from proxy.net.idle import IDLE_TICKS
from proxy.net.peers import Peers

MAX_SILENT = 64
"""Silent connections to one application: fewer than a small application has threads to lose."""


class Listening(Protocol):
    """The client's connection, as far as its silence is concerned."""

    stream: Stream

    def app_spoke(self, upstream: Upstream, greeting: bytes) -> None: ...

    def app_left(self, *, error: bool) -> None:
        """It has hung up without a word."""
        ...

    def app_unreachable(self) -> None: ...


class Opening:
    """How connections of one side begin, and what has been learned about its application.

    delay:    seconds of silence after which the application is dialled, 0 for never.
    declared: everything here is opaque; the bytes are not looked at.
    peers:    tells whose process a new client is, before anything is read from it; None: nobody asks.
    tls:      clients speak TLS, which ends here.
    """

    __slots__ = ("_open", "_waiting", "app_first", "client_first", "declared", "delay", "peers", "tls")

    def __init__(
        self, delay: float = 0.0, *, declared: bool = False, peers: Peers | None = None, tls: bool = False
    ) -> None:
        self.tls = tls
        self.delay = delay
        self.declared = declared
        self.peers = peers
        self.app_first = False
        """The application has spoken first on a connection."""
        self.client_first = False
        """It has answered HTTP."""
        self._open = 0
        self._waiting: dict[Silence, None] = {}

    def __repr__(self) -> str:
        who = "+".join(name for name, seen in (("app", self.app_first), ("client", self.client_first)) if seen)
        return f"<Opening first={who or '?'} silent={self._open} waiting={len(self._waiting)}>"

    @property
    def wait(self) -> float | None:
        """Seconds of silence that a new client has until the application is dialled for it, None for ever."""
        if not self.delay or (self.client_first and not self.app_first):
            return None
        return 0.0 if self.app_first and not self.client_first else self.delay

    @property
    def room(self) -> bool:
        """The application may be dialled for another silent client."""
        return self.app_first or self._open < MAX_SILENT

    def enter(self, silence: Silence) -> None:
        """Dial for this client, now or when another one is through."""
        if self.room:
            self._open += 1
            silence.dial()
        else:
            self._waiting[silence] = None

    def leave(self, silence: Silence) -> None:
        """It is over. The next one may dial, if that still makes sense."""
        if not silence.entered:
            self._waiting.pop(silence, None)
            return
        self._open -= 1
        if self.wait is None:
            self._waiting.clear()
        elif self._waiting:
            following = next(iter(self._waiting))
            del self._waiting[following]
            self.enter(following)


class Silence:
    """One silent client and the application that was dialled for it. Implements the ports `Borrower` and `Timed`."""

    __slots__ = ("_client", "_opening", "_over", "_pool", "_side", "_upstream", "due", "entered", "slot")

    def __init__(self, client: Listening, side: Side, pool: Pool, opening: Opening) -> None:
        self.due = 0
        self.slot = FAR
        self.entered = False
        """It has dialled."""
        self._client = client
        self._side = side
        self._pool = pool
        self._opening = opening
        self._upstream: Upstream | None = None
        self._over = False

    def __repr__(self) -> str:
        state = "over" if self._over else "dialled" if self._upstream else "dialling" if self.entered else "waiting"
        return f"<Silence {state}>"

    def dial(self) -> None:
        self.entered = True
        self._arm(self._side.settings.connect_ticks)
        self._pool.dial(self)

    def end(self) -> Upstream | None:
        """The client has spoken, or is gone. Returns the upstream, if there is one by now; its taker owns it."""
        if self._over:
            return None
        self._over = True
        self.due = 0
        self._side.wheel.disarm(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.borrower = None
        elif self.entered:
            self._pool.forget(self)
        self._opening.leave(self)
        return upstream

    # -- the port -------------------------------------------------------------------------------------------------

    @property
    def answer(self) -> Silence:
        return self

    def connected(self, upstream: Upstream) -> None:
        upstream.borrower = self
        self._upstream = upstream
        self._arm(IDLE_TICKS)

    def dial_failed(self, reason: str) -> None:
        """`reason` cannot be told now; the answer to the client's request, when that comes, says it."""
        self._side.counters.upstream_dial_failures += 1
        self._hopeless()

    def dial_refused(self, failure: Failure, detail: str) -> None:
        self._hopeless()

    def _hopeless(self) -> None:
        self.end()
        self._client.app_unreachable()

    def received(self, data: bytes) -> None:
        """The application greets."""
        upstream = self._upstream
        assert upstream is not None
        if data.startswith(b"HTTP/"):
            # No greeting: some servers answer a connection without a request with 408 when they lose patience.
            self._opening.client_first = True
            self._discard()
            return
        self._opening.app_first = True
        self.end()
        self._client.app_spoke(upstream, data)

    def upstream_eof(self) -> bool:
        return False

    def upstream_lost(self, *, error: bool) -> None:
        self._upstream = None
        self.end()
        self._client.app_left(error=error)

    def upstream_full(self) -> None:
        """Nothing is written to it."""

    def upstream_drained(self) -> None:
        """Nothing is written to it."""

    def expired(self) -> None:
        if self._upstream is None:
            self._side.counters.timeouts["connect"] += 1
            self._pool.forget(self)
            self.dial_failed("no connection in time")
        else:
            self._discard()

    def _discard(self) -> None:
        upstream = self.end()
        assert upstream is not None
        self._side.counters.upstream_discarded += 1
        upstream.stream.abort()

    def _arm(self, ticks: int) -> None:
        wheel = self._side.wheel
        self.due = due = wheel.now + ticks
        if due < self.slot:
            wheel.arm(self)
