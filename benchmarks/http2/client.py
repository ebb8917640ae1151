"""A blocking client: for probes, for large bodies, and for connections and streams that are held."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from types import TracebackType

from benchmarks.http2 import frames
from benchmarks.http2.answers import SpoiledError, decode
from benchmarks.http2.frames import HEAD
from benchmarks.http2.requests import Blocks, Kind, opened

_TIMEOUT_SECONDS = 20.0
_READ = 1 << 18
_FRAMES = 16
"""At most so many frames of a body leave in one write."""

_SMALLEST = 1024
"""A window that has less room is waited for, or frames would get smaller and smaller."""


@dataclass(slots=True)
class Answer:
    """One answer, as far as it has come. length: of its body; `body` is the beginning of it."""

    fields: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int = 0
    ended: bool = False


class Client:
    """One connection to `port` of 127.0.0.1, whose settings have come. Use as a context manager.

    keep: so many bytes of each answer's body are kept. Methods raise SpoiledError, and OSError.
    """

    def __init__(self, port: int, kind: Kind, keep: int = 4096) -> None:
        self._kind = kind
        self._keep = keep
        self._held = bytearray()
        self._credit = self._stream_credit = frames.DEFAULT_WINDOW
        self._settings: dict[int, int] = {}
        self._stream = -1
        self._taken = 0
        self.answer = Answer()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(frames.opening(client=True))
            while not self._settings:
                self._next()
        except BaseException:
            self._socket.close()
            raise
        table = min(self._settings.get(frames.TABLE_SIZE, frames.DEFAULT_TABLE), frames.DEFAULT_TABLE)
        self._blocks = Blocks(kind, table)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def begin(self, number: int, *, ends: bool) -> None:
        """The head of the next request, the `number`th of a run. What comes from now on is its answer."""
        first = self._stream < 0
        self._stream += 2
        self._stream_credit = self._settings.get(frames.WINDOW, frames.DEFAULT_WINDOW)
        self.answer = Answer()
        self._socket.sendall(opened(self._blocks.block(number, first=first), self._stream, ends=ends))

    def send(self, data: bytes | memoryview, *, ends: bool) -> None:
        """A part of the body, as fast as the windows allow."""
        view = memoryview(data)
        at, end = 0, len(view)
        while at < end:
            out: list[bytes | memoryview] = []
            while at < end and len(out) < 2 * _FRAMES:
                room = min(self._credit, self._stream_credit)
                size = min(end - at, frames.DEFAULT_FRAME, room)
                if size < min(_SMALLEST, end - at):
                    break
                flags = frames.END_STREAM if ends and at + size == end else 0
                out += (HEAD.pack(size << 8, flags, self._stream), view[at : at + size])
                self._credit -= size
                self._stream_credit -= size
                at += size
            if out:
                self._socket.sendall(b"".join(out))
            else:
                self._next()

    def receive(self, size: int) -> Answer:
        """The answer, once `size` bytes of its body have come."""
        while self.answer.length < size:
            if self.answer.ended:
                raise SpoiledError(f"the answer ended after {self.answer.length} of {size} bytes")
            self._next()
        return self.answer

    def whole(self) -> Answer:
        """The answer, once it has ended."""
        while not self.answer.ended:
            self._next()
        return self.answer

    def _next(self) -> None:
        """Take in one frame."""
        held = self._held
        while len(held) < 9 or len(held) < 9 + int.from_bytes(held[:3], "big"):
            data = self._socket.recv(_READ)
            if not data:
                raise SpoiledError("the connection was closed under us")
            held += data
        size, flags, stream = HEAD.unpack_from(held)
        kind, size = size & 0xFF, size >> 8
        payload = bytes(memoryview(held)[9 : 9 + size])
        del held[: 9 + size]
        if kind in (frames.DATA, frames.HEADERS, frames.RST_STREAM):
            if stream == self._stream:
                self._of_answer(kind, flags, payload)
            if kind == frames.DATA:  # alone counts for windows: giving back more would overflow the peer's
                self._refill(size)
        else:
            self._of_connection(kind, flags, stream, payload)

    def _of_answer(self, kind: int, flags: int, payload: bytes) -> None:
        answer = self.answer
        if kind == frames.RST_STREAM:
            if not answer.ended:
                raise SpoiledError(f"reset with code {int.from_bytes(payload, 'big')}")
            return
        payload = frames.without_padding(flags, payload) if flags & (frames.PADDED | frames.PRIORITY) else payload
        if kind == frames.HEADERS and answer.fields:
            answer.trailers = decode(payload)
        elif kind == frames.HEADERS:
            answer.fields = decode(payload)
        else:
            answer.length += len(payload)
            if len(answer.body) < self._keep:
                answer.body += payload[: self._keep - len(answer.body)]
        answer.ended = bool(flags & frames.END_STREAM)

    def _refill(self, size: int) -> None:
        self._taken += size
        if self._taken > frames.WINDOW_STEP:
            self._socket.sendall(frames.window_update(0, self._taken))
            self._taken = 0

    def _of_connection(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.SETTINGS and not flags & frames.ACK:
            before = self._settings.get(frames.WINDOW, frames.DEFAULT_WINDOW)
            self._settings = {frames.WINDOW: before, **self._settings, **frames.read_settings(payload)}
            self._stream_credit += self._settings[frames.WINDOW] - before  # of a stream that is open (RFC 9113, 6.9.2)
            self._socket.sendall(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
        elif kind == frames.PING and not flags & frames.ACK:
            self._socket.sendall(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW_UPDATE and stream == 0:
            self._credit += int.from_bytes(payload, "big")
        elif kind == frames.WINDOW_UPDATE and stream == self._stream:
            self._stream_credit += int.from_bytes(payload, "big")
        elif kind == frames.GOAWAY:
            raise SpoiledError(f"GOAWAY with error {int.from_bytes(payload[4:8], 'big')}: {payload[8:80]!r}")
