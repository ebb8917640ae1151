"""What an exchange needs of the outside world. `proxy.net` provides it with sockets, tests with a playbook.

The ports are here and not beside the sockets because the exchange must not know that sockets exist: it is called
with bytes and events, and calls these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from proxy.contract.routes import Endpoint
from proxy.errors import Failure

FAR: Final = 1 << 60
"""A tick that never comes; compiled code has integers of 63 bits without an object."""


class Stream(Protocol):
    """One connection's way out. An asyncio transport is one as it stands."""

    def write(self, data: bytes, /) -> None: ...
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None:
        """Close when all that was written is sent."""
        ...

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        ...

    def is_closing(self) -> bool: ...


class Timed(Protocol):
    """Something with a deadline. Times are ticks of the wheel.

    due:  when `expired` shall be called, 0 for never. The owner writes it directly: postponing costs nothing.
    slot: when the wheel looks next, FAR for never; the wheel's.
    """

    due: int
    slot: int

    def expired(self) -> None: ...


class Receiver(Protocol):
    """Where the bytes of an upstream go."""

    def received(self, data: bytes, /) -> None: ...


class Borrower(Protocol):
    """It has an upstream, or waits for one to be dialled: an exchange, or a connection that is not HTTP."""

    @property
    def answer(self) -> Receiver: ...

    def connected(self, upstream: Upstream) -> None:
        """The dial has succeeded."""
        ...

    def dial_failed(self, reason: str) -> None:
        """reason: a phrase, as `connection refused`."""
        ...

    def dial_refused(self, failure: Failure, detail: str) -> None:
        """It was not made, for a reason of this sidecar's own: no other endpoint is to be tried."""
        ...

    def upstream_eof(self) -> bool:
        """The upstream sends no more. True: keep the way to it open."""
        ...

    def upstream_lost(self, *, error: bool) -> None:
        """The upstream's connection is gone; `error` when it was reset rather than closed."""
        ...

    def upstream_full(self) -> None:
        """The upstream takes no more."""
        ...

    def upstream_drained(self) -> None: ...


class Upstream(Timed, Protocol):
    """A connection to an application, a shadow or another sidecar, lent to one borrower at a time.

    borrower: uses it now, None while it is idle.
    reused:   it has carried an exchange before, so its other end may just have closed it.
    broken:   it was reset, which its stream may not know: its loss is to be told as one by an error.
    """

    borrower: Borrower | None
    reused: bool
    since: int
    broken: bool

    @property
    def stream(self) -> Stream: ...


class IdleConnections(Protocol):
    """A list, as far as taking from it goes."""

    def __len__(self) -> int: ...
    def pop(self) -> Upstream: ...


class Pool(Protocol):
    """Connections to one endpoint.

    idle: those that can be taken, by `pop()`.
    """

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def idle(self) -> IdleConnections: ...

    def dial(self, borrower: Borrower) -> None:
        """Open a connection, then call the borrower's `connected`, `dial_failed` or `dial_refused`, never from within
        this call."""
        ...

    def forget(self, borrower: Borrower) -> None:
        """The borrower does not wait for its dial any more."""
        ...

    def give(self, upstream: Upstream, idle_seconds: int, rests: bool = False) -> None:
        """Take back a connection that can carry another exchange.

        idle_seconds: how long its other end keeps it, -1 when unknown.
        rests:        not at once: bytes may still come that nobody may take for an answer.
        """
        ...

    def dead(self, upstream: Upstream) -> None:
        """A connection that was idle when it was lent had been closed by its other end."""
        ...


class Wheel(Protocol):
    """The coarse clock. `now` is the current tick.

    To set a deadline: `item.due = wheel.now + ticks`, then, only if it is earlier than `item.slot`, `arm(item)`.
    """

    now: int

    def arm(self, item: Timed) -> None: ...
    def disarm(self, item: Timed) -> None: ...

    def soon(self, call: Callable[[], None], /) -> None:
        """Call it in the loop's next turn, when the other connections have had theirs."""
        ...


class SpliceOwner(Protocol):
    """Who has bytes moved. Told when they are, and once how that ended; nothing of it is called from within `splice`
    or `cancel`."""

    def splice_moved(self, count: int, /) -> None:
        """The sink has taken so many bytes."""
        ...

    def splice_full(self) -> None:
        """The sink takes no more for now, so that the source is not read."""
        ...

    def splice_done(self, left: int, /, *, behind: bool) -> None:
        """It is over: the source is to be read again.

        left:   bytes that were not moved, 0 when all were. The source's stream will tell if it has ended; else the rest
                comes in pieces too small to be moved like this.
        behind: the source has sent more than was to be moved.
        """
        ...

    def splice_source_failed(self) -> None:
        """The source was reset. Its stream does not know that yet."""
        ...

    def splice_sink_failed(self) -> None:
        """The sink was reset. Its stream may not know that yet."""
        ...


class Splice(Protocol):
    """Bytes on their way from one stream to another."""

    def sink_drained(self) -> None:
        """The sink has taken all that was written to it."""
        ...

    def cancel(self) -> bool:
        """Stop. True: bytes were on their way, and are lost. To be called before either stream is closed or used
        otherwise. No harm when it is over."""
        ...


class Splicer(Protocol):
    """Moves bytes from one stream to another without looking at them."""

    def splice(self, source: Stream, sink: Stream, count: int, owner: SpliceOwner, /) -> Splice | None:
        """Begin to move the next `count` bytes; None when that is not possible, and nothing has changed.

        Until it is over the caller does not read from the source, and writes nothing to the sink.
        """
        ...


Clock = Callable[[], float]
"""Seconds, monotonic."""


class PoolSource(Protocol):
    """Where connections come from: the same pool for the same endpoint."""

    def __call__(self, endpoint: Endpoint, /) -> Pool: ...


class Reporter(Protocol):
    """Takes what a person should read, as often as it happens, and says it once per pair."""

    def key_conflict(self, winner: str, key: str, loser: str, other: str) -> None:
        """The carrier `winner` of a request names `key`, its carrier `loser` names `other`."""
        ...

    def key_lost(self, upstream: str, method: str, target: str, fields: Sequence[str], disputed: bool) -> None:
        """A call to `upstream` may have lost its key: of the trace context that it has (`fields`) nobody knows
        whose it is, or, `disputed`, it is not only one request's."""
        ...

    def routing_failed(self, error: Exception) -> None:
        """Deciding on a request has failed by a bug of ours; it went to the application."""
        ...
