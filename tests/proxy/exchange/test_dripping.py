"""Silence is not the only slowness: a byte now and then does not hold two connections for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.exchange.phase import CLOSED
from proxy.exchange.settings import TICK_SECONDS, ExchangeSettings
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Client, Playbook, PlayedUpstream, get, problem

SETTINGS = ExchangeSettings(header_ticks=30, response_ticks=100, stream_ticks=400, upload_rate=1)

CHUNKED = b"POST / HTTP/1.1\r\nhost: users\r\ntransfer-encoding: chunked\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LENGTH = b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 100000\r\n\r\n"

lines = pytest.mark.parametrize(
    "before", [b"5;a=", b"5", b"5\r\nhello\r", b"0\r\n", b"0\r\nx-a: b\r\n", b"5\r\nhello\r\n1;b="]
)


def pass_ticks(book: Playbook, ticks: int) -> None:
    for _ in range(ticks):
        book.clock.now += TICK_SECONDS
        book.pass_ticks(1)


def upload(book: Playbook, head: bytes) -> tuple[Client, PlayedUpstream]:
    client = book.connect(book.inbound())
    client.send(head)
    return client, book.app.accept()


def drip(book: Playbook, send: Callable[[bytes], None], over: Callable[[], bool], *, every: int, byte: bytes) -> int:
    """One byte every so many ticks. Returns how many it took."""
    ticks = 0
    while not over():
        pass_ticks(book, every)
        ticks += every
        if not over():
            send(byte)
        assert ticks < 100_000, "for ever"
    return ticks


@lines
def test_a_line_between_chunks_and_trailers_have_the_time_of_a_head(make_book: MakeBook, before: bytes) -> None:
    book = make_book(settings=SETTINGS)
    client, app = upload(book, CHUNKED)
    client.send(before)
    byte = b"\n" if before.endswith(b"\r") else b"1" if before == b"5" else b"a"
    if before.endswith(b"\r"):
        pass_ticks(book, 30)
    else:
        assert drip(book, client.send, lambda: bool(client.got), every=3, byte=byte) <= 33
    document = problem(client.got)
    assert (document["code"], document["status"]) == ("content-timeout", 408)
    assert app.calls[-1] == "reset"


@lines
def test_so_have_those_of_an_answer(make_book: MakeBook, before: bytes) -> None:
    book = make_book(settings=SETTINGS)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(ANSWER)
    app.send(before)
    if before.endswith(b"\r"):
        pass_ticks(book, 30)
    else:
        byte = b"1" if before == b"5" else b"a"
        assert drip(book, app.send, lambda: client.exchange.phase == CLOSED, every=3, byte=byte) <= 33
    assert client.calls == ["reset"]
    assert book.counters.inbound.timeouts == {"body": 1}


def test_chunks_that_come_in_pieces_have_all_the_time_that_bodies_have(make_book: MakeBook) -> None:
    """A line that begins where the last one ends is another one."""
    book = make_book(settings=replace(SETTINGS, upload_rate=0))
    client, app = upload(book, CHUNKED)
    client.send(b"1")
    for _ in range(20):
        pass_ticks(book, 29)
        client.send(b"\r\nx\r\n1")
    pass_ticks(book, 29)
    client.send(b"\r\nx\r\n")
    pass_ticks(book, SETTINGS.stream_ticks - 1)
    client.send(b"0\r\n\r\n")
    app.send(ANSWER + b"1")
    for _ in range(20):
        pass_ticks(book, 29)
        app.send(b"\r\nx\r\n1")
    app.send(b"\r\nx\r\n")
    pass_ticks(book, SETTINGS.stream_ticks - 1)
    app.send(b"0\r\n\r\n")
    assert client.got.endswith(b"0\r\n\r\n")
    assert book.app.idle == [app]


@pytest.mark.parametrize("head", [LENGTH, CHUNKED + b"fffff\r\n"])
def test_content_that_drips_ends(make_book: MakeBook, head: bytes) -> None:
    """A byte in 20 seconds, of which the first 10 are for nothing."""
    book = make_book(settings=SETTINGS)
    client, app = upload(book, head)
    assert drip(book, client.send, lambda: bool(client.got), every=90, byte=b"x") <= 300
    assert problem(client.got)["code"] == "content-timeout"
    assert app.calls[-1] == "reset"


def test_content_that_is_fast_enough_may_take_its_time(make_book: MakeBook) -> None:
    book = make_book(settings=SETTINGS)
    client, app = upload(book, LENGTH)
    for _ in range(500):
        client.send(b"x" * 20)
        pass_ticks(book, 200)
    assert client.got == b""
    client.send(b"x" * 90_000)
    app.send(OK)
    assert client.got == OK


def test_content_may_take_for_ever_where_that_is_wanted(make_book: MakeBook) -> None:
    book = make_book(settings=replace(SETTINGS, upload_rate=0))
    client, _ = upload(book, LENGTH)
    for _ in range(30):
        client.send(b"x")
        pass_ticks(book, SETTINGS.stream_ticks - 1)
    assert client.got == b""


def test_an_answer_that_has_begun_gives_its_request_all_the_time(make_book: MakeBook) -> None:
    """Both directions of a stream may be slow."""
    book = make_book(settings=SETTINGS)
    client, app = upload(book, CHUNKED)
    app.send(ANSWER)
    for _ in range(30):
        client.send(b"1\r\nx\r\n")
        app.send(b"1\r\nx\r\n")
        pass_ticks(book, SETTINGS.stream_ticks - 1)
    assert client.exchange.phase != CLOSED
