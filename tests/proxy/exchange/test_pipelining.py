"""Requests that come ahead of their turn: answered strictly in turn, held in bounds."""

from __future__ import annotations

import pytest

from proxy.contract.routes import State
from proxy.exchange.settings import ExchangeSettings
from proxy.wire.head import Limits
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Playbook, get, keyed, problem, unready

POST = b"POST /p HTTP/1.1\r\nhost: users\r\ncontent-length: 4\r\n\r\nbody"


def test_requests_are_answered_strictly_in_turn(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    requests = [get("/1"), POST, get("/2").replace(b"GET", b"HEAD"), get("/3")]
    answers = [OK, b"HTTP/1.1 204 No Content\r\n\r\n", OK[:-2], OK.replace(b"ok", b"hi")]
    client.send(b"".join(requests))
    for request, answer in zip(requests, answers, strict=True):
        if book.app.dials:
            book.app.accept()
        app = book.app.made[-1]
        assert app.new() == request, "one at a time"
        assert client.new() == b""
        app.send(answer)
        assert client.new() == answer
    assert book.app.dialled == 3, "behind HEAD and 204 a connection is not lent at once"
    assert client.calls == []


def test_our_own_answers_keep_their_turn_too(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get("/1") + get("/2") + get("/3"))
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
    assert client.new() == OK
    book.app.refuse()
    assert problem(client.new())["code"] == "app-unreachable"
    app = book.app.accept()
    assert app.got == get("/3")
    app.send(OK)
    assert client.new() == OK


def test_answers_of_our_own_need_no_stack(make_book: MakeBook) -> None:
    """Each is given at once, and then the next request is begun: more of them than Python would call."""
    book = make_book(routes=[unready("bad", State.FAILED)])
    client = book.connect(book.inbound())
    client.send(keyed("bad") * 2000)
    assert client.got.count(b"HTTP/1.1 503 ") == 2000
    assert client.exchange.paused == 0
    client.send(get())
    book.app.accept().send(OK)
    assert client.got.endswith(OK)


def test_what_is_held_is_bounded(make_book: MakeBook, step: int) -> None:
    """Beyond the bound reading pauses; when there is room again it goes on, and nothing is lost."""
    book = make_book(step=step, settings=ExchangeSettings(held_bytes=4096))
    client = book.connect(book.inbound())
    requests = [get(f"/{number}") for number in range(400)]
    client.send(requests[0])
    app = book.app.accept()
    for request in requests[1:]:
        client.send(request)
    assert client.calls == ["pause_reading"]
    assert len(client.exchange.held) <= 4096 + len(requests[-1])
    assert client.unread
    for request in requests:
        assert app.new() == request
        app.send(OK)
        client.send()
    assert client.got == OK * 400
    assert client.unread == 0
    assert client.calls == ["pause_reading", "resume_reading"] * (len(client.calls) // 2)
    assert len(client.exchange.held) == 0


def test_a_head_longer_than_what_may_be_held_ahead(make_book: MakeBook, step: int) -> None:
    """The bound is for what comes ahead of its turn. In its turn, a head has the limit of heads."""
    book = make_book(step=step, settings=ExchangeSettings(held_bytes=4096), limits=Limits(head_bytes=32_768))
    client = book.connect(book.inbound())
    long = get("/long", "cookie: " + "c" * 20_000)
    client.send(get("/1"))
    app = book.app.accept()
    for start in range(0, len(long), 1000):
        client.send(long[start : start + 1000])
    assert client.unread
    app.send(OK)
    client.send()
    assert app.got == get("/1") + long
    app.send(OK)
    assert client.got == OK + OK


def test_a_pipeline_ends_where_its_connection_does(make_book: MakeBook, step: int) -> None:
    """What comes behind `connection: close` is no request any more (RFC 9112 section 9.6)."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get("/1", "connection: close") + get("/2"))
    app = book.app.accept()
    app.send(OK)
    assert app.got == get("/1")
    assert client.calls == ["write_eof"]
    client.send(get("/3"))
    assert book.app.made == [app]
    book.pass_ticks(book.settings.linger_ticks)
    assert client.calls == ["write_eof", "close"]


def test_a_malformed_request_in_a_pipeline_ends_it_in_its_turn(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get("/1") + b"GET /2 HTTP/1.1\r\n\r\n" + get("/3"))
    app = book.app.accept()
    assert client.got == b""
    app.send(OK)
    assert client.got.startswith(OK)
    assert "host field is missing" in problem(client.got[len(OK) :])["detail"]
    assert app.got == get("/1")


@pytest.mark.parametrize("cut", [1, 10, len(get("/2")) - 1])
def test_a_head_that_is_not_complete_yet_waits_for_its_rest(book: Playbook, cut: int) -> None:
    client = book.connect(book.inbound())
    client.send(get("/1") + get("/2")[:cut])
    app = book.app.accept()
    app.send(OK)
    assert book.app.idle == [app]
    client.send(get("/2")[cut:])
    assert app.got == get("/1") + get("/2")
    app.send(OK)
    assert client.got == OK + OK


def test_a_pipelined_body_is_told_from_the_next_head(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    chunked = b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n12\r\n" + b"GET /x HTTP/1.1\r\n\r"
    chunked += b"\r\n0\r\n\r\n"
    client.send(POST[:-2])
    app = book.app.accept()
    client.send(b"dy" + chunked + get("/last"))
    for request in (POST, chunked, get("/last")):
        assert app.new() == request
        app.send(OK)
    assert client.got == OK * 3
