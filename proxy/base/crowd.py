"""A bounded crowd of connections in front of a server that does not bound them itself, as aiohttp's does not.

Rules:

* A connection that has not been served yet has `head_seconds` for its first request, from the first moment and however
  busily it drips; behind an answer it has `idle_seconds` for the next one, and to take what it was sent.
* There are at most `limit`. One more takes the place of the oldest that was never served, else of the one that has been
  idle for longest; while all are being served it is refused with a reset.

So a client that opens connections and keeps them costs the others nothing but its own place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

HEAD_SECONDS = 10.0
"""For a first request: probes, scrapers and people's commands send it with the connection."""

IDLE_SECONDS = 75.0
"""More than the minute between two scrapes."""


class Crowd:
    """limit: connections at most. server: makes the protocol of one connection; set before the first one comes."""

    def __init__(self, limit: int, head_seconds: float = HEAD_SECONDS, idle_seconds: float = IDLE_SECONDS) -> None:
        self.limit = limit
        self.head_seconds = head_seconds
        self.idle_seconds = idle_seconds
        self.server: Callable[[], asyncio.BaseProtocol] | None = None
        self._members: dict[object, _Member] = {}
        """By the server's protocol, those that were served last at the end."""

    def __repr__(self) -> str:
        return f"<Crowd {len(self._members)}/{self.limit}>"

    def __len__(self) -> int:
        return len(self._members)

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection, for `create_server`."""
        assert self.server is not None
        return _Member(self, cast(asyncio.Protocol, self.server()))

    @contextmanager
    def serving(self, protocol: object) -> Iterator[None]:
        """Around the handling of a request. protocol: the server's, of the request's connection."""
        member = self._members.get(protocol)
        if member is None:
            yield
            return
        member.begin()
        try:
            yield
        finally:
            member.end(self.idle_seconds)
            if self._members.pop(protocol, None) is not None:
                self._members[protocol] = member

    def enter(self, member: _Member) -> bool:
        """False: there is no place for it."""
        if len(self._members) >= self.limit:
            idle = [one for one in self._members.values() if not one.busy]
            if not idle:
                return False
            next((one for one in idle if not one.served), idle[0]).give_way()
        self._members[member.inner] = member
        return True

    def leave(self, member: _Member) -> None:
        self._members.pop(member.inner, None)


class _Member(asyncio.Protocol):
    """One connection: passes on what happens, and knows when it is in use."""

    def __init__(self, crowd: Crowd, inner: asyncio.Protocol) -> None:
        self.inner = inner
        self.served = False
        self.busy = 0
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self.busy += 1
        self._set(None)

    def end(self, seconds: float) -> None:
        self.busy -= 1
        self.served = True
        if not self.busy:
            self._set(seconds)

    def give_way(self) -> None:
        self._crowd.leave(self)  # at once: its loss is told in a later turn of the loop
        self._set(None)
        if self._transport is not None:
            self._transport.abort()

    def _set(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        late = seconds is not None and self._transport is not None
        self._timer = asyncio.get_running_loop().call_later(seconds, self.give_way) if late and seconds else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        if not self._crowd.enter(self):
            transport.abort()
            return
        self._transport = transport
        self._set(self._crowd.head_seconds)
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received() if self._transport is not None else None

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set(None)
        if self._transport is None:
            return
        self._transport = None
        self._crowd.leave(self)
        self.inner.connection_lost(exc)
