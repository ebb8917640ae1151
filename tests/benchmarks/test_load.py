"""The load generators against a real server, right and wrong."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks import probe
from benchmarks.errors import WrongAnswer
from benchmarks.load import bulk, paced
from benchmarks.traffic import Traffic

Respond = Callable[[str, int], bytes | None]
"""From the request's path and its number on the connection to the whole response; None closes."""


def response(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


@contextmanager
def server(respond: Respond) -> Iterator[int]:
    """A threaded HTTP server on a free port that reads bodies by content-length."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        number = 0
        with connection, connection.makefile("rb") as reader:
            try:
                while line := reader.readline():
                    length = 0
                    while (header := reader.readline()) not in (b"\r\n", b""):
                        if header.lower().startswith(b"content-length:"):
                            length = int(header.partition(b":")[2])
                    reader.read(length)
                    answer = respond(line.split()[1].decode(), number)
                    if answer is None:
                        return
                    connection.sendall(answer)
                    number += 1
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)


def order(port: int, **changes: object) -> paced.Order:
    values: dict[str, object] = {
        "port": port, "rate": 400.0, "connections": 4, "seconds": 0.25, "expect": "shadow",
        "keys": ("k",), "path": "/1k", "warm_up": 0.05,
    }  # fmt: skip
    return paced.Order(**{**values, **changes})  # type: ignore[arg-type]


def test_every_request_of_a_paced_load_is_answered_and_the_warm_up_left_out() -> None:
    with server(lambda path, number: response(b"shadow" + b"." * 1000)) as port:
        outcome = paced.PacedLoad(order(port)).run()
    assert (outcome.wrong, outcome.lost) == (0, 0)
    assert len(outcome.latencies_us) == 100
    assert all(latency > 0 for latency in outcome.latencies_us)


def test_a_stall_is_seen_by_all_requests_that_were_due_in_it() -> None:
    stall = threading.Event()

    def respond(path: str, number: int) -> bytes:
        if number == 10:
            stall.wait(0.1)
        return response(b"shadow")

    with server(respond) as port:
        outcome = paced.PacedLoad(order(port, connections=1, warm_up=0.0)).run()
    # 40 requests were due in 100 ms of silence; a closed loop would have seen one slow answer.
    late = [latency for latency in outcome.latencies_us if latency > 20_000]
    assert len(late) >= 25
    assert outcome.lost == 0


def test_cpu_that_the_watched_process_burns_while_a_request_waits_is_a_stall() -> None:
    def respond(path: str, number: int) -> bytes:
        end = time.thread_time() + (0.05 if number == 10 else 0.0)
        while time.thread_time() < end:
            pass
        return response(b"shadow")

    with server(respond) as port:
        outcome = paced.PacedLoad(order(port, connections=1, rate=100.0, warm_up=0.0, watch=os.getpid())).run()
    assert 50_000 <= outcome.worst_cpu_us < 150_000


def test_a_load_that_is_stopped_waits_for_what_was_sent_and_loses_nothing() -> None:
    with server(lambda path, number: response(b"shadow")) as port:
        load = paced.PacedLoad(order(port, rate=200.0, seconds=30.0, warm_up=0.0))
        timer = threading.Timer(0.1, load.stop)
        timer.start()
        outcome = load.run()
        timer.join()
    assert (outcome.wrong, outcome.lost) == (0, 0)
    assert 5 <= len(outcome.latencies_us) < 200


def test_wrong_answers_and_lost_ones_are_counted() -> None:
    answers = {0: response(b"shadow"), 1: response(b"baseline"), 2: response(b"shadow", status=503)}
    with server(lambda path, number: answers.get(number)) as port:
        outcome = paced.PacedLoad(order(port, connections=1, rate=100.0, seconds=0.05, warm_up=0.0)).run()
    assert (len(outcome.latencies_us), outcome.wrong, outcome.lost) == (1, 2, 2)


def test_downloads_are_counted_and_checked_to_the_last_byte() -> None:
    body = b"shadow".ljust(300_000, b".")
    with server(lambda path, number: response(body)) as port:
        moved = bulk.move(port, Traffic(path="/files/1m"), len(body), "shadow", connections=2, seconds=0.05)
        assert moved.problems == []
        assert moved.bodies >= 2
        for expect, size in (("baseline", len(body)), ("shadow", len(body) + 1)):
            wrong = bulk.move(port, Traffic(), size, expect, connections=1, seconds=0.0)
            assert len(wrong.problems) == 1
            assert f"expected 200 with {size} bytes from {expect}" in wrong.problems[0]


def test_an_answer_cut_short_is_a_problem() -> None:
    left, right = socket.socketpair()
    with left, right:
        right.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshadow")
        right.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError, match="the answer ended after 6 of 10 bytes"):
            probe.exchange(left, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")


def test_uploads_must_be_confirmed_in_full() -> None:
    size = 500_000
    traffic = Traffic(path="/upload", body=size)
    with server(lambda path, number: response(b"shadow received %d" % (size + 700))) as port:
        moved = bulk.move(port, traffic, size, "shadow", connections=1, seconds=0.0)
        assert (moved.bodies, moved.problems) == (1, [])
    with server(lambda path, number: response(b"shadow received 12")) as port:
        moved = bulk.move(port, traffic, size, "shadow", connections=1, seconds=0.0)
        assert "expected 200 and 500000 bytes received by shadow" in moved.problems[0]


def test_a_probe_names_the_peer_the_key_and_what_came() -> None:
    with (
        server(lambda path, number: response(b"baseline")) as port,
        pytest.raises(WrongAnswer, match=r"envoy, key agent-000: expected 200 from shadow, got 200 b'baseline'"),
    ):
        probe.check_routing("envoy", port)


def test_a_probe_of_nobody_is_a_wrong_answer_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert not probe.answers(port)
    with pytest.raises(WrongAnswer, match="no answer: ConnectionRefusedError"):
        probe.check_answer("envoy", port, Traffic(), "baseline")
