"""Bytes that the kernel moves from one connection to another: they never come into this process.

splice(2) takes the pages that a socket has received into a pipe, and hands them from there to the other socket. For a
large body that is half of the CPU of reading it and writing it (`benchmarks/README.md`). The transports of both
connections stay, and go on with everything else.

Rules:

* The sink's transport has sent all that was written to it before the first byte is moved: what its buffer held would
  come too late. Until the splice is over nobody writes to it.
* The owner pauses the source's transport. A paused transport is out of the event loop's poll and *never sees its
  peer's end or reset*: this module sees both, and tells the owner.
* A splice is over before its owner is told, and before the descriptor of either connection is closed: the event loop
  closes that behind `connection_lost`, by which the owner has cancelled.
* One `epoll` of our own, which the event loop watches, has both descriptors: uvloop lets nobody watch that of a
  transport. It is edge-triggered, so whatever is not used up by a turn goes on in the loop's next one.
* A turn moves TURN_BYTES at most: small requests have their turn in between.
* EAGAIN on the way in is ambiguous: the source is empty, or the pipe is full, which it is with fewer bytes than it
  could hold when they came in small packets. So the pipe is emptied before anybody waits for the source.
* Where little comes at a time, reading and writing is cheaper: then the rest is left to the transports.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import sys
import termios
from collections.abc import Callable
from typing import cast

from proxy.exchange.ports import SpliceOwner, Stream
from proxy.net.pipes import PIPE_BYTES, Pipe, Pipes
from proxy.net.tuning import set_water_marks

TURN_BYTES = 1024 * 1024
"""Of one splice in one turn of the event loop: about 0.3 ms."""

QUIET_SECONDS = 2.0
"""So long after the last splice, the poll and the pipes that were kept are closed: an idle sidecar has none."""

LEAN_BYTES = 16 * 1024
LEAN_TURNS = 16
"""When so many turns in a row have each moved fewer bytes than that, the splice ends. One that moves 64 bytes at a
time costs 2.2 times as much as the transports."""

if sys.platform == "linux":
    _NO_WAITING = os.SPLICE_F_NONBLOCK
    _MORE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MORE
    _READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
    _WRITABLE = select.EPOLLOUT | select.EPOLLET
    _FAILED = select.EPOLLERR | select.EPOLLHUP


class Splicer:
    """Implements the `Splicer` port of the exchange. Needs a running event loop when it is first used."""

    def __init__(self, pipes: Pipes) -> None:
        self.pipes = pipes
        self._epoll: select.epoll | None = None
        self._sources: dict[int, Splice] = {}
        self._sinks: dict[int, Splice] = {}
        self._tidying: asyncio.TimerHandle | None = None
        self._quiet = False
        """Nothing has begun since the timer was set."""
        self._usable = sys.platform == "linux"

    def __repr__(self) -> str:
        return f"<Splicer under way={len(self._sources)} {self.pipes!r}>"

    def splice(self, source: Stream, sink: Stream, count: int, owner: SpliceOwner) -> Splice | None:
        """Implements the port."""
        if not self._usable or not self._ready():
            return None
        descriptors = _descriptor(source), _descriptor(sink)
        if min(descriptors) < 0:
            return None
        pipe = self.pipes.take()
        if pipe is None:
            return None
        self._quiet = False
        return Splice(self, pipe, source, sink, descriptors, count, owner)

    def close(self) -> None:
        """Nothing is under way any more."""
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        self.pipes.close()

    def _ready(self) -> bool:
        """Whether there is an epoll. The first time it is made, if the kernel lets us splice at all."""
        if self._epoll is None:
            try:
                epoll = select.epoll()
            except OSError:
                return False  # no descriptor
            self._usable = _kernel_splices()
            if not self._usable:
                epoll.close()
                return False
            self._epoll = epoll
            asyncio.get_running_loop().add_reader(epoll.fileno(), self._poll)
        return True

    def _poll(self) -> None:
        assert self._epoll is not None
        for descriptor, events in self._epoll.poll(0):
            source, sink = self._sources.get(descriptor), self._sinks.get(descriptor)
            if source is not None and events & ~select.EPOLLOUT:
                source.turn()
            if sink is not None and events & _FAILED:
                sink.sink_failed()
            elif sink is not None and events & select.EPOLLOUT:
                sink.turn()

    def ended(self, pipe: Pipe) -> None:
        """A splice is over."""
        self.pipes.give(pipe)
        if not self.pipes.lent and self._tidying is None:
            self._tidy_later()

    def _tidy_later(self) -> None:
        self._quiet = True
        self._tidying = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        if self._quiet:
            self.close()
        elif not self.pipes.lent:
            self._tidy_later()

    def enter(self, splice: Splice) -> None:
        """Its two descriptors are watched from now on."""
        self._sources[splice.source_descriptor] = splice
        self._sinks[splice.sink_descriptor] = splice
        for descriptor, other in (
            (splice.source_descriptor, self._sinks),
            (splice.sink_descriptor, self._sources),
        ):
            self._watch(descriptor, known=descriptor in other)

    def leave(self, splice: Splice) -> None:
        """They are not any more."""
        del self._sources[splice.source_descriptor]
        del self._sinks[splice.sink_descriptor]
        for descriptor in (splice.source_descriptor, splice.sink_descriptor):
            self._watch(descriptor, known=True)

    def _watch(self, descriptor: int, *, known: bool) -> None:
        assert self._epoll is not None
        events = (_READABLE if descriptor in self._sources else 0) | (_WRITABLE if descriptor in self._sinks else 0)
        if not events:
            with contextlib.suppress(OSError):  # closed in spite of the rule: then the kernel watches it no more
                self._epoll.unregister(descriptor)
        elif known:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)


class Splice:
    """`left` bytes that are still to be taken from the source. Implements the `Splice` port of the exchange."""

    __slots__ = (
        "_begun", "_ended", "_full", "_lean", "_loop", "_owner", "_pipe", "_queued", "_sink", "_source", "_splicer",
        "left", "sink_descriptor", "source_descriptor",
    )  # fmt: skip

    def __init__(
        self,
        splicer: Splicer,
        pipe: Pipe,
        source: Stream,
        sink: Stream,
        descriptors: tuple[int, int],
        count: int,
        owner: SpliceOwner,
    ) -> None:
        self.source_descriptor, self.sink_descriptor = descriptors
        self.left = count
        self._splicer = splicer
        self._pipe: Pipe | None = pipe
        self._source = source
        self._sink = sink
        self._owner = owner
        self._begun = False
        self._ended = False
        """The source sends no more; what is in the pipe is still to be delivered."""
        self._full = False
        self._lean = 0
        self._loop = asyncio.get_running_loop()
        self._queued = True
        # Not now: what was written to the sink leaves at the end of this turn of the loop.
        self._loop.call_soon(self._begin)

    def __repr__(self) -> str:
        state = "over" if self._pipe is None else f"held={self._pipe.held}" if self._begun else "waiting"
        return f"<Splice left={self.left} {state}>"

    def _begin(self) -> None:
        self._queued = False
        if self._pipe is None or self._begun:
            return
        sink = cast(asyncio.WriteTransport, self._sink)
        if sink.is_closing() or self._source.is_closing():
            return  # whose loss cancels this
        if sink.get_write_buffer_size():
            sink.set_write_buffer_limits(0)  # it says when it has sent all: see `sink_drained`
            return
        self._begun = True
        self._splicer.enter(self)
        self.turn()

    def sink_drained(self) -> None:
        """The sink's transport has sent what was written to it."""
        if self._pipe is not None and not self._begun and not self._queued:
            set_water_marks(cast(asyncio.BaseTransport, self._sink))
            self._queue(self._begin)

    def cancel(self) -> bool:
        """Stop where it is. True: there were bytes in the pipe, which are lost."""
        pipe, self._pipe = self._pipe, None
        if pipe is None:
            return False
        if self._begun:
            self._splicer.leave(self)
        elif not self._sink.is_closing():
            set_water_marks(cast(asyncio.BaseTransport, self._sink))
        lost = pipe.held > 0
        self._splicer.ended(pipe)
        return lost

    def turn(self) -> None:
        """Move what can be moved now, TURN_BYTES at most."""
        pipe = self._pipe
        if pipe is None or self._source.is_closing() or self._sink.is_closing():
            return  # it is over, or about to be: whoever closes tells the owner
        left, held, moved = self.left, pipe.held, 0
        failed: Callable[[], None] | None = None
        dry = False
        while moved < TURN_BYTES and (left or held) and not dry:
            if left and held < PIPE_BYTES and not self._ended:
                try:
                    count = os.splice(
                        self.source_descriptor, pipe.writing, min(left, PIPE_BYTES - held), flags=_NO_WAITING
                    )
                except BlockingIOError:
                    dry = not held
                except OSError:
                    failed = self._owner.splice_source_failed
                    break
                else:
                    self._ended = not count
                    left -= count
                    held += count
            if held:
                # More is promised only where it is known to be there: else the kernel would hold the last piece back.
                flags = _MORE if left and held == PIPE_BYTES else _NO_WAITING
                try:
                    count = os.splice(pipe.reading, self.sink_descriptor, held, flags=flags)
                except BlockingIOError:
                    break
                except OSError:
                    failed = self._owner.splice_sink_failed
                    break
                held -= count
                moved += count
            elif self._ended:
                break
        self.left, pipe.held = left, held
        self._after(pipe, moved, failed, dry=dry)

    def _after(self, pipe: Pipe, moved: int, failed: Callable[[], None] | None, *, dry: bool) -> None:
        """Go on, wait or end, after a turn that has moved so many bytes."""
        if moved:
            self._owner.splice_moved(moved)
        if dry and moved:
            self._lean = self._lean + 1 if moved < LEAN_BYTES else 0
        full, self._full = self._full, pipe.held > 0
        if failed is not None:
            self.cancel()
            failed()
        elif not pipe.held and (not self.left or self._ended or self._lean == LEAN_TURNS):
            self.cancel()
            self._owner.splice_done(self.left, behind=not self._ended and _unread(self.source_descriptor) > 0)
        elif moved >= TURN_BYTES:
            if not self._queued:
                self._queue(self._next_turn)
        elif self._full and not full:
            self._owner.splice_full()

    def _next_turn(self) -> None:
        self._queued = False
        self.turn()

    def sink_failed(self) -> None:
        """It has been reset, whether there is something to be moved or not."""
        if self._pipe is not None:
            self.cancel()
            self._owner.splice_sink_failed()

    def _queue(self, what: Callable[[], None]) -> None:
        self._queued = True
        self._loop.call_soon(what)


def _descriptor(stream: Stream) -> int:
    """Of a TCP connection's socket, -1 when the stream is none or has ended."""
    sock = cast(asyncio.BaseTransport, stream).get_extra_info("socket")  # uvloop's do not derive from it
    return sock.fileno() if sock is not None and not stream.is_closing() else -1


def _unread(descriptor: int) -> int:
    """Bytes that a socket has received and nobody has read."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def _kernel_splices() -> bool:
    """Try it once: some sandboxes do not allow it, and say so only then."""
    here, there = socket.socketpair()
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        here.send(b"x")
        return os.splice(there.fileno(), writing, 1, flags=_NO_WAITING) == 1
    except OSError:
        return False
    finally:
        here.close()
        there.close()
        os.close(reading)
        os.close(writing)
