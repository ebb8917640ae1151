"""One request on one connection, read with care: how peers are checked and idle connections are opened."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.errors import WrongAnswer
from benchmarks.traffic import FORKED, UNFORKED, Traffic

_TIMEOUT_SECONDS = 5.0
_MAX_HEAD = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Field names are in lower case; of repeated fields the last counts."""

    status: int
    fields: dict[str, str]
    body: bytes


def read_head(connection: socket.socket) -> Answer:
    """The head of a response and whatever of the body came with it. Raises ConnectionError and ValueError."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = connection.recv(65536)
        if not piece or len(data) > _MAX_HEAD:
            raise ConnectionError(f"the connection ended within the head of the answer: {data[:80]!r}")
        data += piece
    start, *lines = data[:end].decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(start.split()[1]), fields, data[end + 4 :])


def exchange(connection: socket.socket, request: bytes) -> Answer:
    """Send a request and read its whole answer, which must have a content-length."""
    connection.sendall(request)
    answer = read_head(connection)
    body = answer.body
    length = int(answer.fields["content-length"])
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(f"the answer ended after {len(body)} of {length} bytes")
        body += piece
    return Answer(answer.status, answer.fields, body)


def connect(port: int) -> socket.socket:
    """A connection to 127.0.0.1 on which nothing takes longer than five seconds."""
    return socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS)


def ask(port: int, traffic: Traffic, number: int = 0) -> Answer:
    """One request of `traffic` on a connection of its own. Raises OSError, ValueError and KeyError."""
    with connect(port) as connection:
        return exchange(connection, traffic.head(number, traffic.template()))


def answers(port: int) -> bool:
    """Whether something there answers a request with 200."""
    try:
        return ask(port, Traffic()).status == 200
    except (OSError, ValueError, KeyError):
        return False


def ready(port: int, path: str) -> bool:
    """Whether an administration listener answers `path` with 200, in whatever framing it likes."""
    try:
        with connect(port) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            return read_head(connection).status == 200
    except (OSError, ValueError):
        return False


def check_routing(
    name: str, port: int, forked: str = "shadow", forked_keys: Sequence[str] = (FORKED[0], FORKED[42], FORKED[-1])
) -> None:
    """Ask for every kind of key and compare who answered: `forked` for `forked_keys`, for all others the baseline.

    Raises WrongAnswer at the first difference.
    """
    asked = [(Traffic((key,)), forked) for key in forked_keys]
    asked += [(Traffic((key,)), "baseline") for key in (UNFORKED[0], UNFORKED[-1])]
    asked.append((Traffic(), "baseline"))
    for traffic, expected in asked:
        check_answer(name, port, traffic, expected)


def check_answer(name: str, port: int, traffic: Traffic, expected: str) -> Answer:
    """One request must be answered with 200 by `expected`. Raises WrongAnswer, which names peer, key and answer."""
    what = f"{name}, {'key ' + traffic.keys[0] if traffic.keys else 'no key'}"
    try:
        answer = ask(port, traffic)
    except (OSError, ValueError, KeyError) as error:
        raise WrongAnswer(f"{what}: no answer: {type(error).__name__}: {error}") from error
    if answer.status != 200 or not answer.body.startswith(expected.encode()):
        raise WrongAnswer(f"{what}: expected 200 from {expected}, got {answer.status} {answer.body[:60]!r}")
    return answer
