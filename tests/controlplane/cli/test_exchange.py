"""One request and its whole answer, against bare sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException

import pytest

from controlplane.cli import exchange as module
from controlplane.cli.exchange import exchange

Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve one connection by a function; the URL."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def begin(answer: Callable[[socket.socket], None]) -> str:
            def run() -> None:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    received = b""
                    while b"\r\n\r\n" not in received:
                        received += connection.recv(65536)
                    answer(connection)

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield begin
        for thread in threads:
            thread.join(10)


def sends(*pieces: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: Text/JSON; charset=x\r\ncontent-length: 4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/json\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody",
        b"HTTP/1.0 200 OK\r\ncontent-type: text/json\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/json\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ],
)
def test_the_whole_answer(serve: Serve, answer: bytes) -> None:
    reply = exchange("GET", serve(sends(*(answer[at : at + 1] for at in range(len(answer))))), {})
    assert reply == (200, "text/json", b"body")


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n"])
def test_an_answer_that_drips_ends_at_the_deadline(serve: Serve, first: bytes) -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(first)
        while not over.wait(0.05):
            connection.sendall(b"x")

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        exchange("GET", serve(drip), {}, seconds=0.5)
    over.set()
    assert time.monotonic() - started > 0.4, "not before it; and never, without one"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"])
def test_what_is_no_whole_answer(serve: Serve, answer: bytes) -> None:
    with pytest.raises((OSError, HTTPException)):
        exchange("GET", serve(sends(answer)), {})


def test_an_answer_without_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 1000)
    with pytest.raises(OSError, match="more than 1000 bytes"):
        exchange("GET", serve(sends(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000)), {})
