"""Who watches the routes: one object per open stream, found by workload.

A change is encoded once and written straight to the transport of every watcher of its workload. No queue, no
task and no wake-up stands between them: with 500 watchers a coroutine each would cost more than the writing.
What a slow reader has not read yet waits in its transport's buffer, and past MAX_UNREAD the stream is cut: the
sidecar then reconnects and resumes at what it applied last, which costs less than an unbounded buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from controlplane.life.published import encoded
from controlplane.model.routes import RouteEvent
from proxy.contract.watch import HEARTBEAT

MAX_UNREAD = 1 << 20
"""Bytes that one reader may leave unread: about 4,000 changes."""


class Transport(Protocol):
    """The part of asyncio.WriteTransport that is used here."""

    def write(self, data: bytes) -> None: ...
    def is_closing(self) -> bool: ...
    def get_write_buffer_size(self) -> int: ...
    def abort(self) -> None: ...


class Watcher:
    """One open stream.

    sidecar: its id, empty when it did not say.
    sent:    the id of the last event that was written to it.
    """

    __slots__ = ("_transport", "sent", "sidecar", "workload")

    def __init__(self, workload: str, sidecar: str, transport: Transport) -> None:
        self.workload = workload
        self.sidecar = sidecar
        self.sent = 0
        self._transport = transport

    def __repr__(self) -> str:
        return f"<Watcher {self.sidecar or 'unnamed'} of {self.workload}, sent {self.sent}>"

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    def write(self, chunk: bytes) -> bool:
        """Write bytes that are framed already. False: the reader is too slow, or gone, and has been cut off."""
        if self._transport.is_closing():
            return False
        self._transport.write(chunk)
        if self._transport.get_write_buffer_size() > MAX_UNREAD:
            self._transport.abort()
            return False
        return True

    def cut(self) -> None:
        self._transport.abort()


class Watchers:
    """All open streams that have their table and now get changes."""

    def __init__(self) -> None:
        self._by_workload: dict[str, set[Watcher]] = {}
        self._gateways: set[Watcher] = set()
        """Those that are told of preview links as well, from the moment that they have asked."""
        self.cut = 0
        """Streams cut off because their reader was too slow, since start."""
        self.snapshots = 0
        """Streams that began with a whole table, since start."""
        self.resumed = 0
        """Streams that began where the sidecar had left off, since start."""

    def __repr__(self) -> str:
        return f"<Watchers {len(self)} of {len(self._by_workload)} workloads>"

    def __len__(self) -> int:
        return sum(map(len, self._by_workload.values()))

    def add(self, watcher: Watcher) -> None:
        self._by_workload.setdefault(watcher.workload, set()).add(watcher)

    def add_gateway(self, watcher: Watcher) -> None:
        self._gateways.add(watcher)

    def tell_gateways(self, events: Iterable[bytes]) -> None:
        """Write changes of preview links."""
        chunk = framed(b"".join(events))
        for watcher in tuple(self._gateways):
            self._write(watcher, chunk)

    def tell_all(self, events: Iterable[bytes]) -> None:
        """Write to everybody what is not of one workload."""
        chunk = framed(b"".join(events))
        for watchers in tuple(self._by_workload.values()):
            for watcher in tuple(watchers):
                self._write(watcher, chunk)

    def remove(self, watcher: Watcher) -> None:
        self._gateways.discard(watcher)
        of_workload = self._by_workload.get(watcher.workload, set())
        of_workload.discard(watcher)
        if not of_workload:
            self._by_workload.pop(watcher.workload, None)

    def tell(self, events: Sequence[RouteEvent], keys: Sequence[bytes] = ()) -> None:
        """Write changes to everybody whom they concern: one write per watcher, however many changes.

        keys: events for everybody, of the keys that sandboxes have.
        """
        told = framed(b"".join(keys)) if keys else b""
        by_workload: dict[str, list[RouteEvent]] = {}
        for event in events:
            by_workload.setdefault(event.workload, []).append(event)
        for workload in tuple(self._by_workload) if told else by_workload:
            of_workload = by_workload.get(workload, [])
            chunk = (framed(b"".join(map(encoded, of_workload))) if of_workload else b"") + told
            for watcher in tuple(self._by_workload.get(workload, ())):
                if of_workload:
                    watcher.sent = of_workload[-1].id
                self._write(watcher, chunk)

    def beat(self) -> None:
        """The comment that tells a quiet stream from a dead one."""
        self.tell_all([HEARTBEAT])

    def close(self) -> None:
        """Cut every stream: the registry ends."""
        for watchers in tuple(self._by_workload.values()):
            for watcher in tuple(watchers):
                watcher.cut()

    def _write(self, watcher: Watcher, chunk: bytes) -> None:
        was_open = watcher.open
        if not watcher.write(chunk):
            self.remove(watcher)
            self.cut += was_open


def framed(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
