"""HTTP/1.0, on either side."""

from __future__ import annotations

import pytest

from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import APP, OK, Playbook, problem


def test_a_client_of_1_0_gets_its_answer_and_its_end(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"GET /a HTTP/1.0\r\nx: y\r\n\r\n")
    app = book.app.accept()
    assert app.got == f"GET /a HTTP/1.1\r\nx: y\r\nhost: {APP}\r\n\r\n".encode(), "HTTP/1.1 needs a host"
    app.send(OK)
    assert client.got == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    assert client.calls == ["close"]
    assert book.app.idle == [app]


def test_a_client_of_1_0_may_keep_its_connection(make_book: MakeBook, step: int) -> None:
    """It believes so only when it is told so."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"GET /a HTTP/1.0\r\nHost: users\r\nConnection: Keep-Alive\r\n\r\n")
    app = book.app.accept()
    assert app.new() == b"GET /a HTTP/1.1\r\nHost: users\r\n\r\n"
    app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
    assert client.new() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: keep-alive\r\n\r\nok"
    client.send(b"GET /b HTTP/1.0\r\nHost: users\r\n\r\n")
    app.send(OK)
    assert client.calls == ["close"]


def test_our_own_answer_ends_the_connection_of_a_client_of_1_0(book: Playbook) -> None:
    """It would wait for the end otherwise: no header of ours tells it that the connection is kept."""
    client = book.connect(book.inbound())
    client.send(b"GET /a HTTP/1.0\r\nHost: users\r\nConnection: keep-alive\r\n\r\n")
    book.app.refuse()
    assert b"\r\nconnection: close\r\n" in client.got
    assert problem(client.got)["code"] == "app-unreachable"
    assert client.calls == ["close"]


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\na: b\r\n\r\n"
    b"5;ext=1\r\nhello\r\n7\r\n, world\r\n0\r\nx-sum: 1\r\n\r\n"
)


@pytest.mark.parametrize("cut", [0, len(CHUNKED) - 40, len(CHUNKED) - 20])
@pytest.mark.parametrize("wish", ["", "Connection: keep-alive\r\n"])
def test_a_client_of_1_0_gets_what_is_in_the_chunks(make_book: MakeBook, step: int, wish: str, cut: int) -> None:
    """RFC 9112 section 6.1: it cannot read them."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(f"GET /a HTTP/1.0\r\nhost: users\r\n{wish}\r\n".encode())
    app = book.app.accept()
    app.send(CHUNKED[:cut])
    app.send(CHUNKED[cut:])
    assert client.got == b"HTTP/1.1 200 OK\r\na: b\r\nconnection: close\r\n\r\nhello, world"
    assert client.calls == ["close"]
    assert book.app.idle == [app]


def test_a_client_of_1_0_gets_no_interim_answers(make_book: MakeBook, step: int) -> None:
    """RFC 9110 section 15.2: it does not know them."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.0\r\nhost: users\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\nbody")
    app = book.app.accept()
    app.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + OK)
    assert client.got == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


def test_an_application_of_1_0_is_translated(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"GET /a HTTP/1.1\r\nhost: users\r\n\r\n")
    app = book.app.accept()
    app.send(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert client.new() == OK
    assert client.calls == []
    assert app.calls == ["abort"], "without keep-alive its connection ends"
    client.send(b"GET /a HTTP/1.1\r\nhost: users\r\n\r\n")
    app = book.app.accept()
    app.send(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok")
    assert client.new() == OK
    assert book.app.idle == [app]
    client.send(b"GET /a HTTP/1.1\r\nhost: users\r\n\r\n")
    app.send(b"HTTP/1.0 200 OK\r\n\r\nuntil it ends")
    app.vanish()
    assert client.new() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil it ends"
    assert client.calls == ["close"]


def test_both_of_1_0(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"GET /a HTTP/1.0\r\n\r\n")
    app = book.app.accept()
    app.send(b"HTTP/1.0 200 OK\r\n\r\nuntil it ends")
    app.vanish()
    assert client.got == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil it ends"


@pytest.mark.parametrize("answer", [OK[:-2], b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"])
def test_head_of_1_0(make_book: MakeBook, step: int, answer: bytes) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"HEAD /a HTTP/1.0\r\n\r\n")
    book.app.accept().send(answer)
    assert client.got.endswith(b"connection: close\r\n\r\n")
    assert client.calls == ["close"]
    assert b"chunked" not in client.got, "it knows no transfer codings (RFC 9112 section 6.1)"


def test_a_malformed_request_of_1_0(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n")
    assert problem(client.got)["code"] == "bad-request"
    assert client.calls == ["write_eof"]
