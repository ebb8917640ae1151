"""The end of the sidecar: every answer announces it, and nobody is cut who need not be."""

from __future__ import annotations

import pytest

from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, get, keyed, problem, unready

CLOSING = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


def test_what_is_in_flight_is_finished_and_announces_the_end(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    side = book.inbound()
    client, answering = book.connect(side), book.connect(side)
    client.send(get())
    answering.send(get())
    app, other = book.app.accept(), book.app.accept()
    other.send(OK[:-1])
    side.draining = True
    for each in (client, answering):
        each.exchange.drain(last_call=False)
        each.exchange.drain(last_call=True)
        assert each.calls == []
    app.send(OK)
    other.send(OK[-1:])
    assert client.got == CLOSING
    assert client.calls == ["close"]
    assert answering.got == OK, "its head had left before"
    assert answering.calls == []
    answering.exchange.drain(last_call=True)
    assert answering.calls == ["close"]


def test_an_idle_connection_may_send_one_more_request(make_book: MakeBook, step: int) -> None:
    """It may be on its way already: until the last call it is answered, and told that it was the last."""
    book = make_book(step=step)
    side = book.inbound()
    client, idle, typing = (book.connect(side) for _ in range(3))
    side.draining = True
    for each in (client, idle, typing):
        each.exchange.drain(last_call=False)
        assert each.calls == []
    client.send(get())
    typing.send(get()[:10])
    book.app.accept().send(OK)
    assert client.got == CLOSING
    idle.exchange.drain(last_call=True)
    typing.exchange.drain(last_call=True)
    assert idle.calls == ["close"]
    assert typing.calls == [], "its request is on its way"
    typing.send(get()[10:])
    book.app.made[0].send(OK)
    assert typing.got == CLOSING


def test_a_pipeline_ends_with_the_request_in_hand(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    side = book.inbound()
    client = book.connect(side)
    client.send(get("/1") + get("/2"))
    app = book.app.accept()
    side.draining = True
    app.send(OK)
    assert app.got == get("/1")
    assert client.got == CLOSING
    assert client.calls == ["write_eof"]


@pytest.mark.parametrize("last_call", [False, True])
def test_what_is_held_is_told_at_once(make_book: MakeBook, step: int, last_call: bool) -> None:
    book = make_book(step=step, routes=[unready()])
    side = book.inbound()
    client = book.connect(side)
    client.send(keyed())
    side.draining = True
    client.exchange.drain(last_call=last_call)
    document = problem(client.got)
    assert (document["code"], document["status"], document["sandbox"]) == ("draining", 503, "agent-42")
    assert b"\r\nconnection: close\r\n" in client.got
    assert client.calls == ["close"]
    assert book.counters.inbound.failures["draining"] == 1


def test_errors_announce_it_too(make_book: MakeBook) -> None:
    book = make_book()
    side = book.inbound()
    client = book.connect(side)
    client.send(get())
    side.draining = True
    book.app.refuse()
    assert b"\r\nconnection: close\r\n" in client.got
    assert client.calls == ["close"]


def test_a_tunnel_is_left_to_its_ends(make_book: MakeBook) -> None:
    book = make_book()
    side = book.inbound()
    client = book.connect(side)
    client.send(get("/ws", "connection: upgrade", "upgrade: x"))
    app = book.app.accept()
    app.send(b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
    side.draining = True
    client.exchange.drain(last_call=True)
    client.send(b"still here")
    assert app.got.endswith(b"still here")
    assert client.calls == []
