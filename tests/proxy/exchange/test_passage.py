"""One request's data: what an idle connection keeps of the last one, and what is counted of its bytes."""

from __future__ import annotations

import pytest

from proxy.exchange.passage import Passage
from proxy.exchange.phase import IDLE
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Client, Playbook, get, keyed, ready

SET_ANEW = {"attempt", "idle_seconds", "last", "pool", "rests", "reusable", "started"}
"""Numbers and references that every request sets before anything reads them."""

POST = b"POST / HTTP/1.1\r\nhost: users\r\nbaggage: routing-key=agent-42\r\ncontent-length: 10\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


def left(client: Client) -> dict[str, object]:
    """What differs from a passage that was never used."""
    fresh, used = Passage(), client.exchange.passage
    differing = {name: getattr(used, name) for name in dir(fresh) if name not in SET_ANEW and name[0] != "_"}
    return {name: value for name, value in differing.items() if value != getattr(fresh, name)}


@pytest.mark.parametrize("request_bytes", [get(), keyed(), POST + b"0123456789", keyed("agent-42", "/", "b3: 0")])
@pytest.mark.parametrize("answer", [OK, LONG, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n", b"nonsense\r\n\r\n"])
def test_nothing_stays_of_a_request(make_book: MakeBook, step: int, request_bytes: bytes, answer: bytes) -> None:
    book = make_book(routes=[ready("agent-42")], step=step)
    client = book.connect(book.inbound())
    client.send(request_bytes)
    pool = book.shadow if book.shadow.dials else book.app
    pool.accept().send(answer)
    assert client.exchange.phase == IDLE
    assert left(client) == {}


def test_nothing_stays_of_a_request_that_was_refused(make_book: MakeBook) -> None:
    book = make_book(routes=[ready("agent-42")])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.shadow.refuse()
    assert client.exchange.phase == IDLE
    assert left(client) == {}


def test_bytes_of_bodies_are_counted(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(POST + b"0123")
    passage = client.exchange.passage
    assert passage.request_bytes == 4
    client.send(b"45")
    app = book.app.accept()
    client.send(b"67")
    assert (passage.request_bytes, passage.answer_bytes) == (8, 0)
    app.send(LONG[:-4])
    assert (passage.request_bytes, passage.answer_bytes, passage.status) == (8, 2, 200)
    app.send(LONG[-4:-1])
    assert passage.answer_bytes == 5


def test_bytes_of_tunnels_are_counted(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get("/", "connection: upgrade", "upgrade: chat"))
    app = book.app.accept()
    app.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n")
    client.send(b"hello")
    app.send(b"hi")
    passage = client.exchange.passage
    assert (passage.request_bytes, passage.answer_bytes, passage.status) == (5, 2, 101)


def test_repr(book: Playbook) -> None:
    client = book.connect(book.inbound())
    assert repr(client.exchange.passage) == "<Passage>"
    client.send(get("/a"))
    assert repr(client.exchange.passage) == "<Passage <RequestHead GET /a body=0> <Plan baseline key=- pools=1>>"
