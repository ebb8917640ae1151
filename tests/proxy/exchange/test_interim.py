"""Interim answers, `Expect: 100-continue`, and answers that come before the request has ended."""

from __future__ import annotations

import pytest

from proxy.exchange.phase import LINGER
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Playbook, get

EXPECTING = b"PUT / HTTP/1.1\r\nhost: users\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


def test_expectations_are_the_applications_to_meet(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(EXPECTING)
    app = book.app.accept()
    assert app.new() == EXPECTING
    assert client.got == b""
    app.send(CONTINUE)
    assert client.new() == CONTINUE
    client.send(b"body")
    assert app.new() == b"body"
    app.send(OK)
    assert client.new() == OK
    assert client.calls == []
    assert book.app.idle == [app]


def test_an_expectation_that_fails(make_book: MakeBook, step: int) -> None:
    """The client may still send its body, and may not: nothing after this answer can be told apart."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(EXPECTING)
    app = book.app.accept()
    app.send(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno")
    assert client.got == b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    assert app.calls == ["abort"]
    assert client.calls == ["write_eof"]


def test_several_interim_answers_come_before_the_final_one(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    processing = b"HTTP/1.1 102 Processing\r\n\r\n"
    app.send(CONTINUE + processing + HINTS + HINTS + OK)
    assert client.got == CONTINUE + processing + HINTS + HINTS + OK
    assert book.app.idle == [app]
    client.send(get())
    app.send(HINTS)
    app.send(OK)
    assert client.got.endswith(HINTS + OK)


def test_an_interim_answer_loses_the_fields_of_its_hop(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    book.app.accept().send(b"HTTP/1.1 103 Early Hints\r\nconnection: x-hop\r\nx-hop: 1\r\nlink: a\r\n\r\n")
    assert client.got == b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"


def test_after_an_interim_answer_a_request_is_not_sent_again(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    app = book.app.keep()
    client = book.connect(book.inbound())
    client.send(get())
    app.send(HINTS)
    app.vanish()
    assert book.app.dialled == 0
    assert client.got.startswith(HINTS + b"HTTP/1.1 502 ")


@pytest.mark.parametrize("head", [b"content-length: 100000\r\n", b"transfer-encoding: chunked\r\n"])
def test_an_early_answer_stops_the_upload_politely(make_book: MakeBook, step: int, head: bytes) -> None:
    """It says that the connection ends, is delivered whole, and what the client still sends is thrown away."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.1\r\nhost: users\r\n" + head + b"\r\n5\r\nhello")
    app = book.app.accept()
    app.send(OK)
    assert client.got == CLOSING
    assert client.calls == ["write_eof"]
    assert client.exchange.phase == LINGER
    assert app.calls == ["abort"]
    assert book.app.returned == []
    sent = app.got
    client.send(b"x" * 5000)
    assert app.got == sent
    client.end()
    assert client.got == CLOSING


def test_a_client_that_goes_on_for_too_long_is_cut(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 100\r\n\r\n")
    book.app.accept().send(OK)
    for _ in range(book.settings.linger_ticks - 1):
        client.send(b"x")
        book.pass_ticks(1)
    assert client.calls == ["write_eof"]
    book.pass_ticks(1)
    assert client.calls == ["write_eof", "close"]


def test_an_early_answer_may_take_its_time_while_the_upload_goes_on(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 8\r\n\r\nhalf")
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
    assert b"connection: close\r\n" in client.got
    client.send(b"half")
    assert app.got.endswith(b"\r\n\r\nhalfhalf")
    app.send(b"HALF")
    assert client.got.endswith(b"\r\n\r\nhalfHALF")
    assert client.calls == ["close"]
    assert book.app.idle == [app], "both messages are whole: the connection is as good as before"


def test_an_early_answer_that_ends_with_its_connection(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 8\r\n\r\nhalf")
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    client.send(b"ha")
    app.vanish()
    assert client.got == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it"
    assert client.calls == ["write_eof"]
