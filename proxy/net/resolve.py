"""Names to addresses, without ever keeping anybody else waiting.

The C library's look-up blocks a thread, and there are few: eight names of a name server that does not answer would
stall all others, those of /etc/hosts included. Here /etc/hosts is asked first, then c-ares (pycares), which asks for
all names in one thread of its own. It heeds /etc/resolv.conf as the C library does, and orders what it finds by RFC
6724; plugins of the C library's name service switch it does not know.

What was found is kept for its TTL. When the servers do not answer any more, it serves on for a while (RFC 8767): a name
server that is down takes nobody with it who is known already.

pycares is imported with the first name that is in no file: most sidecars only ever dial addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.base.tasks import Tasks
from proxy.net.hosts import KNOWN_SECONDS, HostsFile

if TYPE_CHECKING:
    from pycares import Channel

SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 300.0
"""Bounds of a TTL: one of zero would be a question per dial; one of a day would outlive a move."""

FAILED_SECONDS = 1.0
"""For what could not be resolved: longer would hold up who has just been created."""

STALE_SECONDS = 3600.0
"""After its TTL, while nobody answers. RFC 8767 section 5: days at most; an hour is a name server's restart."""

PATIENCE_SECONDS = 1.0
"""For a fresh answer where a stale one is at hand (RFC 8767 section 5: 1.8 s for a client that may wait for 5)."""

LOOKUP_SECONDS = 10.0
"""For one look-up, whoever still waits for it."""

QUERY_SECONDS = 2.0
TRIES = 2
"""For one server, and how often each is asked."""

MAX_NAMES = 1024
"""Kept. A name has 253 bytes at most and MAX_ADDRESSES addresses of 100: 2 MiB in all."""

MAX_ADDRESSES = 16
"""Of one name; each could cost an attempt of 250 ms."""

_RESOLV_CONF = Path("/etc/resolv.conf")


class UnresolvedError(socket.gaierror):
    """A name without an address. `str()` is a phrase."""

    def __init__(self, why: str) -> None:
        super().__init__(socket.EAI_NONAME, why)
        self.why = why

    def __str__(self) -> str:
        return self.why


class Found(NamedTuple):
    """addresses: numeric, in the order in which they are to be tried. seconds: how long they are known."""

    addresses: tuple[str, ...]
    seconds: float


class _Known(NamedTuple):
    found: Found | None
    why: str
    until: float


Lookup = Callable[[str], Awaitable[Found]]
"""Raises UnresolvedError."""


class Resolver:
    """tasks: owns the look-ups, which go on when nobody waits for them any more. lookup: asks for one name."""

    def __init__(self, tasks: Tasks, lookup: Lookup | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tasks = tasks
        self._lookup = lookup or CaresLookup()
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asked: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Resolver {len(self._known)} names, {len(self._asked)} asked for>"

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The addresses of a name; of an address, itself. Raises UnresolvedError."""
        if is_address(host):
            return (host,)
        known = self._known.get(host)
        if known is None or self._clock() >= known.until:
            task = self._asked.get(host)
            if task is None:
                task = self._asked[host] = self._tasks.spawn(self._ask(host), f"look up {host}")
            # `wait` does not cancel the look-up with its caller: others may wait for it, and the answer is kept.
            await asyncio.wait({task}, timeout=PATIENCE_SECONDS if known is not None and known.found else None)
            known = self._known.get(host, known)
        if known is None:
            raise UnresolvedError("the name cannot be resolved: the look-up was given up")
        if known.found is None:
            raise UnresolvedError(f"the name cannot be resolved: {known.why}")
        return known.found.addresses

    async def _ask(self, host: str) -> None:
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await self._lookup(host)
        except (UnresolvedError, TimeoutError) as error:
            self._keep(host, None, str(error) or "no name server answers")
        else:
            self._keep(host, found, "")
        finally:
            del self._asked[host]

    def _keep(self, host: str, found: Found | None, why: str) -> None:
        now = self._clock()
        before = self._known.get(host)
        if found is not None:
            seconds = min(max(found.seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
            found = Found(interleaved(found.addresses)[:MAX_ADDRESSES], seconds)
        else:
            seconds = FAILED_SECONDS
            if before is not None and before.found is not None and now < before.until + STALE_SECONDS:
                self._known[host] = before  # and the next dial asks again
                return
        if len(self._known) >= MAX_NAMES:
            self._known.clear()
        self._known[host] = _Known(found, why, now + seconds)


class CaresLookup:
    """`Lookup` in the hosts file and by c-ares, which is made anew when /etc/resolv.conf has changed.

    options: of the channel, beside ours.
    """

    def __init__(self, hosts: HostsFile | None = None, **options: Any) -> None:
        self._hosts = hosts or HostsFile()
        self._options = {"timeout": QUERY_SECONDS, "tries": TRIES} | options
        self._channel: Channel | None = None
        self._read: tuple[int, ...] = ()

    async def __call__(self, host: str) -> Found:
        if listed := await self._hosts.addresses(host):
            return Found(listed, KNOWN_SECONDS)
        from pycares.errno import strerror

        loop = asyncio.get_running_loop()
        told: asyncio.Future[tuple[Any, int | None]] = loop.create_future()

        def tell(result: Any, error: int | None) -> None:
            """In the thread of c-ares."""
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_settle, told, (result, error))

        channel = self._current()
        channel.getaddrinfo(host, None, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM, callback=tell)
        result, error = await told
        if error:
            why = strerror(error)
            raise UnresolvedError((why.decode() if isinstance(why, bytes) else why).lower())
        addresses = [_text(node.addr[0]) for node in result.nodes]
        if not addresses:
            raise UnresolvedError("it has no address")
        return Found(tuple(addresses), float(min(node.ttl for node in result.nodes)))

    def _current(self) -> Channel:
        from pycares import Channel

        try:
            status = _RESOLV_CONF.stat()
            read: tuple[int, ...] = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            read = ()
        if self._channel is None or read != self._read:
            old, self._read = self._channel, read
            self._channel = Channel(**self._options)
            if old is not None:
                old.close()
        return self._channel


def _settle(told: asyncio.Future[tuple[Any, int | None]], outcome: tuple[Any, int | None]) -> None:
    if not told.done():
        told.set_result(outcome)


def _text(address: str | bytes) -> str:
    return address.decode() if isinstance(address, bytes) else address


def is_address(host: str) -> bool:
    """It needs no look-up."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def interleaved(addresses: Sequence[str]) -> tuple[str, ...]:
    """Both families in turn, beginning with that of the first (RFC 8305 section 4): one family may lead nowhere."""
    unique = tuple(dict.fromkeys(addresses))
    if not unique:
        return ()
    six = ":" in unique[0]
    first = [address for address in unique if (":" in address) is six]
    second = [address for address in unique if (":" in address) is not six]
    return tuple(address for address in chain.from_iterable(zip_longest(first, second)) if address)
