"""One HTTP request and its whole answer, with one deadline for all of it, on the standard library's client.

A command that asks one thing needs no event loop and no pool of connections: importing those takes longer than the
question and its answer.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any, NamedTuple
from urllib.parse import urlsplit

ANSWER_LIMIT = 256 << 20
"""Bytes of an answer: a hundred thousand sandboxes are 200 MB. Whoever sends more is no registry."""


class Reply(NamedTuple):
    """media: of the body, without parameters, in lower case."""

    status: int
    media: str
    body: bytes


def exchange(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, seconds: float = 10.0
) -> Reply:
    """Ask, and wait for the whole answer. Redirects are answers like others.

    url: valid, with a host.

    Raises OSError (TimeoutError when `seconds` are over) and http.client.HTTPException.
    """
    deadline = time.monotonic() + seconds
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.connect()
        connection.sock = _Timed(connection.sock, deadline)
        target = parts.path or "/"
        connection.request(method, f"{target}?{parts.query}" if parts.query else target, body, dict(headers))
        answer = connection.getresponse()
        return Reply(answer.status, _media(answer), _whole(answer))
    finally:
        connection.close()


def _media(answer: HTTPResponse) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _whole(answer: HTTPResponse) -> bytes:
    found = answer.read(ANSWER_LIMIT + 1)
    if len(found) > ANSWER_LIMIT:
        raise OSError(f"the answer has more than {ANSWER_LIMIT} bytes")
    if answer.length:  # of what was announced; `read` with a limit does not look
        raise IncompleteRead(found, answer.length)
    return found


class _Timed:
    """A socket every operation of which ends at the deadline: an answer that drips must not last for ever."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def sendall(self, data: Any) -> None:
        self.left()
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        # Its own hold on the socket: the connection lets go of it as soon as an answer ends with the connection.
        return io.BufferedReader(_Stream(self, self._connection.makefile("rb", buffering=0)))

    def left(self) -> None:
        """Let the next operation take what is left of the time. Raises TimeoutError when that is nothing."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


class _Stream(io.RawIOBase):
    """What the socket receives."""

    def __init__(self, timed: _Timed, raw: socket.SocketIO) -> None:
        self._timed = timed
        self._raw = raw

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.left()
        return self._raw.readinto(buffer)
