"""Streams that an upstream has not looked at (RFC 9113 section 8.7): they are sent again, and else it is told why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.exchange.h2.budget import MAX_TRIES
from proxy.exchange.h2.server import FIRST_STREAMS
from proxy.wire.h2.frames import GOAWAY
from proxy.wire.h2.settings import settings_frame
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook, ready

KEY = "agent-42"
CONCURRENT = 3
Refuse = Callable[[Service, int], None]


def leave(server: Service, last: int = 0) -> None:
    """GOAWAY, which does not end the streams that were looked at."""
    server.flush()
    server.raw(frame(GOAWAY, 0, 0, last.to_bytes(4) + bytes(4)))


def refuse(server: Service, sid: int) -> None:
    server.reset(sid, 7)


def go(server: Service, sid: int) -> None:
    leave(server)


@pytest.mark.parametrize("no", [refuse, go])
def test_several_in_a_row(book: Playbook, no: Refuse) -> None:
    """An application is replaced, and the next one as well."""
    client = Caller(book, book.inbound())
    sid = client.call(data=b"once more", ends=False)
    for _ in range(MAX_TRIES):
        no(Service(book.app), sid)
    client.more(sid, b", and the rest", ends=True)
    server = Service(book.app)
    assert server.requests[sid].data == b"once more, and the rest"
    assert server.requests[sid].ended
    server.answer(sid)
    assert client.answers[sid].data == b"ok"
    assert book.counters.inbound.upstream_retries == MAX_TRIES
    assert not book.counters.inbound.failures
    assert client.link.queued == client.link.kept == 0


@pytest.mark.parametrize("no", [refuse, go])
@pytest.mark.parametrize("grpc", [True, False])
def test_not_for_ever(make_book: MakeBook, no: Refuse, grpc: bool) -> None:
    book = make_book(routes=[ready(KEY)], hops=True)
    client = Caller(book, book.inbound())
    sid = client.call(key=KEY) if grpc else client.ask(key=KEY, method=b"POST", data=b"x")
    for _ in range(MAX_TRIES + 1):
        no(Service(book.shadow), sid)
    assert not book.shadow.dials
    fields = client.answers[sid].fields
    assert fields[b"skycap-error"] == b"upstream-refused"
    if grpc:
        assert fields[b"grpc-status"] == b"14"
        assert b"the upstream " in fields[b"grpc-message"]
    else:
        assert fields[b":status"] == b"503"
    assert book.counters.inbound.failures == {"upstream-refused": 1}
    assert [hop.error for hop in book.hops()] == ["upstream-refused"]


def test_its_time_is_that_of_the_first_one(book: Playbook) -> None:
    """An upstream that refuses it late, again and again, does not make it wait for several times as long."""
    client = Caller(book, book.inbound())
    sid = client.ask()
    half = book.settings.response_ticks // 2 + 1
    first = Service(book.app)
    book.pass_ticks(half)
    refuse(first, sid)
    Service(book.app).flush()
    book.pass_ticks(half)
    assert client.answers[sid].fields[b"skycap-error"] == b"app-timeout"


def test_a_refusal_behind_the_head_of_the_answer_is_none(book: Playbook) -> None:
    """It has looked at it: its client must not take it for one that can be repeated."""
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.answer(sid, ends=False)
    refuse(server, sid)
    assert client.answers[sid].reset == 2
    assert book.counters.inbound.failures == {"answer-truncated": 1}


def test_a_reset_behind_the_whole_answer_is_no_failure(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.call(ends=False)
    server = Service(book.app)
    server.answer(sid)
    server.reset(sid, 0)
    assert client.answers[sid].data == b"ok"
    assert not book.counters.inbound.failures


@pytest.mark.parametrize(("settings", "most"), [((), 150), (((CONCURRENT, 120),), 120), (((CONCURRENT, 3),), 100)])
def test_as_many_as_should_be_taken_before_it_is_known(
    book: Playbook, settings: tuple[tuple[int, int], ...], most: int
) -> None:
    client = Caller(book, book.inbound())
    for _ in range(FIRST_STREAMS + 50):
        client.ask()
    app = book.app.accept()
    (server,) = client.link._servers
    assert len(server.flows) == FIRST_STREAMS
    app.send(settings_frame(settings))
    assert len(server.flows) == most
    app.send(settings_frame(()))
    assert len(server.flows) == most


def test_what_was_refused_waits_for_what_the_next_one_takes(book: Playbook) -> None:
    """One that takes a stream at a time refuses all that come before that is known; so would the next connection."""
    client = Caller(book, book.inbound())
    sids = [client.ask() for _ in range(2 * MAX_TRIES)]
    server = Service(book.app, greets=False)
    server.flush()
    server.end.engine.initiate_connection()
    for sid in sids[1:]:
        refuse(server, sid)
    server.answer(sids[0])
    server = Service(book.app, greets=False)
    assert not server.requests
    server.end.engine.initiate_connection()
    server.end.engine.update_settings({CONCURRENT: 1})
    for sid in sids[1:]:
        assert sid in server.requests
        server.answer(sid)
    assert all(client.answers[sid].data == b"ok" for sid in sids)
    assert not book.counters.inbound.failures


def test_an_upstream_that_never_says_what_it_takes(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid, call = client.ask(), client.call()
    server = Service(book.app)
    refuse(server, sid)
    refuse(server, call)
    silent = Service(book.app, greets=False)
    book.pass_ticks(book.settings.response_ticks + 1)
    assert not silent.requests
    assert client.answers[sid].fields[b"skycap-error"] == b"app-timeout"
    assert call not in client.answers, "its time is its caller's"


def test_what_only_waited_moves_on_as_often_as_others_are_served(book: Playbook) -> None:
    """An upstream that takes one stream at a time, and one on a connection."""
    client = Caller(book, book.inbound())
    first = client.ask()
    server = Service(book.app, settings={CONCURRENT: 1})
    sids = [client.ask() for _ in range(2 * MAX_TRIES)]
    server.answer(first)
    for sid in sids:
        assert sid in server.requests
        leave(server, sid)
        server.answer(sid)
        assert client.answers[sid].data == b"ok"
        if sid != sids[-1]:
            server = Service(book.app, settings={CONCURRENT: 1})
            server.flush()
    assert not book.counters.inbound.failures


@pytest.mark.parametrize("lost", [False, True])
def test_what_only_waited_does_not_move_on_for_ever(book: Playbook, lost: bool) -> None:
    client = Caller(book, book.inbound())
    gone = client.call()
    server = Service(book.app, settings={CONCURRENT: 0})
    sid = client.call()
    client.cancel(gone)
    for left in range(MAX_TRIES, -1, -1):
        assert sid not in server.requests
        if lost:
            server.upstream.vanish()
        else:
            leave(server)
        if left:
            server = _none(book)
    assert not book.app.dials
    assert client.answers[sid].fields[b"skycap-error"] == b"upstream-refused"
    assert book.counters.inbound.failures == {"upstream-refused": 1}


def _none(book: Playbook) -> Service:
    """A server that takes no streams at all, and says so before one can have been sent."""
    server = Service(book.app, settings={CONCURRENT: 0})
    server.flush()
    return server
