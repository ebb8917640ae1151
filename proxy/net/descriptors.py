"""File descriptors, which every connection needs, and what happens when there are few left.

Rules:

* Accepting uses at most three quarters of them. The last quarter is for serving the clients that were accepted: dials,
  the route watch, the admin listener, files.
* Above that the listeners stop, and go on when descriptors are free again; until then the kernel queues new
  connections (BACKLOG).
  HAProxy (`maxconn`) and nginx (`worker_connections`) do the same. Without this, libuv would accept and close, and
  neither the client nor the log would say why.
* While accepting is paused, clients that have been idle for a while give way, some at a time (`proxy.net.pressure`): a
  client that opens connections and keeps them shuts nobody out.
* A dial that finds none is answered at once (503 `overloaded`), not held up: only the end of another connection could
  help it.

How many are in use is known in two ways, and the worse one counts. Connections are counted, dials from the moment that
they begin. What others take (the admin listener, files) shows in the number of a new descriptor: POSIX gives out the
lowest that is free (open(2), dup(2)), so all below it are taken. That look costs two system calls, and is taken when
half of the room that the last one has found is used, since an accepted client may cause a dial: of a limit of a
million, by one connection in hundreds of thousands, and by each of the last ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import time
from collections.abc import Callable
from typing import Protocol

from proxy.telemetry.counters import Counters

RESERVE = 4
"""One in so many is not for accepting."""

LOOK_SECONDS = 0.1
"""How long a connection waits in the kernel's queue at most when there is room again, and how long a lack may go unseen
that others than our listeners have made."""

GIVE_WAY = 16
"""One in so many of the usable ones, at a look: all of them in less than two seconds."""

SAY_SECONDS = 60.0
"""At most one line a minute of each kind: a client that can use up all descriptors must not fill the log as well."""

_log = logging.getLogger("skycap.descriptors")


class Accepting(Protocol):
    """A listener. listens: descriptors that it has while it accepts, and not while it is paused."""

    @property
    def listens(self) -> int: ...

    def pause(self) -> None: ...

    async def resume(self) -> None:
        """Raises OSError when it cannot."""
        ...


class Descriptors:
    """The descriptors of this process.

    limit:     how many it may have (RLIMIT_NOFILE).
    usable:    how many accepting may use.
    paused:    no connection is accepted now.
    listeners: whom to pause.
    upstreams: connections to others, and dials.
    reserved:  how many dials leave to others: the admin listener.
    give_way:  asked to close so many idle clients; returns how many it has closed.
    """

    def __init__(
        self, counters: Counters, limit: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit if limit is not None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.usable = self.limit - self.limit // RESERVE
        self.paused = False
        self.listeners: list[Accepting] = []
        self.upstreams: set[object] = set()
        self.reserved = 0
        self.give_way: Callable[[int], int] = lambda _: 0
        self._fixed = 0
        self._unseen = 0
        self._counters = counters
        self._clock = clock
        self._said: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Descriptors usable={self.usable}/{self.limit} {'paused' if self.paused else 'accepting'}>"

    def accepted(self, listening: socket.socket) -> None:
        """A connection is being accepted: see whether there is room for another one."""
        if self._unseen:
            self._unseen -= 1
            return
        try:
            probe = os.dup(listening.fileno())
        except OSError:
            probe = self.limit
        else:
            os.close(probe)
        room = self.usable - max(probe, self._used + 1)
        if room <= 0:
            self._pause()
        else:
            self._unseen = room // 2

    def dialling(self, upstream: object) -> None:
        """A dial begins. Accepting stops before it has a descriptor: of many dials at once, the last ones may get none,
        and a connection that was accepted then would be closed without a word. Raises OSError when those that are left
        are for others."""
        if self._used >= self.limit - self.reserved:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.upstreams.add(upstream)
        if self._used >= self.usable and self._pause():
            for listener in self.listeners:
                listener.pause()

    @property
    def _used(self) -> int:
        counters = self._counters
        connections = counters.inbound.connections_open + counters.outbound.connections_open
        return self._fixed + connections + len(self.upstreams)

    async def watch(self) -> None:
        """Go on accepting when there is room again; notice when others have used all of it. Never returns."""
        self._fixed = max(self._free(1) - self._used, 0)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self.paused:
                if self._free(1) >= self.usable:
                    self._pause()
                continue
            listens = sum(listener.listens for listener in self.listeners)
            if self._used + 1 < self.usable and self._free(listens + 1) < self.usable:
                await self._resume()
            else:
                self._counters.gave_way += self.give_way(max(self.usable // GIVE_WAY, 1))

    def dial_failed(self, error: OSError) -> bool:
        """Whether a dial failed because there is no descriptor left; then the log says so."""
        # getaddrinfo needs descriptors too, and does not say that it had none.
        lacking = _lacks(error) or (isinstance(error, socket.gaierror) and self._free(1) >= self.limit)
        if lacking:
            self._say(
                "dial",
                "no file descriptor is left (limit %d): requests that need a new connection get 503 overloaded",
                self.limit,
            )
        return lacking

    def _free(self, count: int) -> int:
        """The number that the last of so many new descriptors would have; the limit when there are fewer."""
        with contextlib.ExitStack() as probes:
            try:
                # No copies of another descriptor: the machine's table of open files (ENFILE) can be full as well.
                return max(probes.enter_context(socket.socket(socket.AF_UNIX)).fileno() for _ in range(count))
            except OSError as error:
                return self.limit if _lacks(error) else 0

    def _pause(self) -> bool:
        """True: they did accept until now."""
        if self.paused:
            return False
        self.paused = True
        self._counters.accepting_paused += 1
        for listener in self.listeners:
            # Not now: the event loop is in the middle of accepting.
            asyncio.get_running_loop().call_soon(listener.pause)
        self._say(
            "pause",
            "%d of %d file descriptors are in use: new connections wait until some are closed",
            self.usable, self.limit,
        )  # fmt: skip
        return True

    async def _resume(self) -> None:
        try:
            for listener in self.listeners:
                await listener.resume()
        except OSError:
            for listener in self.listeners:
                listener.pause()
            return
        self.paused = False

    def _say(self, kind: str, message: str, *values: object) -> None:
        now = self._clock()
        if now - self._said.get(kind, -SAY_SECONDS) >= SAY_SECONDS:
            self._said[kind] = now
            _log.warning(message, *values)


def _lacks(error: OSError) -> bool:
    return error.errno in (errno.EMFILE, errno.ENFILE)


def raise_limit() -> None:
    """A connection is a file; the soft limit of 1024 is there for programs that use `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
