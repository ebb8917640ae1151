"""Every phase ends in time, and zero means never."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.exchange.settings import NO_LIMIT, ExchangeSettings
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Playbook, get, keyed, problem, ready, unready

UPLOAD = b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 4\r\n\r\n"

SHORT = ExchangeSettings(
    header_ticks=30, idle_ticks=60, connect_ticks=5, response_ticks=50, stream_ticks=100, linger_ticks=7, hold_ticks=10,
    sync_ticks=4, upload_rate=0,
)  # fmt: skip


def test_a_head_has_its_time_from_its_first_byte(make_book: MakeBook) -> None:
    """Sending one byte a second does not help (slow-loris)."""
    book = make_book(settings=SHORT)
    client = book.connect(book.inbound())
    for byte in get()[:29]:
        client.send(bytes([byte]))
        book.pass_ticks(1)
    assert client.got == b""
    book.pass_ticks(1)
    assert problem(client.got)["code"] == "header-timeout"
    assert client.calls == ["write_eof"]
    assert book.counters.inbound.timeouts == {"header": 1}
    book.pass_ticks(SHORT.linger_ticks)
    assert client.calls == ["write_eof", "close"]


def test_a_head_that_came_ahead_has_its_time_from_its_turn(make_book: MakeBook) -> None:
    book = make_book(settings=SHORT)
    client = book.connect(book.inbound())
    client.send(get() + get()[:10])
    app = book.app.accept()
    book.pass_ticks(40)
    app.send(OK)
    book.pass_ticks(SHORT.header_ticks - 1)
    assert client.new() == OK
    book.pass_ticks(1)
    assert problem(client.got)["code"] == "header-timeout"


def test_a_client_that_says_nothing_more_is_closed(make_book: MakeBook) -> None:
    book = make_book(settings=SHORT)
    client = book.connect(book.inbound())
    book.pass_ticks(SHORT.idle_ticks - 1)
    client.send(get())
    book.app.accept().send(OK)
    book.pass_ticks(SHORT.idle_ticks - 1)
    assert client.calls == []
    book.pass_ticks(1)
    assert client.calls == ["close"]
    assert book.counters.inbound.timeouts == {"idle": 1}
    assert sum(map(sum, book.counters.inbound.requests.values())) == 1


def test_a_dial_has_its_time(make_book: MakeBook) -> None:
    book = make_book(settings=SHORT)
    client = book.connect(book.inbound())
    client.send(get())
    book.pass_ticks(SHORT.connect_ticks - 1)
    assert client.got == b""
    book.pass_ticks(1)
    document = problem(client.new())
    assert document["code"] == "app-unreachable"
    assert document["detail"] == "the application at 127.0.0.1:9001 does not accept connections: no connection in time"
    assert book.app.dials == []
    assert book.counters.inbound.timeouts == {"connect": 1}
    client.send(get())
    book.app.accept().send(OK)
    assert client.got == OK


def test_an_answer_has_its_time_from_the_requests_end(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, settings=SHORT)
    client = book.connect(book.inbound())
    client.send(UPLOAD)
    app = book.app.accept()
    for byte in b"bod":
        book.pass_ticks(SHORT.stream_ticks - 1)
        client.send(bytes([byte]))
    book.pass_ticks(SHORT.stream_ticks - 1)
    client.send(b"y")
    book.pass_ticks(SHORT.response_ticks - 1)
    assert client.got == b""
    book.pass_ticks(1)
    document = problem(client.new())
    assert (document["code"], document["status"]) == ("app-timeout", 504)
    assert app.calls == ["reset"]
    assert client.calls == []
    assert book.counters.inbound.timeouts == {"response": 1}


def test_a_short_time_behind_a_long_one(make_book: MakeBook) -> None:
    """The wheel looks at a far deadline once in a turn; a nearer one that takes its place must be seen in time."""
    book = make_book(settings=replace(SHORT, stream_ticks=36_000))
    client = book.connect(book.inbound())
    client.send(UPLOAD)
    book.app.accept()
    client.send(b"body")
    book.pass_ticks(SHORT.response_ticks)
    assert problem(client.got)["code"] == "app-timeout"


def test_an_interim_answer_buys_no_time(make_book: MakeBook) -> None:
    book = make_book(settings=SHORT)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    book.pass_ticks(SHORT.response_ticks - 1)
    app.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    client.new()
    book.pass_ticks(1)
    assert problem(client.got)["code"] == "app-timeout"


def test_a_body_may_be_slow_but_not_silent(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, settings=SHORT)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(OK[:-2])
    for _ in range(3):
        book.pass_ticks(SHORT.stream_ticks - 1)
        assert client.calls == []
        app.send(b"o")
        app.send(b"k")
        client.send(get())
        app.send(OK[:-2])
    book.pass_ticks(SHORT.stream_ticks)
    assert client.calls == ["reset"], "a reset, so that nobody takes it for the whole answer"
    assert app.calls == ["reset"]
    assert book.counters.inbound.timeouts == {"body": 1}


def test_an_upload_that_stops_is_given_up(make_book: MakeBook) -> None:
    book = make_book(settings=SHORT)
    client = book.connect(book.inbound())
    client.send(UPLOAD + b"bo")
    app = book.app.accept()
    book.pass_ticks(SHORT.stream_ticks)
    document = problem(client.got)
    assert (document["code"], document["status"]) == ("content-timeout", 408)
    assert app.calls == ["reset"]
    assert client.calls == ["write_eof"]
    assert book.counters.inbound.timeouts == {"body": 1}


def test_a_reused_connection_gets_the_same_time(make_book: MakeBook) -> None:
    book = make_book(settings=SHORT)
    client = book.connect(book.inbound())
    for _ in range(3):
        client.send(get())
        app = book.app.made[0] if book.app.made else book.app.accept()
        book.pass_ticks(SHORT.response_ticks - 1)
        app.send(OK)
        book.pass_ticks(SHORT.idle_ticks - 1)
    client.send(get())
    book.pass_ticks(SHORT.response_ticks)
    assert problem(client.got[len(OK) * 3 :])["code"] == "app-timeout"


def test_a_phase_may_end_before_the_one_that_was_left(make_book: MakeBook) -> None:
    """The wheel would look at the far deadline only then."""
    book = make_book(settings=replace(SHORT, idle_ticks=900))
    book.app.keep()
    client = book.connect(book.inbound())
    client.send(get())
    book.pass_ticks(SHORT.response_ticks)
    assert problem(client.got)["code"] == "app-timeout"

    book = make_book(settings=replace(SHORT, response_ticks=900))
    app = book.app.keep()
    client = book.connect(book.inbound())
    book.pass_ticks(SHORT.idle_ticks - 1)
    client.send(get())
    book.pass_ticks(2)
    app.send(OK)
    book.pass_ticks(SHORT.idle_ticks)
    assert client.calls == ["close"]


ENDLESS = ExchangeSettings(
    header_ticks=NO_LIMIT, idle_ticks=NO_LIMIT, connect_ticks=NO_LIMIT, response_ticks=NO_LIMIT, stream_ticks=NO_LIMIT,
    linger_ticks=NO_LIMIT, hold_ticks=NO_LIMIT, sync_ticks=NO_LIMIT,
)  # fmt: skip
LONG = 5000
"""Ticks: several turns of the wheel."""


def test_without_limits_nothing_ends(make_book: MakeBook) -> None:
    book = make_book(settings=ENDLESS, routes=[unready("slow"), ready()])
    side = book.inbound()
    silent, slow, held, lingering = (book.connect(side) for _ in range(4))
    slow.send(get()[:20])
    held.send(keyed("slow"))
    lingering.send(b"NONSENSE\r\n\r\n")
    book.pass_ticks(LONG)
    client = book.connect(side)
    client.send(UPLOAD)
    book.pass_ticks(LONG)
    app = book.app.accept()
    for byte in b"body":
        book.pass_ticks(LONG)
        client.send(bytes([byte]))
    book.pass_ticks(LONG)
    for byte in OK:
        app.send(bytes([byte]))
        book.pass_ticks(LONG // 10)
    assert client.got == OK
    client.send(get("/ws", "connection: upgrade", "upgrade: x"))
    app.send(b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
    for peer in (client, app):
        peer.send(b"x")
        book.pass_ticks(LONG)
    assert book.counters.inbound.timeouts == {}
    assert [peer.calls for peer in (silent, slow, held, lingering, client, app)] == [[], [], [], ["write_eof"], [], []]


def test_deadlines_of_the_past_are_forgotten(book: Playbook) -> None:
    """Ten thousand requests leave one entry in the wheel, not ten thousand."""
    client = book.connect(book.inbound())
    app = book.app.keep()
    for _ in range(1000):
        client.send(get())
        app.send(OK)
        book.pass_ticks(1)
    assert book.armed == "items=1"


@pytest.mark.parametrize("ticks", [1, 7, 1022, 1023, 1024, 1025, 3000])
def test_a_deadline_is_late_by_no_more_than_a_tick(make_book: MakeBook, ticks: int) -> None:
    book = make_book(settings=replace(SHORT, idle_ticks=ticks))
    book.pass_ticks(500)
    client = book.connect(book.inbound())
    book.pass_ticks(ticks - 1)
    assert client.calls == []
    book.pass_ticks(1)
    assert client.calls == ["close"]
