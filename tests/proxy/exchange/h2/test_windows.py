"""Flow control: windows are mirrored, what they do not admit waits, and nobody's streams stall another one's."""

from __future__ import annotations

import pytest

from proxy.exchange.h2.intake import CONNECTION_WINDOW, MAX_QUEUED
from proxy.wire.h2.frames import DATA, END_STREAM, PADDED
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook, ready

KEY = "agent-42"
PIECE = 16_384


def test_each_end_is_told_the_others_window(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.end.engine.update_settings({4: 100_000})
    client.flush()
    sid = client.ask()
    server = Service(book.app, settings={4: 200_000})
    server.flush()
    client.pump()
    assert server.end.settings[4] == 100_000
    assert client.end.settings[4] == 200_000
    client.end.engine.update_settings({4: 50})
    client.flush()
    server.flush()
    assert server.end.settings[4] == 50
    server.answer(sid, data=b"x" * 50, ends=False)
    client.pump()
    server.flush()
    server.more(sid, b"y", ends=True)
    assert client.answers[sid].data == b"x" * 50 + b"y"


def test_a_grant_reaches_the_other_end(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    server = Service(book.app)
    server.flush()
    client.end.engine.increment_flow_control_window(5, sid)
    client.end.engine.increment_flow_control_window(6, sid)
    client.flush()
    server.flush()
    assert server.end.grants == {0: CONNECTION_WINDOW - 65_535, sid: 11}
    server.end.engine.increment_flow_control_window(7, sid)
    server.flush()
    client.pump()
    assert client.end.grants[sid] == 7


def test_what_the_other_end_does_not_take_waits(book: Playbook) -> None:
    """It takes 10 bytes of a stream; the client was told the usual 65,535 before that was known."""
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x" * 100, ends=False)
    server = Service(book.app, settings={4: 10})
    server.end.hungry = False
    server.flush()
    client.more(sid, b"y" * 100, ends=True)
    before = server.requests[sid].data
    server.end.engine.increment_flow_control_window(100, sid)
    server.flush()
    server.end.engine.increment_flow_control_window(200, sid)
    assert server.requests[sid].data == b"x" * 100 + b"y" * 100
    assert server.requests[sid].ended
    assert len(before) < 200
    server.answer(sid)
    assert client.answers[sid].ended


def test_a_stalled_stream_does_not_stall_the_others(make_book: MakeBook) -> None:
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    stalled = client.ask(key=KEY, method=b"POST", data=b"", ends=False)
    shadow = Service(book.shadow, settings={4: 3 << 20})
    shadow.end.hungry = False
    shadow.flush()
    client.pump()
    sent = 0
    while sent < 2 << 20:  # more than the connection's window: it was given back
        client.more(stalled, b"x" * PIECE)
        sent += PIECE
    fine = client.ask(method=b"POST", data=b"y" * 60_000)
    server = Service(book.app)
    assert server.requests[fine].data == b"y" * 60_000
    server.answer(fine)
    assert client.answers[fine].ended
    assert client.link.queued > 0
    client.cancel(stalled)
    assert client.link.queued == 0


def test_what_waits_is_bounded(make_book: MakeBook) -> None:
    """Beyond MAX_QUEUED a peer gets nothing back, and its own window ends it."""
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY, method=b"POST", data=b"", ends=False)
    shadow = Service(book.shadow, settings={4: 1 << 30})
    shadow.end.hungry = False
    shadow.flush()
    client.pump()
    for _ in range((MAX_QUEUED + CONNECTION_WINDOW // 2) // PIECE):
        client.more(sid, b"x" * PIECE)
    assert client.link.owed
    assert client.end.engine.outbound_flow_control_window < CONNECTION_WINDOW
    shadow.end.engine.increment_flow_control_window(1 << 28)
    shadow.flush()
    assert client.link.queued == client.link.owed == 0
    for _ in range((MAX_QUEUED + 2 * CONNECTION_WINDOW) // PIECE + 1):
        shadow.end.engine.update_settings({4: 0})
    assert not client.closed


def test_more_than_the_connections_window(make_book: MakeBook) -> None:
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY, method=b"POST", data=b"", ends=False)
    shadow = Service(book.shadow)
    shadow.end.hungry = False
    shadow.flush()
    for _ in range((MAX_QUEUED + 2 * CONNECTION_WINDOW) // PIECE):
        if client.closed:
            break
        client.raw(frame(DATA, 0, sid, b"x" * PIECE))
    assert client.end.gone == 3


def test_an_upstream_that_is_full(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"a", ends=False)
    server = Service(book.app)
    server.flush()
    server.upstream.full()
    client.more(sid, b"b")
    client.more(sid, b"c", ends=True)
    server.end.engine.increment_flow_control_window(10)
    assert server.requests[sid].data == b"a"
    server.upstream.drained()
    assert server.requests[sid].data == b"abc"
    assert book.counters.inbound.paused_downstream == 1


def test_a_client_that_is_full(make_book: MakeBook) -> None:
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    one, other = client.ask(), client.ask(key=KEY)
    server = Service(book.app)
    server.flush()
    client.link.client_full()
    assert not client.recorded.reading
    assert not server.recorded.reading
    shadow = Service(book.shadow)
    assert not shadow.recorded.reading
    client.link.client_drained()
    for service, sid in ((server, one), (shadow, other)):
        service.answer(sid, data=b"x" * 100)
        assert client.answers[sid].data == b"x" * 100


def test_an_answer_waits_for_a_full_client_with_its_trailers(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    client.link.park()
    server.answer(sid, data=b"x", trailers=((b"a", b"b"),))
    assert not client.answers[sid].ended
    client.link.client_drained()
    assert client.answers[sid].trailers == {b"a": b"b"}


def test_an_answer_that_waits_is_cut_with_its_upstream(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    client.link.park()
    server.answer(sid, data=b"x", ends=False)
    server.upstream.vanish()
    assert client.answers[sid].reset == 2
    assert not client.link.waiting


def test_padding_is_taken_off(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"a", ends=False)
    server = Service(book.app)
    server.flush()
    client.raw(frame(DATA, PADDED, sid, b"\x05b" + b"\0" * 5))
    client.raw(frame(DATA, PADDED | END_STREAM, sid, b"\x02c\0\0"))
    assert server.requests[sid].data == b"abc"
    assert server.requests[sid].ended


def test_a_large_body_is_given_back(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"", ends=False)
    server = Service(book.app, settings={4: 1 << 22})
    server.flush()
    client.pump()
    sent = b""
    for number in range(200):
        piece = bytes([number]) * PIECE
        client.more(sid, piece)
        server.flush()
        sent += piece
    client.more(sid, b"", ends=True)
    assert server.requests[sid].data == sent
    server.answer(sid, data=None, ends=True)
    assert client.answers[sid].ended


def test_two_streams_in_one_read(make_book: MakeBook) -> None:
    """Runs of frames that go to different places."""
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    one = client.ask(method=b"POST", data=b"a", ends=False)
    other = client.ask(method=b"POST", key=KEY, data=b"b", ends=False)
    server, shadow = Service(book.app), Service(book.shadow)
    server.flush()
    shadow.flush()
    server.answer(one, ends=False)
    shadow.answer(other, ends=False)
    client.pump()
    run = frame(DATA, 0, one, b"1" * 9) + frame(DATA, 0, one, b"2" * 9) + frame(DATA, 0, other, b"3" * 9)
    client.raw(run + frame(DATA, END_STREAM, one, b"4") + frame(DATA, END_STREAM, other, b"5") + b"\0\0")
    assert server.requests[one].data == b"a" + b"1" * 9 + b"2" * 9 + b"4"
    assert shadow.requests[other].data == b"b" + b"3" * 9 + b"5"


def test_a_frame_that_comes_in_pieces(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"a", ends=False)
    server = Service(book.app)
    server.flush()
    data = frame(DATA, 0, sid, b"x" * 100)
    client.raw(data[:50])
    client.raw(data[50:60])
    client.raw(data[60:] + data[:20])
    client.raw(data[20:] + frame(DATA, END_STREAM, sid, b"y"))
    assert server.requests[sid].data == b"a" + b"x" * 200 + b"y"


@pytest.mark.parametrize("size", [10, 40_000])
def test_a_large_head_passes(book: Playbook, size: int) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(fields=((b"x-large", b"v" * size),))
    server = Service(book.app)
    assert server.requests[sid].fields[b"x-large"] == b"v" * size
    server.answer(sid, fields=((b"x-large", b"w" * size),))
    assert client.answers[sid].fields[b"x-large"] == b"w" * size
