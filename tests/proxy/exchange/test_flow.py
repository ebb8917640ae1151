"""Backpressure: whoever sends faster than the other end takes is not read from, in both directions, and counted."""

from __future__ import annotations

import pytest

from proxy.contract.routes import State
from proxy.exchange.settings import ExchangeSettings
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Playbook, get, keyed, problem, unready

PAUSED_ONCE = ["pause_reading", "resume_reading"]
BIG_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
BIG_UPLOAD = b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 1000\r\n\r\n"


def test_an_answer_waits_for_its_client(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(BIG_ANSWER + b"x" * 500)
    client.full()
    app.send(b"x" * 500)
    assert app.unread == 500
    assert book.counters.inbound.paused_upstream == 1
    client.drained()
    app.send()
    assert client.got == BIG_ANSWER + b"x" * 1000
    assert app.calls == PAUSED_ONCE
    assert book.app.idle == [app]


def test_an_upload_waits_for_the_application(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(BIG_UPLOAD)
    app = book.app.accept()
    app.full()
    client.send(b"x" * 1000)
    assert client.unread == 1000
    assert book.counters.inbound.paused_downstream == 1
    app.drained()
    client.send()
    assert app.got == BIG_UPLOAD + b"x" * 1000
    assert client.calls == PAUSED_ONCE
    app.send(OK)
    assert client.got == OK
    assert book.app.idle == [app]


def test_a_connection_goes_back_to_its_pool_being_read_from(book: Playbook) -> None:
    """The last bytes of an answer may fill the client; the upstream's end must be noticed all the same."""
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    client.recorded.during_write = client.full
    app.send(OK)
    assert app.calls == PAUSED_ONCE
    assert book.app.idle == [app]
    client.recorded.during_write = None
    app.new()

    client.send(get())
    assert (client.unread, app.got) == (len(get()), b""), "the client has not read the answer before this one"
    client.drained()
    client.send()
    app.send(OK)
    assert client.got == OK + OK
    assert (client.calls, app.calls) == (PAUSED_ONCE, PAUSED_ONCE)


def test_no_request_begins_for_a_client_that_takes_nothing(make_book: MakeBook, step: int) -> None:
    """Whoever answers: our own answers would fill the memory as well."""
    book = make_book(step=step, routes=[unready("bad", State.FAILED)])
    client = book.connect(book.inbound())
    client.recorded.during_write = client.full
    client.send(keyed("bad") * 3)
    assert client.new().count(b"HTTP/1.1 503 ") == 1
    client.recorded.during_write = None
    client.send(keyed("bad") * 100)
    assert client.new() == b""
    assert client.exchange.held + b"" in keyed("bad") * 3
    client.drained()
    client.send()
    assert client.new().count(b"HTTP/1.1 503 ") == 102
    assert client.exchange.paused == 0


def test_a_client_that_never_takes_its_answers_is_cut_in_the_end(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.recorded.during_write = client.full
    client.send(get("/1") + get("/2"))
    book.app.accept().send(OK)
    client.recorded.during_write = None
    book.pass_ticks(book.settings.idle_ticks)
    assert client.got == OK, "no 408 for a head that is whole"
    assert client.calls == ["pause_reading", "close"]
    client.drained()
    book.pass_ticks(book.settings.idle_ticks)
    assert client.calls == ["pause_reading", "close", "reset"]


def test_a_client_that_ends_before_it_takes_its_answers_gets_them(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.recorded.during_write = client.full
    client.send(get("/1") + get("/2"))
    app = book.app.accept()
    app.send(OK)
    client.recorded.during_write = None
    assert client.end()
    client.drained()
    assert app.got == get("/1") + get("/2")
    app.send(OK)
    assert client.got == OK + OK
    assert client.calls[-1] == "close"


def test_a_connection_that_is_dialled_for_a_full_client_waits(book: Playbook) -> None:
    """A transport may say so when the loop's turn ends, and the next request has begun by then."""
    client = book.connect(book.inbound())
    client.send(get() + get())
    book.app.accept().send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    client.full()
    second = book.app.accept()
    assert second.calls == ["pause_reading"]
    client.drained()
    second.send(OK)
    assert client.got.endswith(OK)


def test_a_client_that_is_full_without_an_upstream(book: Playbook) -> None:
    """Our own answers fill a buffer, too."""
    client = book.connect(book.inbound())
    client.send(get())
    client.recorded.during_write = client.full
    book.app.refuse()
    assert client.calls == ["pause_reading"]
    client.drained()
    assert book.counters.inbound.paused_upstream == 0
    assert client.calls == PAUSED_ONCE


def test_an_answer_before_its_upload_was_taken(book: Playbook) -> None:
    """What was answered is delivered, then that connection is closed: nobody else's request may queue behind it."""
    client = book.connect(book.inbound())
    client.send(BIG_UPLOAD)
    app = book.app.accept()
    app.recorded.during_write = app.full
    client.send(b"x" * 1000)
    assert client.calls == ["pause_reading"]
    app.send(OK)
    assert client.got == OK
    assert client.calls == PAUSED_ONCE
    assert app.calls == ["close"]
    assert book.app.idle == []


def test_an_upstream_that_never_takes_the_rest_is_cut_in_the_end(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(BIG_UPLOAD)
    app = book.app.accept()
    app.recorded.during_write = app.full
    client.send(b"x" * 1000)
    app.send(OK)
    assert app.calls == ["close"]
    book.pass_ticks(book.settings.idle_ticks + 1)
    assert app.calls == ["close", "abort"]


@pytest.mark.parametrize("complete", [True, False])
def test_an_upstream_that_goes_while_it_is_full(book: Playbook, complete: bool) -> None:
    """Nobody will ever say that it has room again: the client must be read on all the same."""
    client = book.connect(book.inbound())
    client.send(BIG_UPLOAD)
    app = book.app.accept()
    app.recorded.during_write = app.full
    client.send(b"x" * (1000 if complete else 500))
    app.vanish(error=True)
    assert problem(client.new())["code"] == "upstream-reset"
    assert client.recorded.reading
    if complete:
        client.send(get())
        book.app.accept().send(OK)
        assert client.got == OK
    else:
        assert client.calls == ["pause_reading", "resume_reading", "write_eof"]


def test_a_retry_does_not_inherit_that_the_first_connection_was_full(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(replay_bytes=1 << 20))
    app = book.app.keep()
    app.recorded.during_write = lambda: app.full()
    client = book.connect(book.inbound())
    client.send(b"PUT / HTTP/1.1\r\nhost: users\r\ncontent-length: 1000\r\n\r\n" + b"x" * 500)
    assert client.calls == ["pause_reading"]
    app.vanish()
    second = book.app.accept()
    client.send(b"x" * 500)
    assert second.got.endswith(b"\r\n\r\n" + b"x" * 1000)
    second.send(OK)
    assert client.got == OK


def test_before_the_dial_succeeds_an_upload_is_held_in_bounds(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, settings=ExchangeSettings(replay_bytes=4096))
    client = book.connect(book.inbound())
    upload = b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 20000\r\n\r\n" + b"x" * 20_000
    for start in range(0, len(upload), 1000):
        client.send(upload[start : start + 1000])
    assert client.calls == ["pause_reading"]
    assert client.unread > 14_000
    app = book.app.accept()
    client.send()
    assert app.got == upload
    assert client.calls == PAUSED_ONCE
    app.send(OK)
    assert client.got == OK


def test_a_client_is_read_on_when_the_dial_of_its_whole_upload_has_failed(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(replay_bytes=4096))
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 5000\r\n\r\n")
    client.send(b"x" * 5000)
    assert client.calls == ["pause_reading"]
    book.app.refuse()
    assert problem(client.new())["code"] == "app-unreachable"
    assert client.calls == PAUSED_ONCE
    client.send(get())
    book.app.accept().send(OK)
    assert client.got == OK


def test_two_reasons_to_pause_are_two(make_book: MakeBook) -> None:
    """Reading goes on when neither holds any more."""
    book = make_book(settings=ExchangeSettings(held_bytes=4096))
    client = book.connect(book.inbound())
    client.send(get("/1") + get("/2", "x: " + "y" * 5000) + b"G")
    app = book.app.accept()
    client.send(b"E")
    assert client.calls == ["pause_reading"]
    app.full()
    assert client.calls == ["pause_reading"]
    app.drained()
    assert client.calls == ["pause_reading"]
    app.drained()
    app.send(OK)
    assert client.calls == PAUSED_ONCE
    app.drained()
    assert client.calls == PAUSED_ONCE
    client.send(b"T /3 HTTP/1.1\r\nhost: users\r\n\r\n")
    app.send(OK)
    app.send(OK)
    assert client.got == OK * 3


def test_a_client_that_never_reads_its_last_answer_is_cut_in_the_end(book: Playbook) -> None:
    """Closing waits for what was written. A client that takes nothing must not keep its connection for ever."""
    client = book.connect(book.inbound())
    client.send(get("/", "connection: close"))
    book.app.accept().send(OK)
    assert client.calls == ["close"]
    book.pass_ticks(book.settings.idle_ticks - 1)
    assert client.calls == ["close"]
    book.pass_ticks(1)
    assert client.calls == ["close", "reset"]
