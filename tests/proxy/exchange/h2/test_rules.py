"""Stubs and faults of one's own key, and who has to serve, for a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.contract.rules import Rule
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service
from tests.proxy.exchange.playbook import WORKLOAD, Playbook, ready

KEY = "agent-42"


def ruled(make_book: MakeBook, effect: str = "respond", **fields: Any) -> Playbook:
    book = make_book(routes=[ready(KEY)], hops=True)
    book.table.put_rules(KEY, [Rule(**({"name": "s", "effect": effect, "workload": WORKLOAD} | fields))])
    return book


def test_a_stub_answers_a_stream(make_book: MakeBook) -> None:
    book = ruled(make_book, status=503, body='{"a":1}', path="/a")
    client = Caller(book, book.inbound())
    sid = client.ask(path=b"/a", key=KEY)
    answer = client.answers[sid]
    assert answer.fields[b":status"] == b"503"
    assert answer.fields[b"content-length"] == b"7"
    assert answer.fields[b"skycap-served-by"] == b"shop/users;stub=s"
    assert answer.data == b'{"a":1}'
    (hop,) = book.hops()
    assert (hop.decision, hop.stub, hop.status, hop.protocol) == ("stub", "s", 503, "h2")
    assert hop.response is not None
    assert hop.response.body == '{"a":1}'
    other = client.ask(path=b"/b", key=KEY)
    Service(book.shadow).answer(other)
    assert client.answers[other].fields[b"skycap-served-by"] == b"shop/users;sandbox=agent-42;rev=3"


def test_a_stub_without_content_and_one_of_an_upload(make_book: MakeBook) -> None:
    book = ruled(make_book, status=204, body="x")
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY, method=b"POST", data=b"half", ends=False)
    assert client.answers[sid].fields[b":status"] == b"204"
    assert b"content-length" not in client.answers[sid].fields
    assert client.answers[sid].data == b""


def test_a_stub_of_more_than_a_frame(make_book: MakeBook) -> None:
    """A body has 16 Ki characters at most, and a character up to four bytes."""
    book = ruled(make_book, body="\u20ac" * 16_384, status=500)
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY)
    assert client.answers[sid].data.decode() == "\u20ac" * 16_384
    assert client.answers[sid].ended


def test_a_stub_for_which_its_client_has_no_room(make_book: MakeBook) -> None:
    """It would have to be told without its body, which is another answer; so the client may ask again."""
    book = ruled(make_book, body="stubbed")
    client = Caller(book, book.inbound())
    client.end.engine.update_settings({4: 5})
    client.flush()
    sid = client.ask(key=KEY)
    assert client.answers[sid].reset == 7
    assert not client.answers[sid].fields
    assert book.counters.inbound.failures == {"answer-truncated": 1}
    head = client.ask(key=KEY, method=b"HEAD")
    assert client.answers[head].fields[b"content-length"] == b"7"


def test_a_stub_of_a_grpc_call_is_what_its_fields_say(make_book: MakeBook) -> None:
    book = ruled(make_book, fields=(("content-type", "application/grpc"), ("grpc-status", "5")))
    client = Caller(book, book.inbound())
    sid = client.call(key=KEY)
    assert client.answers[sid].fields[b"grpc-status"] == b"5"
    assert b"content-length" not in client.answers[sid].fields


def test_a_delay_and_a_fault(make_book: MakeBook) -> None:
    book = ruled(make_book, "delay", delay_ms=200)
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY)
    assert book.shadow.dialled == 0
    book.pass_ticks(3)
    Service(book.shadow).answer(sid)
    assert client.answers[sid].fields[b"skycap-served-by"] == b"shop/users;sandbox=agent-42;rev=3;stub=s"

    faulty = ruled(make_book, "status", status=502)
    caller = Caller(faulty, faulty.inbound())
    sid = caller.ask(key=KEY)
    assert caller.answers[sid].fields[b"skycap-error"] == b"fault"
    assert json.loads(caller.answers[sid].data)["status"] == 502


def test_a_reset_ends_the_stream_alone(make_book: MakeBook) -> None:
    book = ruled(make_book, "reset", times=1)
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY)
    assert client.answers[sid].reset is not None
    assert [(hop.stub, hop.error) for hop in book.hops()] == [("s", "fault")]
    other = client.ask(key=KEY)
    Service(book.shadow).answer(other)
    assert client.answers[other].data == b"ok"


@pytest.mark.parametrize(("expected", "status"), [(b"shop/users@3", b"200"), (b"shop/users@4", b"421")])
def test_who_was_expected(make_book: MakeBook, expected: bytes, status: bytes) -> None:
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY, fields=[(b"skycap-expect", expected)])
    server = Service(book.shadow)
    assert b"skycap-expect" not in server.requests[sid].fields
    server.answer(sid)
    assert client.answers[sid].fields[b":status"] == status


def test_a_stub_is_not_who_was_expected(make_book: MakeBook) -> None:
    book = ruled(make_book)
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY, fields=[(b"skycap-expect", b"shop/users")])
    assert client.answers[sid].fields[b"skycap-error"] == b"unexpected-server"
