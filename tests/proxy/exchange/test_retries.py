"""The safe retry: once, on a fresh connection, only when it is as good as the first time."""

from __future__ import annotations

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange.settings import ExchangeSettings
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, get, keyed, problem, ready

PUT = b"PUT / HTTP/1.1\r\nhost: users\r\ncontent-length: 8\r\n\r\n"


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
def test_a_reused_connection_that_was_just_closed(make_book: MakeBook, step: int, method: str, error: bool) -> None:
    book = make_book(step=step)
    old = book.app.keep()
    client = book.connect(book.inbound())
    request = get().replace(b"GET", method.encode())
    client.send(request)
    assert old.got == request
    old.vanish(error=error)
    new = book.app.accept()
    assert new.got == request
    answer = OK[:-2] if method == "HEAD" else OK
    new.send(answer)
    assert client.got == answer
    assert book.counters.inbound.upstream_retries == 1
    assert book.app.found_dead == [old], "its age is not reached again"
    assert book.counters.inbound.requests["baseline"][2] == 1
    assert not book.counters.inbound.failures


@pytest.mark.parametrize("method", ["POST", "PATCH", "CHARGE", "get"])
def test_what_may_not_be_done_twice_is_not_sent_twice(make_book: MakeBook, step: int, method: str) -> None:
    """RFC 9110 section 9.2.2; methods are case-sensitive."""
    book = make_book(step=step)
    old = book.app.keep()
    client = book.connect(book.inbound())
    client.send(get().replace(b"GET", method.encode()))
    old.vanish()
    assert problem(client.got)["code"] == "upstream-reset"
    assert book.app.dialled == 0
    assert book.counters.inbound.upstream_retries == 0


def test_a_fresh_connection_is_not_tried_again(make_book: MakeBook, step: int) -> None:
    """It was not closed for being idle: something is wrong."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    book.app.accept().vanish()
    assert problem(client.got)["code"] == "upstream-reset"
    assert book.app.dialled == 1


def test_only_once(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    old = book.app.keep()
    client = book.connect(book.inbound())
    client.send(get())
    old.vanish()
    book.app.accept().vanish()
    assert problem(client.new())["code"] == "upstream-reset"
    assert book.app.dialled == 1
    # The next request has its own.
    old = book.app.keep()
    client.send(get())
    old.vanish()
    book.app.accept().send(OK)
    assert client.got == OK


def test_only_once_even_when_the_second_connection_is_an_old_one(make_book: MakeBook) -> None:
    book = make_book()
    old = book.app.keep()
    client = book.connect(book.inbound())
    client.send(get())
    old.vanish()
    again = book.app.keep()
    assert book.app.dialled == 1, "a retry takes no other connection that may be at its end, too"
    book.app.accept().vanish()
    assert problem(client.got)["code"] == "upstream-reset"
    assert book.app.idle == [again]


def test_only_once_over_all_endpoints(make_book: MakeBook) -> None:
    """The next endpoint may have an idle connection that is at its end, too; that was the request's second life."""
    endpoints = [Endpoint("127.0.0.1", 9200), Endpoint("127.0.0.1", 9201)]
    book = make_book(routes=[ready("agent-42", *endpoints)])
    pools = [book.pool(endpoint) for endpoint in endpoints]
    kept = [pool.keep() for pool in pools]
    client = book.connect(book.inbound())
    client.send(keyed())
    (first,) = [number for number in (0, 1) if kept[number].borrower]
    kept[first].vanish()
    pools[first].refuse()
    assert kept[1 - first].borrower is client.exchange
    kept[1 - first].vanish()
    assert problem(client.got)["code"] == "upstream-reset"
    assert [pool.dialled for pool in pools] == ([1, 0] if first == 0 else [0, 1])


@pytest.mark.parametrize("first", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_not_after_the_first_byte_of_an_answer(make_book: MakeBook, step: int, first: bytes) -> None:
    book = make_book(step=step)
    old = book.app.keep()
    client = book.connect(book.inbound())
    client.send(get())
    old.send(first)
    old.vanish()
    assert b"HTTP/1.1 502 " in client.got
    assert book.app.dialled == 0


def test_with_the_body_that_is_still_held(make_book: MakeBook, step: int) -> None:
    """Sent so far or still coming: the second connection gets all of it, once."""
    book = make_book(step=step)
    old = book.app.keep()
    client = book.connect(book.inbound())
    client.send(PUT + b"on")
    client.send(b"e,")
    assert old.got == PUT + b"one,"
    old.vanish()
    client.send(b"tw")
    new = book.app.accept()
    assert new.got == PUT + b"one,tw"
    client.send(b"o!")
    assert new.got == PUT + b"one,two!"
    new.send(OK)
    assert client.got == OK
    assert book.app.idle == [new]


@pytest.mark.parametrize("together", [True, False])
def test_not_with_a_body_that_is_not_held_any_more(make_book: MakeBook, together: bool) -> None:
    book = make_book(settings=ExchangeSettings(replay_bytes=4096))
    old = book.app.keep()
    client = book.connect(book.inbound())
    head = b"PUT / HTTP/1.1\r\nhost: users\r\ncontent-length: 6000\r\n\r\n"
    if together:
        client.send(head + b"x" * 6000)
    else:
        client.send(head + b"x" * 3000)
        client.send(b"x" * 2000)
        client.send(b"x" * 1000)
    assert old.got == head + b"x" * 6000
    old.vanish()
    assert problem(client.got)["code"] == "upstream-reset"
    assert book.app.dialled == 0


def test_the_request_is_the_same_the_second_time(make_book: MakeBook, step: int) -> None:
    """What was added for the shadow is there again, and nothing is entered into the correlation twice."""
    book = make_book(step=step, routes=[ready()])
    old = book.shadow.keep()
    client = book.connect(book.inbound())
    client.send(keyed())
    old.vanish()
    assert book.correlation.keyed_in_flight == 1
    new = book.shadow.accept()
    assert new.got == old.got
    new.send(OK)
    assert b"skycap-served-by: shop/users;sandbox=agent-42;rev=3" in client.got
    assert book.correlation.keyed_in_flight == 0


def test_a_retry_whose_dial_fails(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    old = book.app.keep()
    client = book.connect(book.inbound())
    client.send(get())
    old.vanish()
    book.app.refuse()
    assert problem(client.got)["code"] == "app-unreachable"


def test_a_pipeline_is_retried_one_by_one(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    old = book.app.keep()
    client = book.connect(book.inbound())
    client.send(get("/1") + get("/2"))
    old.send(OK)
    old.vanish()
    new = book.app.accept()
    assert new.got == get("/2"), "the first one was answered"
    new.send(OK)
    assert client.got == OK + OK
