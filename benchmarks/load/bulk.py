"""Large bodies, one after the other on each connection, every one received or sent to its last byte.

A fixed time would end in the middle of bodies whose CPU is booked and whose bytes are not. Here every connection
finishes what it began, so that CPU per MiB is exact. One thread per connection: `recv_into` and `sendall` leave the
interpreter while they copy.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.probe import Answer, read_head
from benchmarks.traffic import Traffic

_PIECE = 256 * 1024
_TIMEOUT_SECONDS = 20.0


@dataclass(slots=True)
class Moved:
    """What all connections did together. problems: one line each, empty when every answer was right."""

    bodies: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def move(port: int, traffic: Traffic, size: int, expect: str, connections: int, seconds: float) -> Moved:
    """Get (or put, when `traffic.body` is the size) bodies of `size` bytes until `seconds` have passed.

    A download must have exactly `size` bytes and begin with `expect`; the answer to an upload must begin with
    `expect` and name at least `size` received bytes.
    """
    end = time.perf_counter() + seconds
    return at_once(lambda number: _one_connection(port, traffic, size, expect, end, number), connections)


def at_once(one_connection: Callable[[int], int], connections: int) -> Moved:
    """So many threads, each with a connection of its own, given its number, that returns how many bodies it moved."""
    moved = Moved()
    lock = threading.Lock()
    start = time.perf_counter()

    def work(number: int) -> None:
        try:
            done = one_connection(number)
        except (OSError, ValueError) as error:
            with lock:
                moved.problems.append(f"{type(error).__name__}: {error}")
            return
        with lock:
            moved.bodies += done

    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moved.seconds = time.perf_counter() - start
    return moved


def _one_connection(port: int, traffic: Traffic, size: int, expect: str, end: float, lane: int) -> int:
    done = 0
    template = traffic.template()
    buffer = bytearray(_PIECE)
    payload = bytes(min(_PIECE, max(size, 1)))
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while done == 0 or time.perf_counter() < end:
            connection.sendall(traffic.head((lane << 20) + done, template))
            if traffic.body >= 0:
                _send_zeros(connection, payload, traffic.body)
                _check_upload(_receive(connection, buffer, _PIECE), size, expect)
            else:
                _check_download(_receive(connection, buffer, len(expect)), size, expect)
            done += 1
    return done


def _send_zeros(connection: socket.socket, payload: bytes, size: int) -> None:
    left = size
    view = memoryview(payload)
    while left:
        piece = view[: min(left, len(view))]
        connection.sendall(piece)
        left -= len(piece)


def _receive(connection: socket.socket, buffer: bytearray, keep: int) -> tuple[Answer, int]:
    """The answer with the first `keep` bytes of its body, and the body's whole length."""
    answer = read_head(connection)
    length = int(answer.fields.get("content-length", "-1"))
    if length < 0:
        raise ValueError("an answer without content-length")
    body = answer.body
    received = len(body)
    while received < length:
        count = connection.recv_into(buffer, min(len(buffer), length - received))
        if not count:
            raise ConnectionError(f"the answer ended after {received} of {length} bytes")
        if len(body) < keep:
            body += bytes(memoryview(buffer)[: min(count, keep - len(body))])
        received += count
    return Answer(answer.status, answer.fields, body), received


def _check_download(received: tuple[Answer, int], size: int, expect: str) -> None:
    answer, length = received
    if answer.status != 200 or length != size or not answer.body.startswith(expect.encode()):
        raise ValueError(f"expected 200 with {size} bytes from {expect}, got {answer.status} with {length}")


def _check_upload(received: tuple[Answer, int], size: int, expect: str) -> None:
    answer, _ = received
    words = answer.body.decode("ascii", "replace").split()
    if answer.status != 200 or words[:2] != [expect, "received"] or not words[2].isdigit() or int(words[2]) < size:
        raise ValueError(f"expected 200 and {size} bytes received by {expect}, got {answer.status} {words}")
