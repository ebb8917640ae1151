"""Streams that an upstream has not looked at (RFC 9113 section 8.7): they are sent again, and else it is told why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.exchange.h2.budget import MAX_TRIES
from proxy.wire.h2.frames import GOAWAY
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook, ready

KEY = "agent-42"
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
