"""What one connection may do in one turn of the loop: nobody keeps the others waiting, and nothing is lost by it."""

from __future__ import annotations

import pytest

from proxy.contract.routes import State
from proxy.exchange.phase import CLOSED, LINGER
from proxy.exchange.request import FAIR_MESSAGES, FAIR_WORK
from tests.proxy.exchange.playbook import OK, Peer, Playbook, get, keyed, turn, unready

UPLOAD = b"POST / HTTP/1.1\r\nhost: users\r\ntransfer-encoding: chunked\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"
TINY = b"1\r\nx\r\n" * (FAIR_WORK // 6 + 1)
SMALL = b"10\r\n0123456789abcdef\r\n" * (FAIR_WORK // 64 + 1)
END = b"0\r\n\r\n"


def reads(peer: Peer) -> bool:
    """The exchange reads from it."""
    return peer.recorded.reading


dear = pytest.mark.parametrize("chunks", [TINY, SMALL])


@pytest.fixture
def book() -> Playbook:
    return Playbook(routes=[unready("bad", State.FAILED)])


def test_requests_that_we_answer_ourselves(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send_once(keyed("bad") * 100 + get())
    assert client.new().count(b"HTTP/1.1 503 ") == 1 + FAIR_MESSAGES
    assert not reads(client)
    turns = 0
    while turn(client.exchange.side):
        turns += 1
        assert client.new().count(b"HTTP/1.1 503 ") <= FAIR_MESSAGES
    assert turns == 100 // FAIR_MESSAGES
    assert reads(client)
    book.app.accept().send(OK)
    assert client.got == OK
    book.ends_clean()


def test_an_end_behind_them_waits_for_its_turn(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send_once(keyed("bad") * 20)
    assert client.end()
    while turn(client.exchange.side):
        pass
    assert client.got.count(b"HTTP/1.1 503 ") == 20
    assert client.calls[-1] == "close"
    book.ends_clean()


@pytest.mark.parametrize("lost", [False, True])
def test_a_connection_that_ended_before_its_turn(book: Playbook, lost: bool) -> None:
    client = book.connect(book.inbound())
    client.send_once(keyed("bad") * (2 * FAIR_MESSAGES))
    if lost:
        client.vanish()
    else:
        client.exchange.cut()
    calls = list(client.calls)
    assert turn(client.exchange.side)
    assert client.exchange.phase == CLOSED
    assert client.calls == calls
    book.ends_clean()


@dear
def test_an_upload_in_small_chunks(book: Playbook, chunks: bytes) -> None:
    client = book.connect(book.inbound())
    client.send(UPLOAD)
    app = book.app.accept()
    client.send_once(chunks)
    assert not reads(client)
    assert turn(client.exchange.side)
    assert reads(client)
    client.send(b"1000\r\n" + b"x" * 4096 + b"\r\n" + END)
    assert reads(client)
    assert app.got == UPLOAD + chunks + b"1000\r\n" + b"x" * 4096 + b"\r\n" + END
    app.send(OK)
    assert client.got == OK
    book.ends_clean()


@dear
def test_an_upload_whose_answer_comes_before_its_turn(book: Playbook, chunks: bytes) -> None:
    """What still comes is discarded, so that the client can read the answer."""
    client = book.connect(book.inbound())
    client.send(UPLOAD)
    app = book.app.accept()
    client.send_once(chunks)
    app.send(OK)
    assert client.exchange.phase == LINGER
    assert turn(client.exchange.side)
    assert reads(client)
    client.send(chunks)
    assert client.unread == 0
    book.ends_clean()


def test_a_turn_that_is_waited_for_already(book: Playbook) -> None:
    """The upload was dear, and the client, which did not take its answer, has sent much behind it."""
    client = book.connect(book.inbound())
    client.send(UPLOAD)
    app = book.app.accept()
    client.send_once(TINY + END + keyed("bad") * 20)
    client.recorded.during_write = client.full
    app.send(OK)
    client.recorded.during_write = None
    assert client.new() == OK
    client.drained()
    assert client.new().count(b"HTTP/1.1 503 ") == FAIR_MESSAGES
    assert not reads(client)
    while turn(client.exchange.side):
        pass
    assert client.got.count(b"HTTP/1.1 503 ") == 20 - FAIR_MESSAGES
    assert reads(client)
    book.ends_clean()


@dear
def test_an_answer_in_small_chunks(book: Playbook, chunks: bytes) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(ANSWER)
    app.send_once(chunks)
    assert not reads(app)
    assert turn(client.exchange.side)
    assert reads(app)
    app.send(END)
    assert client.got == ANSWER + chunks + END
    assert book.app.idle == [app]
    book.ends_clean()


def test_an_answer_that_waits_for_its_client_as_well(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(ANSWER)
    client.recorded.during_write = client.full
    app.send_once(TINY)
    client.recorded.during_write = None
    assert turn(client.exchange.side)
    assert not reads(app), "the client has to take what it got"
    client.drained()
    assert reads(app)
    app.send(END)
    assert client.got == ANSWER + TINY + END
    book.ends_clean()


def test_an_answer_that_is_read_on_before_its_turn(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(ANSWER)
    client.recorded.during_write = client.full
    app.send_once(TINY)
    client.recorded.during_write = None
    client.drained()
    app.send_once(TINY)
    assert not reads(app)
    assert turn(client.exchange.side)
    assert not turn(client.exchange.side), "one turn for both"
    app.send(END)
    assert client.got == ANSWER + TINY + TINY + END
    book.ends_clean()


def test_an_answer_whose_client_goes_before_its_turn(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(ANSWER)
    app.send_once(TINY)
    client.vanish()
    calls = list(app.calls)
    assert turn(client.exchange.side)
    assert app.calls == calls
    book.ends_clean()


def test_interim_answers(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send_once(INTERIM * (3 * FAIR_MESSAGES) + OK)
    assert client.got == INTERIM * FAIR_MESSAGES
    assert not reads(app)
    turns = 0
    while turn(client.exchange.side):
        turns += 1
    assert turns == 3
    assert client.got == INTERIM * (3 * FAIR_MESSAGES) + OK
    assert reads(app)
    assert book.app.idle == [app]
    book.ends_clean()


def test_as_many_interim_answers_as_fit_need_no_turn(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send_once(INTERIM * FAIR_MESSAGES)
    assert reads(app)
    app.send_once(OK)
    assert client.got == INTERIM * FAIR_MESSAGES + OK
    book.ends_clean()


def test_a_turn_that_both_ends_wait_for_comes_once(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.exchange.wait_a_turn()
    client.exchange.wait_a_turn()
    assert client.calls.count("pause_reading") == 1
    assert turn(client.exchange.side)
    assert reads(client)
    assert not turn(client.exchange.side)
    book.ends_clean()
