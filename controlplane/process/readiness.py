"""Has it started? Asked often enough to cost a start no more than a few milliseconds, and never more.

A start of 100 ms is looked at every 3 ms, one of ten seconds ten times a second: the pause grows with the time
already waited, so that the delay added by looking stays below a thirtieth of the start itself. A hundred starts at
once share one budget of probes, because the machine has better things to do just then.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

Probe = Callable[[], Awaitable[str]]
"""Returns "" when it is ready, otherwise what is missing, to stand behind "is not ready: "."""

SHORTEST_PAUSE = 0.003
LONGEST_PAUSE = 0.100
PAUSE_SHARE = 0.03
"""Of the time waited so far."""
PROBES_PER_SECOND = 2_000
"""Over all waits of one `Readiness`: a refused connection costs about 100 us, so a fifth of one core."""
PROBE_SECONDS = 5.0
"""For one question to an application that accepts and then says nothing."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")
_STATUS_LINE_BYTES = 13
_NO_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH)


class Readiness:
    """Waits for things to become ready; the waits of one instance share its budget of probes."""

    def __init__(self) -> None:
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<Readiness {self._waiting} waiting>"

    async def until(self, probe: Probe, seconds: float, gone: asyncio.Future[Any] | None = None) -> str:
        """Ask `probe` until it is ready, at most `seconds`, or until `gone` resolves.

        Returns "" when ready, otherwise what was missing at the end.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        missing = "no answer"
        self._waiting += 1
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(began + seconds, loop.time() + PROBE_SECONDS)) as limit:
                        with _cut_short(limit, gone):
                            missing = await probe()
                waited = loop.time() - began
                if not missing or waited >= seconds:
                    return missing
                if await _passes(self._pause(waited, seconds), gone):
                    return missing
        finally:
            self._waiting -= 1

    def _pause(self, waited: float, seconds: float) -> float:
        pause = min(max(SHORTEST_PAUSE, waited * PAUSE_SHARE), LONGEST_PAUSE)
        return min(max(pause, self._waiting / PROBES_PER_SECOND), seconds - waited)


@contextmanager
def _cut_short(limit: asyncio.Timeout, gone: asyncio.Future[Any] | None) -> Iterator[None]:
    """What is no longer there must not be waited for: `limit` is over as soon as `gone` resolves."""

    inside = True

    def over(_: object) -> None:
        if inside:
            limit.reschedule(0.0)

    if gone is not None:
        gone.add_done_callback(over)
    try:
        yield
    finally:
        inside = False
        if gone is not None:
            gone.remove_done_callback(over)


async def _passes(pause: float, gone: asyncio.Future[Any] | None) -> bool:
    """Let `pause` seconds pass. True as soon as `gone` has resolved."""
    if gone is None:
        await asyncio.sleep(pause)
        return False
    await asyncio.wait([gone], timeout=pause)
    return gone.done()


LOOPBACKS = ("127.0.0.1", "::1")
"""What `localhost` may be to a server that is told to listen there."""


def answers(port: int, path: str | None, silence: str, hosts: Sequence[str] = LOOPBACKS) -> Probe:
    """Something listens there: `path` answers 2xx or 3xx or, without a path, the port accepts.

    hosts:   addresses, IPv4 or IPv6; the first that accepts is asked.
    silence: what is missing when nothing listens on any of them.
    """

    async def ask() -> str:
        missing = silence
        for host in hosts:
            try:
                status = await _get(host, port, path)
            except ConnectionRefusedError:
                continue
            except OSError as error:
                if error.errno not in _NO_FAMILY:  # a machine without IPv6
                    missing = f"{host} port {port}: {error.strerror or error}"
                continue
            if path is None or 200 <= status < 400:
                return ""
            return f"GET {path} answers {status}" if status else f"GET {path} is not answered with HTTP"
        return missing

    return ask


async def _get(host: str, port: int, path: str | None) -> int:
    """The status of one GET, 0 when the answer is not HTTP/1 or when there is no path to ask for.

    Raises OSError. A few lines on a bare socket: an HTTP client would cost more than the process that is waited for.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, (host, port))
        if connection.getsockname() == connection.getpeername():
            raise ConnectionRefusedError  # a TCP simultaneous open with ourselves: nobody is there
        if path is None:
            return 0
        request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        await loop.sock_sendall(connection, request.encode())
        answer = b""
        while len(answer) < _STATUS_LINE_BYTES:
            piece = await loop.sock_recv(connection, 4096)
            if not piece:
                break
            answer += piece
    status = _STATUS_LINE.match(answer)
    return int(status[1]) if status else 0
