"""Peers that break the rules hurt their own connection, or their own stream, and nothing else.

What needs a budget, a template or a second peer is here; frames that are wrong by themselves are `tests/corpus/h2`.
"""

from __future__ import annotations

import pytest

from proxy.exchange.h2.budget import MAX_STREAMS, RAPID_SECONDS, RESETS
from proxy.exchange.h2.intake import NUISANCES
from proxy.wire.h2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    GOAWAY,
    HEADERS,
    MAX_WINDOW,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    make_head,
)
from proxy.wire.h2.hpack import literal, literals, string
from proxy.wire.h2.settings import INITIAL_WINDOW_SIZE
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook

HEAD = b"\x82\x86\x84" + literal(b":authority", b"users")
BOTH = END_HEADERS | END_STREAM
WORD = (1).to_bytes(4, "big")


def test_values_in_the_holes_are_looked_at(book: Playbook) -> None:
    """The first block makes a template; the others match it and must not smuggle anything."""
    client = Caller(book, book.inbound())

    def block(own: bytes, length: bytes = b"0", path: bytes = string(b"/a")) -> bytes:
        named = literals(((b":authority", b"users"), (b"content-length", length)))
        return b"\x82\x86\x04" + path + named + b"\0" + string(b"x-own") + own

    good = (string(b"a"), string(b"b"), string(b"c"), b"\x81\x1f")
    bad = (string(b"a\0"), b"\x82\xff\xc7")
    sid = 1
    for own in (*good, *bad):
        client.send(frame(HEADERS, BOTH, sid, block(own)))
        sid += 2
    for more in (block(string(b"a"), b"x"), block(string(b"a"), path=string(b"a b"))):
        client.send(frame(HEADERS, BOTH, sid, more))
        sid += 2
    assert len(book.sides[0].kinds._requests) == 2
    assert sorted(Service(book.app).requests) == [1, 3, 5, 7]
    client.send(frame(HEADERS, BOTH, sid, block(b"\x84\xff\xff\xff\xff")))
    assert client.closed  # no code at all


def test_a_rapid_reset(book: Playbook) -> None:
    """CVE-2023-44487."""
    client = Caller(book, book.inbound())
    client.ask(method=b"POST", data=b"x", ends=False)
    server = Service(book.app)
    server.flush()
    for number in range(1, RESETS + 2):
        sid = 2 * number + 1
        client.raw(frame(HEADERS, BOTH, sid, HEAD) + frame(RST_STREAM, 0, sid, b"\0\0\0\x08"))
    assert client.end.gone == 11
    assert book.counters.inbound.failures["http2-flood"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        (WINDOW_UPDATE, 0, bytes(4)),
        (WINDOW_UPDATE, 0, MAX_WINDOW.to_bytes(4)),
        (DATA, 0, b"x"),
        (HEADERS, BOTH, HEAD),
        (HEADERS, END_HEADERS, literal(b"a", b"b")),
    ],
    ids=["a grant of 0", "too large a window", "content behind the end", "a head behind it", "trailers that go on"],
)
def test_streams_that_we_are_made_to_reset(book: Playbook, fault: tuple[int, int, bytes]) -> None:
    """CVE-2025-8671: the client breaks a rule on each of its streams, and the application works for nobody."""
    client = Caller(book, book.inbound())
    client.ask(method=b"POST", data=b"x", ends=False)
    Service(book.app).flush()
    kind, flags, payload = fault
    begins = BOTH if payload[-1:] != b"b" else END_HEADERS
    for number in range(1, RESETS + 2):
        sid = 2 * number + 1
        assert client.end.gone is None
        client.raw(frame(HEADERS, begins, sid, HEAD) + frame(kind, flags, sid, payload))
    assert client.end.gone == 11
    assert book.counters.inbound.failures["http2-flood"] == 1


def test_a_flood_of_requests_that_announce_content_and_end(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    head = HEAD + literal(b"content-length", b"5")
    for number in range(NUISANCES + 1):
        client.send(frame(HEADERS, BOTH, 2 * number + 1, head))
    assert client.closed


def test_a_busy_client_takes_back_as_many_as_were_served(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.call()
    server = Service(book.app)
    for _ in range(10):
        server.answer(client.call())
    book.pass_ticks(200)
    for spent in range(RESETS + 10):
        client.cancel(client.call())
        assert client.end.gone is None, spent
    client.cancel(client.call())
    assert client.end.gone == 11


def test_deadlines_that_pass_all_at_once(book: Playbook) -> None:
    """An application hangs, and its client gives up as many calls as it had: an ordinary day."""
    client = Caller(book, book.inbound())
    lives = client.call()
    server = Service(book.app, settings={3: 2 * RESETS})
    server.flush()
    given_up = [client.call() for _ in range(RESETS + 1)]
    book.clock.now += RAPID_SECONDS
    for sid in given_up:
        client.cancel(sid)
    assert client.end.gone is None
    server.answer(lives)
    assert client.answers[lives].ended


def test_those_who_take_back_now_and_then_go_on(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.ask(method=b"POST", data=b"x", ends=False)
    Service(book.app).flush()
    for number in range(1, 2 * RESETS):
        sid = 2 * number + 1
        client.raw(frame(HEADERS, BOTH, sid, HEAD) + frame(RST_STREAM, 0, sid, b"\0\0\0\x08"))
        if number == RESETS - 1:
            book.pass_ticks(101)
    assert client.end.gone is None


@pytest.mark.parametrize(
    "data",
    [
        frame(PING, 0, 0, b"12345678"),
        frame(PING, ACK, 0, b"12345678"),
        frame(SETTINGS, 0, 0),
        frame(PRIORITY, 0, 5, b"\0\0\0\x01\0"),
        frame(DATA, 0, 1),
        frame(RST_STREAM, 0, 1, WORD),
        frame(77, 0, 0),
    ],
    ids=["PING", "PING ACK", "SETTINGS", "PRIORITY", "empty DATA", "RST_STREAM", "unknown"],
)
def test_floods_of_frames_that_do_nothing(book: Playbook, data: bytes) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    server = Service(book.app)
    server.flush()
    if data[3] == RST_STREAM:
        client.cancel(sid)
    client.raw(data * (NUISANCES - 10))
    assert not client.closed
    book.pass_ticks(101)
    client.raw(data * (NUISANCES - 10))
    assert not client.closed
    client.raw(data * 20)
    assert client.end.gone == 11


def test_pings_behind_data_are_no_flood(book: Playbook) -> None:
    """grpc-go and grpc-java send one for each round trip in which data came, at either end."""
    client = Caller(book, book.inbound())
    sid = client.call(ends=False)
    server = Service(book.app)
    server.flush()
    server.upstream.send(frame(HEADERS, END_HEADERS, sid, b"\x88"))
    ping = frame(PING, 0, 0, b"12345678")
    for _ in range(NUISANCES + 1):
        client.send(frame(DATA, 0, sid, b"asked"))
        server.upstream.send(ping + frame(DATA, 0, sid, b"said"))
        client.send(ping)
    assert not client.closed
    assert not server.recorded.closing
    for _ in range(NUISANCES + 1):
        server.upstream.send(ping)
    assert server.recorded.closing


@pytest.mark.parametrize("served", [True, False])
def test_an_upstream_earns_its_frames_as_well(book: Playbook, *, served: bool) -> None:
    client = Caller(book, book.inbound())
    client.call()
    server = Service(book.app)
    for _ in range(10):
        sid = client.call()
        server.answer(sid) if served else client.cancel(sid)
    for _ in range(NUISANCES + 90):
        server.upstream.send(frame(PING, 0, 0, b"12345678"))
    assert not server.recorded.closing


def test_a_window_of_small_frames_that_nobody_wants_any_more(book: Playbook) -> None:
    """A stream is cancelled while its messages are on their way, which others must not pay for; nor the connection."""
    client = Caller(book, book.inbound())
    lives, cancelled = client.call(), client.call()
    server = Service(book.app)
    server.flush()
    server.upstream.send(frame(HEADERS, END_HEADERS, cancelled, b"\x88"))
    client.cancel(cancelled)
    server.recorded.writes.clear()
    for _ in range(NUISANCES + 1000):
        server.upstream.send(frame(DATA, 0, cancelled, bytes(100)))
    assert frame(WINDOW_UPDATE, 0, 0, WORD)[:9] in server.recorded.sent  # the connection's window is given back
    server.answer(lives)
    assert client.answers[lives].ended


def test_a_window_of_small_frames_to_an_upstream_that_has_enough(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    lives, refused = client.call(), client.call(ends=False)
    server = Service(book.app)
    server.flush()
    server.upstream.send(frame(HEADERS, BOTH, refused, b"\x88") + frame(RST_STREAM, 0, refused, bytes(4)))
    for _ in range(NUISANCES + 1000):
        client.send(frame(DATA, 0, refused, b"message"))
    assert not client.closed
    server.answer(lives)
    assert client.answers[lives].ended
    for _ in range(NUISANCES + 100):
        client.send(frame(DATA, 0, refused))
    assert client.closed


def test_more_streams_than_may_be_open(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    for number in range(MAX_STREAMS + 1):
        client.send(frame(HEADERS, END_HEADERS, 2 * number + 1, HEAD))
    assert client.got.endswith(frame(RST_STREAM, 0, 2 * MAX_STREAMS + 1, b"\0\0\0\x07"))
    assert len(client.link.flows) == MAX_STREAMS
    assert book.counters.inbound.failures == {"overloaded": 1}


def test_frames_for_streams_that_have_ended(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    Service(book.app).answer(sid)
    client.pump()
    client.send(frame(WINDOW_UPDATE, 0, sid, WORD) + frame(RST_STREAM, 0, sid, WORD))
    assert client.got == b""
    client.send(frame(DATA, 0, sid, b"x"))
    assert client.got == frame(RST_STREAM, 0, sid, b"\0\0\0\x05")


@pytest.mark.parametrize("sid", [1, 3], ids=["that has ended", "that was skipped"])
def test_a_block_for_a_stream(book: Playbook, sid: int) -> None:
    client = Caller(book, book.inbound())
    client.ask()
    Service(book.app).answer(1)
    client.raw(frame(HEADERS, BOTH, 5, HEAD))
    client.raw(frame(HEADERS, BOTH, sid, HEAD))
    assert client.end.gone == 5


def test_trailers_that_were_under_way_when_we_ended_the_stream(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    book.app.refuse()
    client.raw(frame(HEADERS, BOTH, sid, literal(b"a", b"b")))
    assert client.end.gone is None


# -- upstreams --------------------------------------------------------------------------------------------------------


def test_content_lengths_in_the_holes_of_answers(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sids = [client.ask(method=b"POST", data=b"x") for _ in range(4)]
    server = Service(book.app)
    for sid, length, own in zip(sids, (b"2", b"2", b"3", b"2"), (b"a", b"b", b"c", b"\0"), strict=True):
        block = b"\x88" + literals(((b"content-length", length), (b"x-own", own)))
        server.upstream.send(frame(HEADERS, END_HEADERS, sid, block) + frame(DATA, END_STREAM, sid, b"ok"))
    assert [client.answers[sid].data for sid in sids[:2]] == [b"ok", b"ok"]
    assert client.answers[sids[2]].reset == 2
    assert client.answers[sids[3]].fields[b"skycap-error"] == b"bad-response"


def test_head_and_304_announce_content_that_is_not_there(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    head, get = client.ask(method=b"HEAD"), client.ask()
    server = Service(book.app)
    length = literal(b"content-length", b"5")
    server.upstream.send(frame(HEADERS, BOTH, head, b"\x88" + length) + frame(HEADERS, BOTH, get, b"\x8b" + length))
    assert client.answers[head].ended
    assert client.answers[get].fields[b":status"] == b"304"


def test_what_has_no_content_may_end_with_an_empty_frame(book: Playbook) -> None:
    """As Hypercorn's and others' answers to HEAD do."""
    client = Caller(book, book.inbound())
    sids = [client.ask(method=b"HEAD"), client.ask(), client.ask()]
    server = Service(book.app)
    server.flush()
    length, end = literal(b"content-length", b"5"), literal(b"x-checksum", b"1")
    for sid, status in zip(sids, (b"\x88" + length, b"\x8b" + length, b"\x89"), strict=True):
        last = frame(DATA, END_STREAM, sid) if status[1:] else frame(HEADERS, BOTH, sid, end)
        server.upstream.send(frame(HEADERS, END_HEADERS, sid, status) + last)
        assert client.got.endswith(last)


def test_content_of_an_answer_that_has_none(book: Playbook) -> None:
    """The client would count it as a fault of its connection."""
    client = Caller(book, book.inbound())
    sids = [client.ask(method=b"HEAD"), client.ask()]
    server = Service(book.app)
    for sid, status in zip(sids, (b"\x88", b"\x8b"), strict=True):
        server.upstream.send(frame(HEADERS, END_HEADERS, sid, status) + frame(DATA, END_STREAM, sid, b"body"))
    assert [client.answers[sid].reset for sid in sids] == [2, 2]
    assert not any(client.answers[sid].data for sid in sids)


def test_a_block_behind_the_end_of_an_answer(book: Playbook) -> None:
    """It would be a fault of the client's connection, where the other streams are."""
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    other = client.ask()
    server = Service(book.app)
    server.flush()
    behind = frame(HEADERS, BOTH, sid, literal(b"a", b"b"))
    server.upstream.send(frame(HEADERS, BOTH, sid, b"\x88") + behind)
    assert behind not in client.got
    server.answer(other)
    assert client.answers[other].ended


def test_old_news_from_an_upstream(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    other = client.ask()
    server = Service(book.app)
    server.flush()
    client.cancel(sid)
    late = frame(HEADERS, END_HEADERS, sid, b"\x88") + frame(DATA, 0, sid, b"late") + frame(RST_STREAM, 0, sid, WORD)
    server.upstream.send(late + frame(WINDOW_UPDATE, 0, sid, WORD) + frame(WINDOW_UPDATE, 0, 77, b"\0\0\0\0"))
    server.answer(other)
    assert client.answers[other].ended


def test_goaway_of_a_client(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    client.raw(frame(GOAWAY, 0, 0, b"\0" * 8))
    Service(book.app).answer(sid)
    assert client.answers[sid].ended


def test_faults_of_streams_that_have_ended(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    Service(book.app).answer(sid)
    client.pump()
    client.send(frame(WINDOW_UPDATE, 0, sid, b"\0\0\0\0"))
    assert client.got == frame(RST_STREAM, 0, sid, WORD)


def test_an_upstream_that_breaks_a_rule_while_others_wait(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    first = client.ask()
    server = Service(book.app, settings={3: 1})
    waits = client.ask()
    server.upstream.send(frame(PUSH_PROMISE, 0, first, WORD))
    for sid in (first, waits):
        assert client.answers[sid].fields[b"skycap-error"] == b"bad-response"


@pytest.mark.parametrize(
    ("stream", "step_by", "code", "kind"),
    [(99, 1, 1, "http2-protocol-error"), (0, MAX_WINDOW, 3, "http2-error")],
    ids=["an idle stream's", "one too many"],
)
def test_a_fault_behind_a_grant_that_is_one_as_well(
    make_book: MakeBook, step: int, stream: int, step_by: int, code: int, kind: str
) -> None:
    """Which of them is told does not depend on how they were cut."""
    book = make_book(step=step)
    client = Caller(book, book.inbound())
    client.raw(frame(WINDOW_UPDATE, 0, stream, step_by.to_bytes(4)) + make_head((FRAME + 1) << 8 | DATA, 0, 1))
    assert client.end.gone == code
    assert book.counters.inbound.failures[kind] == 1


@pytest.mark.parametrize(
    "behind",
    [frame(WINDOW_UPDATE, 0, 0, MAX_WINDOW.to_bytes(4)), frame(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff")],
    ids=["a fault", "settings"],
)
def test_what_stands_behind_a_grant_that_ends_the_connection(book: Playbook, behind: bytes) -> None:
    """The first lets the last piece of the last stream go, and with it the connection, which was being left."""
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x" * 100, ends=False)
    server = Service(book.app, settings={INITIAL_WINDOW_SIZE: 10})
    server.end.hungry = False
    server.flush()
    client.more(sid, b"last", ends=True)
    server.answer(sid)
    server.raw(frame(GOAWAY, 0, 0, sid.to_bytes(4) + bytes(4)))
    assert client.link.queued
    closing = [server.recorded.closing]
    server.upstream.send_once(frame(WINDOW_UPDATE, 0, sid, (1000).to_bytes(4)) + behind)
    assert [*closing, server.recorded.closing] == [False, True]
    assert not client.recorded.closing
    assert client.answers[sid].ended


def test_a_fault_behind_a_frame_that_has_ended_the_connection(book: Playbook) -> None:
    """The fuzzer's: it says GOAWAY and breaks a rule in the same read."""
    client = Caller(book, book.inbound(), greets=False)
    client.send(PREFACE + frame(SETTINGS, 0, 0))
    client.ask(key="")
    server = book.app.accept()
    server.send(frame(SETTINGS, 0, 0))
    goaway = bytes.fromhex("0000080700000000000080")
    server.send_once(goaway + bytes(41) + b"\x01" + bytes(15) + b"\xff" * 14 + bytes(3))
    assert server.recorded.closing


def test_what_a_leaving_upstream_says_behind_its_last_answer(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    last = frame(GOAWAY, 0, 0, sid.to_bytes(4, "big") + b"\0\0\0\0") + frame(HEADERS, BOTH, sid, b"\x89")
    server.upstream.send_once(last + frame(PING, 0, 0, b"12345678"))
    assert client.answers[sid].fields[b":status"] == b"204"
    assert server.recorded.closing


def test_an_upstream_that_speaks_something_else(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    Service(book.app, greets=False).upstream.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert b"no SETTINGS first" in client.answers[sid].data
