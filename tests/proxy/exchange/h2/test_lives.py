"""How a client's connection lives and ends: silence, halves of frames, drains, ends."""

from __future__ import annotations

import pytest

from proxy.exchange.h2.server import ServerLink
from proxy.exchange.settings import ExchangeSettings
from proxy.wire.h2.frames import DATA, PING
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook, PlayedUpstream, unready


def test_an_idle_client(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    book.pass_ticks(3)
    server.answer(sid)
    client.pump()
    assert client.link.idle_since == 3
    book.pass_ticks(book.settings.idle_ticks + 1)
    client.pump()
    assert client.end.gone == 0
    assert client.closed
    assert server.recorded.closing
    assert book.counters.inbound.timeouts["idle"] == 1
    client.link.drain(last_call=True)
    book.pass_ticks(book.settings.idle_ticks + 1)
    assert client.recorded.calls[-1] == "reset", "it did not take what was written for it"


def test_a_client_with_a_stream_is_not_idle(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.call()
    server = Service(book.app)
    server.flush()
    book.pass_ticks(3 * book.settings.idle_ticks)
    server.answer(sid)
    assert client.answers[sid].ended


def test_a_frame_that_drips(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(header_ticks=50))
    client = Caller(book, book.inbound())
    data = frame(PING, 0, 0, b"12345678")
    for _ in range(3):
        client.raw(data[:-1])
        book.pass_ticks(40)
        client.raw(data[-1:])
    for byte in data[:-3]:
        client.raw(bytes([byte]))
        book.pass_ticks(4)
    assert client.closed
    assert book.counters.inbound.timeouts["header"] == 1


def test_pings_are_answered(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.end.engine.ping(b"12345678")
    client.flush()
    client.pump()
    assert client.end.pings == 1


def test_a_drain(book: Playbook) -> None:
    side = book.inbound()
    client = Caller(book, side)
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    side.drain()
    client.link.drain(last_call=False)
    late = client.ask()
    assert late in server.requests
    client.pump()
    assert client.end.gone == 0
    client.link.drain(last_call=True)
    client.send(frame(1, 5, 99, b"\x82\x86\x84"))
    assert client.got.endswith(frame(3, 0, 99, b"\0\0\0\x07"))
    assert book.counters.inbound.failures == {"draining": 1}
    assert not client.closed
    server.answer(sid)
    server.answer(late)
    assert client.closed


def test_a_drain_of_what_waits(make_book: MakeBook) -> None:
    book = make_book(routes=[unready("agent-42")])
    client = Caller(book, book.inbound())
    sid = client.ask(key="agent-42")
    client.link.drain(last_call=False)
    assert client.answers[sid].fields[b"skycap-error"] == b"draining"
    client.link.drain(last_call=True)
    assert client.closed


def test_a_client_that_comes_late(book: Playbook) -> None:
    side = book.inbound()
    side.drain()
    client = Caller(book, side)
    client.pump()
    assert client.end.gone == 0
    assert not client.closed


def test_a_client_that_ends_its_side(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    assert client.link.client_eof()
    server.answer(sid)
    assert client.answers[sid].data == b"ok"
    assert client.closed
    other = Caller(book, book.inbound())
    assert not other.link.client_eof()


def test_a_client_that_goes(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.ask(method=b"POST", data=b"x", ends=False)
    server = Service(book.app)
    server.flush()
    client.vanish()
    assert server.recorded.calls[-1] == "reset"
    assert book.counters.inbound.requests["error"][0] == 1


def test_a_client_that_goes_while_its_upstream_was_idle(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.answer(sid)
    client.vanish()
    assert server.recorded.calls[-1] == "close"


def test_an_idle_upstream_that_goes(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.answer(sid)
    server.upstream.end()
    again = client.ask()
    Service(book.app).answer(again)
    assert client.answers[again].ended


def test_what_is_written_to_a_stream_that_closes_is_dropped(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    server = Service(book.app)
    server.flush()
    server.recorded.closing = True
    client.send(frame(DATA, 0, sid, b"more"))
    server.recorded.closing = False
    assert server.upstream.new() == b""
    server.recorded.closing = True
    client.vanish()


def test_a_connection_that_is_there_already_is_used(book: Playbook) -> None:
    """Behind a CONNECT."""
    client = Caller(book, book.inbound())
    upstream = PlayedUpstream(0)
    book.app.made.append(upstream)
    client.link.adopt(book.app, upstream)
    client.ask()
    assert not book.app.dials
    assert b"PRI * HTTP/2.0" in upstream.got


def test_an_unkeyed_stream_masks_its_ids_when_a_key_wakes_the_correlation(book: Playbook) -> None:
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01"
    client = Caller(book, book.inbound())
    client.ask(fields=((b"traceparent", parent),))
    client.ask(key="a", fields=((b"traceparent", parent),))
    caller = Caller(book, book.outbound())
    sid = caller.ask(fields=((b"traceparent", parent),))
    assert b"baggage" not in Service(book.target).requests[sid].fields
    assert book.reports.losses


def test_a_window_that_changes_while_we_dial(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.ask()
    client.end.engine.update_settings({4: 77})
    client.flush()
    client.link.client_full()
    client.link.client_drained()
    server = Service(book.app)
    server.flush()
    assert server.end.settings[4] == 77


def test_calls_end_with_a_client_that_ends(book: Playbook) -> None:
    """One that was killed ends its side and does no more: its server has to know at once, as without a sidecar."""
    client = Caller(book, book.inbound())
    call, upload, get = client.call(), client.ask(method=b"POST", data=b"x", ends=False), client.ask()
    server = Service(book.app)
    server.flush()
    assert client.link.client_eof()
    server.flush()
    assert [server.end.messages[sid].reset for sid in (call, upload, get)] == [8, 8, None]
    server.answer(get)
    assert client.answers[get].ended
    assert client.closed
    last = Caller(book, book.inbound())
    last.call()
    assert not last.link.client_eof()
    assert last.closed


@pytest.mark.parametrize("busy", [True, False])
def test_an_endpoint_whose_name_has_moved(book: Playbook, *, busy: bool) -> None:
    """A long-lived client would go to the old address for ever: its connections are never given back."""
    client = Caller(book, book.inbound())
    sid = client.call()
    before = Service(book.app)
    if busy:
        before.flush()
    else:
        before.answer(sid)
    link = before.upstream.borrower
    assert isinstance(link, ServerLink)
    link.moved()
    assert before.recorded.closing is not busy
    later = client.call()
    Service(book.app).answer(later)
    assert client.answers[later].ended
    if busy:
        before.answer(sid)
        assert before.recorded.closing
    assert client.answers[sid].ended
