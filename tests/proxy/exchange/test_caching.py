"""No cache keeps an answer to a request with a key; answers to others are left alone."""

from __future__ import annotations

import pytest

from proxy.contract.routes import State
from proxy.exchange.settings import ExchangeSettings
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, SHADOW, Playbook, field_lines, get, keyed, ready, uncached, unready

CACHED = [
    "Cache-Control: public, max-age=3600", "cache-control: private", "CDN-Cache-Control: max-age=60",
    "surrogate-control: max-age=60", "Expires: Thu, 01 Dec 2033 16:00:00 GMT", "X-Accel-Expires: 100",
    "cache-control: no-store\r\nexpires: 0",
]  # fmt: skip


def answer(*lines: str) -> bytes:
    return OK.replace(b"\r\n\r\n", "".join(f"\r\n{line}" for line in lines).encode() + b"\r\n\r\n", 1)


def inbound(book: Playbook, request: bytes, given: bytes) -> bytes:
    client = book.connect(book.inbound())
    client.send(request)
    (book.shadow if book.shadow.dials else book.app).accept().send(given)
    return client.got


def outbound(book: Playbook, request: bytes, given: bytes) -> bytes:
    client = book.connect(book.outbound())
    client.send(request)
    book.target.accept().send(given)
    return client.got


@pytest.mark.parametrize("way", [inbound, outbound])
@pytest.mark.parametrize("caching", CACHED)
def test_what_would_let_a_cache_keep_it_goes(make_book: MakeBook, step: int, way: object, caching: str) -> None:
    book = make_book(step=step, routes=[ready()])
    got = way(book, keyed(), answer(caching, "vary: accept-encoding", "etag: x", "x-control: 1"))  # type: ignore[operator]
    assert field_lines(got, "cache-control") == ["no-store"]
    assert field_lines(got, "vary") == ["accept-encoding", "baggage"]
    assert (field_lines(got, "etag"), field_lines(got, "x-control")) == (["x"], ["1"])
    for name in ("cdn-cache-control", "surrogate-control", "expires", "x-accel-expires"):
        assert field_lines(got, name) == []
    assert got.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("way", [inbound, outbound])
def test_one_that_says_nothing_is_told(make_book: MakeBook, step: int, way: object) -> None:
    book = make_book(step=step)
    got = way(book, keyed(), OK)  # type: ignore[operator]
    assert (field_lines(got, "vary"), field_lines(got, "cache-control")) == (["baggage"], ["no-store"])


@pytest.mark.parametrize("way", [inbound, outbound])
def test_the_sidecar_behind_has_said_it_all(make_book: MakeBook, step: int, way: object) -> None:
    book = make_book(step=step, routes=[ready()])
    got = way(book, keyed(), uncached(answer("vary: accept")))  # type: ignore[operator]
    assert field_lines(got, "vary") == ["accept", "baggage"]
    assert field_lines(got, "cache-control") == ["no-store"]


@pytest.mark.parametrize("way", [inbound, outbound])
@pytest.mark.parametrize("caching", CACHED)
def test_without_a_key_nothing_changes(make_book: MakeBook, step: int, way: object, caching: str) -> None:
    book = make_book(step=step)
    given = answer(caching, "vary: accept-encoding")
    assert way(book, get(), given) == given  # type: ignore[operator]


@pytest.mark.parametrize("state", [State.FAILED, State.PENDING])
def test_neither_is_an_answer_of_our_own_kept(make_book: MakeBook, state: State) -> None:
    book = make_book(routes=[unready(state=state)])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.pass_ticks(book.settings.hold_ticks)
    assert (field_lines(client.got, "vary"), field_lines(client.got, "cache-control")) == (["baggage"], ["no-store"])


def test_an_installation_may_leave_it_to_its_applications(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(uncached=False), routes=[ready(), unready("bad", State.FAILED)])
    got = inbound(book, keyed(), answer("cache-control: max-age=5"))
    assert (field_lines(got, "vary"), field_lines(got, "cache-control")) == ([], ["max-age=5"])
    client = book.connect(book.inbound())
    client.send(keyed("bad"))
    assert field_lines(client.got, "cache-control") == []
    assert book.pool(SHADOW).dialled == 1
