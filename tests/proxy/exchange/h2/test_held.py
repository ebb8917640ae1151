"""What a stream holds while it waits is bounded and in its order, and what it was granted meanwhile is not lost."""

from __future__ import annotations

import pytest

from proxy.exchange.h2.budget import FRAME_WEIGHT, MAX_KEPT
from proxy.exchange.h2.cut import MOST, Cut
from proxy.exchange.h2.flow import SMALL
from proxy.exchange.h2.intake import NUISANCES
from proxy.wire.h2.frames import DATA, END_STREAM, MAX_WINDOW, SETTINGS, WINDOW_UPDATE
from proxy.wire.h2.settings import INITIAL_WINDOW_SIZE, SETTINGS_ACK, settings_frame
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook, ready, unready

KEY = "agent-42"
ROOM = 3


def test_streams_that_waited_for_a_shadow_share_a_connection(make_book: MakeBook) -> None:
    """Their numbers have to rise on it: sent in any other order, half of them would need one of their own."""
    book = make_book(routes=[unready(KEY)])
    client = Caller(book, book.inbound())
    sids = []
    for _ in range(50):
        book.clock.now += 0.001
        sids.append(client.ask(key=KEY))
    book.table.replace({KEY: ready(KEY)})
    client.side.table_changed()  # type: ignore[attr-defined]
    server = Service(book.shadow)
    assert sorted(server.requests) == sids
    assert repr(client.link) == "<ClientLink open streams=50 upstreams=1>"


def test_a_request_that_is_sent_again_takes_its_grants_along(book: Playbook) -> None:
    """The client grants once; an upstream that does not know would stop at its first window, for ever."""
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    client.end.engine.increment_flow_control_window(1_000_000, sid)
    client.flush()
    server.reset(sid, 7)
    again = Service(book.app)
    again.flush()
    assert again.end.grants[sid] == 1_000_000


@pytest.mark.parametrize("grpc", [False, True])
def test_a_stream_for_which_there_is_no_room_is_not_held_for_ever(book: Playbook, *, grpc: bool) -> None:
    client = Caller(book, book.inbound())
    client.call()
    Service(book.app, settings={ROOM: 1}).flush()
    waits = client.call() if grpc else client.ask()
    book.pass_ticks(book.settings.response_ticks + 1)
    if grpc:  # it has its caller's deadline
        assert waits not in client.answers
        return
    answer = client.answers[waits]
    assert answer.fields[b":status"] == b"504"
    assert b"takes no more streams at a time" in answer.data
    assert book.counters.inbound.timeouts["response"] == 1


def test_what_is_kept_of_all_requests_is_bounded(book: Playbook) -> None:
    """Of a thousand streams each could keep 64 KiB, six times that in frames of a byte."""
    client = Caller(book, book.inbound())
    small = [client.call(ends=False) for _ in range(4)]
    server = Service(book.app)
    server.flush()
    link = client.link
    for sid in small:
        for _ in range(4):
            client.send(frame(DATA, 0, sid, b"x") * 1_000)
    assert link.kept == 3 * (4_000 * 10 + 14 + 4_001 * FRAME_WEIGHT) < MAX_KEPT  # the fourth would be too much
    assert len(server.requests[small[-1]].data) == 4_005
    server.reset(small[0], 7)
    server.reset(small[-1], 7)
    again = Service(book.app)
    assert len(again.requests[small[0]].data) == 4_005
    assert client.answers[small[-1]].fields[b"skycap-error"] == b"upstream-refused"  # it was not kept
    for sid in small[:-1]:
        client.cancel(sid)
    assert link.kept == 0


@pytest.mark.parametrize("hops", [False, True])
def test_what_was_kept_counts_until_the_answer(make_book: MakeBook, *, hops: bool) -> None:
    """With a hop, until its end: a message may have to be shown."""
    book = make_book(hops=hops)
    client = Caller(book, book.inbound())
    sid = client.call(key="a", data=b"12345")
    kept = client.link.kept
    assert kept in (0, 14 + FRAME_WEIGHT)
    server = Service(book.app)
    server.answer(sid, data=b"x", ends=False)
    assert client.link.kept == (14 + FRAME_WEIGHT if hops else 0)
    server.more(sid, b"y", ends=True)
    assert client.answers[sid].data == b"xy"
    assert client.link.kept == 0


def test_small_frames_that_wait_are_joined(make_book: MakeBook) -> None:
    book = make_book(routes=[unready(KEY)])
    client = Caller(book, book.inbound())
    sid = client.call(key=KEY, data=b"", ends=False)
    for _ in range(SMALL * 3):
        client.send(frame(DATA, 0, sid, b"x"))
    client.send(frame(DATA, 0, sid, b"y" * SMALL) + frame(DATA, END_STREAM, sid, b"z"))
    queue = client.link.flows[sid].queue
    assert queue is not None
    assert len(queue) <= 6
    book.table.replace({KEY: ready(KEY)})
    client.side.table_changed()  # type: ignore[attr-defined]
    request = Service(book.shadow).requests[sid]
    assert request.data == b"x" * (SMALL * 3) + b"y" * SMALL + b"z"
    assert request.ended


def test_a_full_upstream_gets_nothing_that_can_wait(book: Playbook) -> None:
    """Neither heads nor grants, of which a client could send as many as it likes while nobody takes them."""
    client = Caller(book, book.inbound())
    sid = client.call()
    server = Service(book.app)
    server.flush()
    server.upstream.full()
    server.upstream.new()
    for _ in range(100):
        client.send(frame(WINDOW_UPDATE, 0, sid, (10).to_bytes(4)))
    late = client.ask()
    assert server.upstream.new() == b""
    server.upstream.drained()
    server.flush()
    assert server.end.grants[sid] == 1_000
    server.answer(late)
    server.answer(sid)
    assert client.answers[sid].ended
    assert client.answers[late].ended
    server.upstream.full()
    server.upstream.drained()
    assert server.upstream.new() == b""


def test_settings_cost_what_they_make_us_do(book: Playbook) -> None:
    many = settings_frame(((77, 1),) * 2_000)
    client = Caller(book, book.inbound())
    for _ in range(NUISANCES // 100):
        client.send(many)
    assert client.closed
    client = Caller(book, book.inbound())
    for _ in range(100):
        client.call()
    for size in range(NUISANCES // 6):
        client.send(settings_frame(((INITIAL_WINDOW_SIZE, size),)))
    assert client.closed


# -- windows of which the client was told more, or less, than its upstream's -------------------------------------------


def grant(sid: int, step: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, sid, step.to_bytes(4))


def window(client: Caller, sid: int) -> int:
    """What it thinks that it may send of a stream."""
    return client.end.engine.streams[sid].outbound_flow_control_window


def test_an_upstream_that_gives_all_at_once(book: Playbook) -> None:
    """As nginx does without a preread: nothing at first, then all that there can be. The client has 65,535 already."""
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x" * 100, ends=False)
    server = Service(book.app, settings={INITIAL_WINDOW_SIZE: 0})
    server.end.hungry = False
    server.flush()
    client.pump()
    for step in (MAX_WINDOW - 50, 50):
        server.upstream.send(grant(sid, step))
        client.pump()
    assert client.end.gone is None
    assert window(client, sid) == MAX_WINDOW
    client.more(sid, b"y" * 1_000)
    server.upstream.send(grant(sid, 600) + grant(sid, 500))
    client.pump()
    assert client.end.gone is None
    assert window(client, sid) == MAX_WINDOW


def test_settings_are_acknowledged_before_they_are_used(make_book: MakeBook) -> None:
    """nghttp2 takes what goes beyond its old window for a fault until then. The client may send more than the second
    upstream takes at first, because of the first one."""
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    client.ask()
    Service(book.app, settings={INITIAL_WINDOW_SIZE: 1 << 20}).flush()
    client.pump()
    sid = client.ask(method=b"POST", data=b"x" * 100_000, key=KEY)
    shadow = Service(book.shadow, greets=False)
    shadow.end.hungry = False
    shadow.upstream.send(settings_frame(()) + grant(0, 1 << 20))
    shadow.upstream.new()
    shadow.upstream.send(settings_frame(((INITIAL_WINDOW_SIZE, 1 << 20),)))
    said = shadow.upstream.new()
    assert said.startswith(SETTINGS_ACK)
    assert len(said) > 100_000 - 65_535
    assert sid in client.link.flows


def test_a_window_for_all_streams_that_one_of_them_cannot_have(make_book: MakeBook) -> None:
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    full = client.ask(method=b"POST", data=b"x", ends=False)
    app = Service(book.app)
    app.flush()
    app.upstream.send(grant(full, MAX_WINDOW - 65_535))
    client.pump()
    first = client.ask(method=b"POST", data=b"x", ends=False, key=KEY)
    shadow = Service(book.shadow, settings={INITIAL_WINDOW_SIZE: 200_000})
    shadow.flush()
    shadow.upstream.send(frame(SETTINGS, 0, 0))  # which says nothing new
    client.pump()
    second = client.ask(method=b"POST", data=b"x", ends=False, key=KEY)
    assert client.end.gone is None
    for sid in (first, second):
        assert window(client, sid) == 200_000 - 1 + shadow.end.grants.get(sid, 0)
    assert window(client, full) == MAX_WINDOW - 1
    client.cancel(full)
    assert client.end.engine.open_outbound_streams == 2  # whereupon the engine forgets it
    shadow.upstream.send(frame(SETTINGS, 0, 0, b"\0\4" + (300_000).to_bytes(4)))
    client.pump()
    for sid in (first, second):
        assert window(client, sid) >= 300_000 - 1  # what it has too much waits here


def test_only_the_last_that_we_have_ended_are_remembered() -> None:
    cut = Cut()
    for sid in range(1, 2 * MOST + 3, 2):
        cut.add(sid)
    assert 1 not in cut
    assert 3 in cut
    assert repr(cut) == f"<Cut {MOST} streams>"
