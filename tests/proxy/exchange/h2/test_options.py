"""Limits and options that HTTP/1.1 has, on streams: those that no other test here is about."""

from __future__ import annotations

import pytest

from proxy.exchange.settings import TICK_SECONDS, ExchangeSettings
from proxy.routing.captures import ALL, NONE
from proxy.wire.head import Limits
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service
from tests.proxy.exchange.playbook import Playbook, ready

DRIPPING = ExchangeSettings(response_ticks=100, stream_ticks=4_000, upload_rate=1)
ENOUGH = 11
"""Calm."""


def pass_ticks(book: Playbook, ticks: int) -> None:
    for _ in range(ticks):
        book.clock.now += TICK_SECONDS
        book.pass_ticks(1)


def upload(book: Playbook, data: bytes = b"") -> tuple[Caller, int]:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=data, ends=False)
    Service(book.app).flush()
    return client, sid


# -- --min-upload-rate ------------------------------------------------------------------------------------------------


def test_content_that_drips_is_not_waited_for(make_book: MakeBook) -> None:
    book = make_book(settings=DRIPPING)
    client, sid = upload(book)
    for ticks in range(0, 1_000, 20):
        pass_ticks(book, 20)
        if client.answers:
            break
        assert ticks < 400, "for ever"
        client.more(sid, b"x")  # half a byte per second
    assert client.answers[sid].fields[b"skycap-error"] == b"content-timeout"
    assert book.counters.inbound.timeouts["body"] == 1


def test_content_that_is_fast_enough_takes_its_time(make_book: MakeBook) -> None:
    book = make_book(settings=DRIPPING)
    client, sid = upload(book)
    for _ in range(100):
        pass_ticks(book, 20)
        client.more(sid, b"xxx")
    assert not client.answers


def test_content_may_be_as_slow_as_it_likes_without_a_rate(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(response_ticks=100, stream_ticks=4_000, upload_rate=0))
    client, sid = upload(book)
    for _ in range(100):
        pass_ticks(book, 100)
        client.more(sid, b"x")
    assert not client.answers


def test_a_call_may_drip(make_book: MakeBook) -> None:
    book = make_book(settings=DRIPPING)
    client = Caller(book, book.inbound())
    sid = client.call(ends=False)
    Service(book.app).flush()
    for _ in range(100):
        pass_ticks(book, 100)
        client.more(sid, b"x")
    assert not client.answers


def test_a_tunnel_may_drip(make_book: MakeBook) -> None:
    book = make_book(settings=DRIPPING)
    client = Caller(book, book.inbound())
    server = None
    for sid in (1, 3):  # it is offered when an upstream has offered it
        head = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/"),
                (b":authority", b"users")]  # fmt: skip
        client.end.engine.send_headers(sid, head)
        client.flush()
        server = server or Service(book.app, settings={8: 1})
        server.answer(sid, data=None, ends=False)
    for _ in range(100):
        pass_ticks(book, 100)
        client.more(3, b"x")
    assert client.answers[3].reset is None


# -- --response-timeout, behind content -----------------------------------------------------------------------------


def test_an_upload_is_answered_in_time(make_book: MakeBook) -> None:
    book = make_book(settings=DRIPPING)
    client, sid = upload(book, b"x" * 100)
    client.more(sid, b"x", ends=True)
    pass_ticks(book, 2 * DRIPPING.response_ticks + 1)
    assert client.answers[sid].fields[b"skycap-error"] == b"app-timeout"
    assert book.counters.inbound.timeouts["response"] == 1


# -- --max-head-bytes, --max-header-lines -----------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [((b"x-large", b"\xff" * 2_000),), tuple((b"x-%d" % n, b"1") for n in range(9))])
def test_heads_are_limited(make_book: MakeBook, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    book = make_book(limits=Limits(head_bytes=1_024, header_lines=12))
    client = Caller(book, book.inbound())
    assert client.end.settings[6] == 1_024, "the client is told"
    refused, fine = client.ask(fields=fields), client.ask()
    assert client.answers[refused].reset == ENOUGH
    server = Service(book.app)
    server.answer(fine, fields=(*fields, (b"x-one", b"1"), (b"x-two", b"2"), (b"x-three", b"3")))
    assert client.answers[fine].fields[b"skycap-error"] == b"bad-response"


# -- --key-headers, --trace-headers, --routing-key, capture, spans -----------------------------------------------------


def test_further_headers_carry_a_key_and_a_trace(make_book: MakeBook) -> None:
    book = make_book(routes=[ready("agent-42")], key_headers=["x-virtual-env"], trace_headers=["x-job"])
    client = Caller(book, book.inbound())
    sid = client.ask(fields=((b"x-virtual-env", b"agent-42"), (b"x-job", b"job-2f1c7a")))
    Service(book.shadow).flush()
    calls = Caller(book, book.outbound())
    called = calls.ask(fields=((b"x-job", b"job-2f1c7a"),))
    assert Service(book.target).requests[called].fields[b"baggage"] == b"routing-key=agent-42"
    client.cancel(sid)
    calls.cancel(called)


def test_a_shadow_calls_with_its_own_key(book: Playbook) -> None:
    calls = Caller(book, book.outbound(own_key="agent-7"))
    called = calls.ask()
    assert Service(book.target).requests[called].fields[b"baggage"] == b"routing-key=agent-7"
    calls.cancel(called)


@pytest.mark.parametrize(("floor", "told"), [(ALL, True), (NONE, False)])
def test_what_a_sandbox_has_captured(make_book: MakeBook, floor: int, told: bool) -> None:
    book = make_book(hops=True)
    book.table.captures.change(["a"], floor)
    client = Caller(book, book.inbound())
    text = ((b"content-type", b"text/plain"), (b"authorization", b"Bearer secret"))
    sid = client.ask(method=b"POST", key="a", data=b"ping", fields=text)
    Service(book.app).answer(sid, b"500" if not told else b"200", data=b"pong", fields=text[:1])
    assert client.answers[sid].data == b"pong"
    (hop,) = book.hops()
    assert (hop.request is not None, hop.response is not None) == (told, told)
    if hop.request is not None and hop.response is not None:
        assert (hop.request.body, hop.response.body) == ("ping", "pong")
        assert "secret" not in repr(hop.request.headers)


def test_streams_with_a_key_leave_spans(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    asked = [client.ask(key="a"), client.ask(), client.ask(key="b")]
    server = Service(book.app)
    for sid, status in zip(asked[:2], (b"200", b"500"), strict=True):
        server.answer(sid, status)
    client.cancel(asked[2])
    assert book.spans.seen == [("GET", "a", 200, ""), ("GET", "b", 0, "client-lost")]
