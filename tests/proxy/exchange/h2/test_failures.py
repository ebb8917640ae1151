"""What becomes of streams when something goes wrong on the way."""

from __future__ import annotations

import json

import pytest

from proxy.contract.routes import Route, State
from proxy.exchange.settings import ExchangeSettings
from proxy.wire.h2.frames import DATA, END_HEADERS, END_STREAM, HEADERS
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import GRPC, Caller, Service, frame
from tests.proxy.exchange.playbook import SHADOW, TARGET, Playbook, ready, unready

KEY = "agent-42"


# -- dials ------------------------------------------------------------------------------------------------------------


def test_the_next_endpoint_is_tried(make_book: MakeBook) -> None:
    book = make_book(routes=[ready(KEY, SHADOW, TARGET)])
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY, method=b"POST", data=b"kept")
    book.pool(TARGET).refuse()
    server = Service(book.shadow)
    assert server.requests[sid].data == b"kept"
    server.answer(sid)
    assert client.answers[sid].data == b"ok"
    assert book.counters.inbound.upstream_dial_failures == 1


def test_a_shadow_that_is_unreachable(make_book: MakeBook) -> None:
    book = make_book(routes=[ready(KEY)])
    client = Caller(book, book.inbound())
    sid = client.call(key=KEY)
    book.shadow.refuse()
    assert client.answers[sid].fields[b"skycap-error"] == b"shadow-unreachable"


def test_a_shadow_that_is_unreachable_with_a_fallback(make_book: MakeBook) -> None:
    book = make_book(routes=[ready(KEY, fallback=True)])
    client = Caller(book, book.inbound())
    sid = client.call(key=KEY)
    book.shadow.refuse()
    Service(book.app).answer(sid, fields=GRPC[:1])
    assert client.answers[sid].fields[b"skycap-served-by"] == b"shop/users;baseline;reason=shadow-unreachable"


def test_a_dial_that_we_refuse_ourselves(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    book.app.refuse_ourselves()
    assert client.answers[sid].fields[b"skycap-error"] == b"loop"


def test_a_problem_for_which_its_client_has_no_room(book: Playbook) -> None:
    """It announces no content then: with a length, and none, a client takes it for a broken message."""
    client = Caller(book, book.inbound())
    client.end.engine.update_settings({4: 5})
    client.flush()
    sid, head = client.ask(), client.ask(method=b"HEAD")
    book.app.refuse()
    answer = client.answers[sid]
    assert answer.ended
    assert (answer.data, answer.fields[b"skycap-error"]) == (b"", b"app-unreachable")
    assert b"content-length" not in answer.fields
    assert int(client.answers[head].fields[b"content-length"]) > 100


def test_a_dial_that_takes_too_long(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    book.pass_ticks(book.settings.connect_ticks + 1)
    assert client.answers[sid].fields[b"skycap-error"] == b"app-unreachable"
    assert book.counters.inbound.timeouts["connect"] == 1


def test_a_bug_in_routing_does_not_cost_a_request(book: Playbook) -> None:
    class Broken(Route):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("a bug")

    client = Caller(book, book.inbound())
    book.table.replace({KEY: object.__new__(Broken)})
    sid = client.ask(key=KEY)
    Service(book.app).answer(sid)
    assert client.answers[sid].fields[b"skycap-served-by"] == b"shop/users;baseline;reason=internal-error"


def test_a_client_that_goes_while_we_dial(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.ask()
    client.vanish()
    assert not book.app.dials


def test_a_stream_that_is_taken_back_while_we_dial(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    one, other = client.ask(), client.ask()
    client.cancel(one)
    assert list(Service(book.app).requests) == [other]


# -- held up ----------------------------------------------------------------------------------------------------------


def test_a_stream_that_waits_for_its_shadow(make_book: MakeBook) -> None:
    book = make_book(routes=[unready(KEY)])
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY, method=b"POST", data=b"early", ends=False)
    other = client.ask()
    Service(book.app).answer(other)
    assert client.answers[other].ended
    client.end.engine.increment_flow_control_window(1000, sid)
    client.more(sid, b" late", ends=True)
    book.table.replace({KEY: unready(KEY)})
    book.table.replace({KEY: ready(KEY)})
    server = Service(book.shadow)
    assert server.requests[sid].data == b"early late"
    assert server.end.grants[sid] == 1000
    server.answer(sid)
    assert client.answers[sid].fields[b"skycap-served-by"].startswith(b"shop/users;sandbox")


def test_a_stream_that_has_waited_for_too_long(make_book: MakeBook) -> None:
    book = make_book(routes=[unready(KEY)])
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY)
    book.pass_ticks(book.settings.hold_ticks + 1)
    assert client.answers[sid].fields[b"skycap-error"] == b"shadow-pending"
    assert book.counters.inbound.timeouts["hold"] == 1


def test_a_stream_that_waited_goes_to_the_baseline_on_a_connection_of_its_own(make_book: MakeBook) -> None:
    """Its number is lower than those that went ahead (RFC 9113 section 5.1.1)."""
    book = make_book(routes=None)
    client = Caller(book, book.inbound())
    early = client.ask(key=KEY)
    late = client.ask()
    first = Service(book.app)
    assert list(first.requests) == [late]
    book.pass_ticks(book.settings.sync_ticks + 1)
    second = Service(book.app)
    assert list(second.requests) == [early]
    first.answer(late)
    assert client.answers[late].ended
    assert first.recorded.closing, "it gets no stream any more"
    second.answer(early)
    assert client.answers[early].fields[b"skycap-served-by"] == b"shop/users;baseline;reason=unsynced"
    assert not second.recorded.closing


def test_a_sandbox_that_ends_while_a_stream_waits(make_book: MakeBook) -> None:
    book = make_book(routes=[unready(KEY)])
    client = Caller(book, book.inbound())
    sid = client.ask(key=KEY)
    book.table.replace({KEY: unready(KEY, State.ENDED)})
    assert client.answers[sid].fields[b"skycap-error"] == b"sandbox-ended"


def test_a_client_that_takes_a_waiting_stream_back(make_book: MakeBook) -> None:
    book = make_book(routes=[unready(KEY)])
    client = Caller(book, book.inbound())
    client.cancel(client.ask(key=KEY))
    assert not book.sides[0].waiters


# -- the upstream gives up --------------------------------------------------------------------------------------------


def test_a_refused_stream_is_sent_again(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.call(data=b"once more")
    first = Service(book.app)
    first.reset(sid, 7)
    second = Service(book.app)
    assert second.requests[sid].data == b"once more"
    assert second.requests[sid].ended
    second.answer(sid)
    assert client.answers[sid].data == b"ok"
    assert book.counters.inbound.upstream_retries == 1


def test_a_refused_stream_that_was_still_waiting_for_a_window(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"a" * 20, ends=False)
    first = Service(book.app, settings={4: 30})
    first.end.hungry = False
    first.flush()
    client.more(sid, b"b" * 20)
    client.trailers(sid, ((b"c", b"d"),))
    assert client.link.queued == 10
    first.reset(sid, 7)
    second = Service(book.app)
    request = second.requests[sid]
    assert (request.data, request.trailers) == (b"a" * 20 + b"b" * 20, {b"c": b"d"})
    assert client.link.queued == 0


def test_trailers_that_came_before_there_was_a_connection_are_sent_again(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"a", ends=False)
    client.trailers(sid, ((b"c", b"d"),))
    Service(book.app).reset(sid, 7)
    request = Service(book.app).requests[sid]
    assert (request.data, request.trailers, request.ended) == (b"a", {b"c": b"d"}, True)


def test_what_was_not_kept_is_not_sent_again(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(replay_bytes=10))
    client = Caller(book, book.inbound())
    sid = client.call(data=b"x" * 5, ends=False)
    server = Service(book.app)
    client.more(sid, b"y" * 20)
    client.more(sid, b"z")
    server.reset(sid, 7)
    assert b"too long to be kept" in client.answers[sid].fields[b"grpc-message"]
    assert book.counters.inbound.failures == {"upstream-refused": 1}


def test_what_was_too_much_before_there_was_a_connection_is_not_sent_again(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(replay_bytes=10))
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x" * 20_000)
    Service(book.app).reset(sid, 7)
    answer = client.answers[sid]
    assert (answer.fields[b":status"], answer.fields[b"skycap-error"]) == (b"503", b"upstream-refused")


def test_streams_that_a_leaving_upstream_has_not_seen(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    one, other = client.ask(), client.ask(method=b"POST", data=b"a")
    first = Service(book.app)
    first.flush()
    first.raw(b"\0\0\x08\x07\0\0\0\0\0" + one.to_bytes(4, "big") + b"\0\0\0\0")
    second = Service(book.app)
    assert list(second.requests) == [other]
    first.answer(one)
    second.answer(other)
    assert client.answers[one].ended
    assert client.answers[other].ended
    assert first.recorded.closing
    third = client.ask()
    assert third in second.requests


def test_an_upstream_that_leaves_and_denies_what_it_answers(book: Playbook) -> None:
    """What its client has not taken yet is not thrown away, nor left behind for the next one to stumble over."""
    client = Caller(book, book.inbound())
    client.end.engine.update_settings({4: 5})
    client.flush()
    sid, other = client.ask(), client.ask()
    server = Service(book.app)
    server.flush()
    server.upstream.send(frame(HEADERS, END_HEADERS, sid, b"\x88") + frame(DATA, 0, sid, b"an answer"))
    server.leave(0)
    server.upstream.send(frame(DATA, END_STREAM, sid, b"!"))
    client.end.engine.increment_flow_control_window(1_000)
    client.flush()
    Service(book.app).answer(other, data=b"again")
    assert client.answers[sid].data == b"an answer!"
    assert client.answers[other].data == b"again"
    assert server.recorded.closing


def test_an_upstream_that_leaves_without_streams(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.answer(sid)
    server.leave(sid)
    assert server.recorded.closing
    client.ask()
    assert book.app.dials


@pytest.mark.parametrize(("method", "again"), [(b"GET", True), (b"POST", False)])
def test_a_connection_that_is_lost_before_the_answer(book: Playbook, method: bytes, again: bool) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=method)
    Service(book.app).upstream.vanish(error=True)
    if again:
        Service(book.app).answer(sid)
        assert client.answers[sid].data == b"ok"
    else:
        answer = client.answers[sid]
        assert json.loads(answer.data)["detail"] == "the connection was reset before the answer began"


def test_a_connection_that_is_lost_within_the_answer(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.answer(sid, ends=False)
    server.upstream.end()
    assert client.answers[sid].reset == 2
    assert book.counters.inbound.failures["answer-truncated"] == 1


def test_a_stream_that_waits_for_room_outlives_the_connection(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    first = client.ask()
    server = Service(book.app, settings={3: 1})
    waits = client.ask(method=b"POST", data=b"x")
    assert list(server.requests) == [first]
    server.upstream.vanish()
    again = Service(book.app)
    assert sorted(again.requests) == [first, waits]


def test_a_stream_that_waits_for_room_follows(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sids = [client.ask() for _ in range(3)]
    server = Service(book.app)
    server.flush()
    # The first three were on their way before the limit was known.
    server.end.engine.update_settings({3: 3})
    server.flush()
    fourth, fifth = client.ask(), client.ask()
    client.cancel(fifth)
    assert sorted(server.requests) == sids
    server.answer(sids[0])
    assert sorted(server.requests) == [*sids, fourth]
    server.end.engine.update_settings({3: 4})
    sixth, seventh = client.ask(), client.ask()
    server.flush()
    assert sixth in server.requests
    assert seventh not in server.requests
    server.leave(sixth)
    assert list(Service(book.app).requests) == [seventh]


@pytest.mark.parametrize(("code", "grpc"), [(0, True), (2, False), (8, False)])
def test_a_reset_before_the_answer_is_told(book: Playbook, code: int, grpc: bool) -> None:
    client = Caller(book, book.inbound())
    sid = client.call() if grpc else client.ask()
    Service(book.app).reset(sid, code)
    assert client.answers[sid].fields[b"skycap-error"] == b"upstream-reset"


def test_a_reset_of_a_call_passes(book: Playbook) -> None:
    """What it means to a caller is written in gRPC's own table."""
    client = Caller(book, book.inbound())
    sid = client.call()
    Service(book.app).reset(sid, 11)
    assert client.answers[sid].reset == 11
    assert book.counters.inbound.failures["upstream-reset"] == 1


def test_a_reset_within_the_answer_passes(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.answer(sid, ends=False)
    server.reset(sid, 2)
    assert client.answers[sid].reset == 2
    assert book.counters.inbound.requests["error"][2] == 1


def test_an_early_answer_ends_the_upload(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    server = Service(book.app)
    server.answer(sid, b"403")
    assert client.answers[sid].fields[b":status"] == b"403"
    server.reset(sid, 0)
    assert client.answers[sid].reset == 0
    assert book.counters.inbound.requests["baseline"][4] == 1


def test_an_early_answer_whose_client_gives_up(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    server = Service(book.app)
    server.answer(sid, b"403")
    client.pump()
    client.cancel(sid)
    assert server.requests[sid].reset == 8
    assert book.counters.inbound.requests["baseline"][4] == 1


def test_a_cancelled_call_reaches_the_server_at_once(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.call(ends=False)
    server = Service(book.app)
    server.flush()
    client.cancel(sid)
    assert server.requests[sid].reset == 8
    assert book.counters.inbound.requests["error"][0] == 1


# -- time -------------------------------------------------------------------------------------------------------------


def test_no_answer_in_time(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    book.pass_ticks(book.settings.response_ticks + 1)
    assert client.answers[sid].fields[b"skycap-error"] == b"app-timeout"
    assert server.requests[sid].reset == 8


def test_content_that_stalls(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(stream_ticks=50))
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    Service(book.app).flush()
    book.pass_ticks(51)  # it has moved since
    book.pass_ticks(51)
    assert client.answers[sid].fields[b"skycap-error"] == b"content-timeout"


def test_an_answer_that_stalls(make_book: MakeBook) -> None:
    book = make_book(settings=ExchangeSettings(stream_ticks=50))
    client = Caller(book, book.inbound())
    sid = client.ask()
    Service(book.app).answer(sid, ends=False)
    book.pass_ticks(102)
    assert client.answers[sid].reset == 8
    assert book.counters.inbound.timeouts["body"] == 1


def test_a_call_may_take_as_long_as_it_likes(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.call()
    server = Service(book.app)
    server.flush()
    book.pass_ticks(book.settings.stream_ticks * 2)
    server.answer(sid, fields=GRPC[:1], ends=False)
    book.pass_ticks(book.settings.stream_ticks * 2)
    server.more(sid, b"!", ends=True)
    assert client.answers[sid].data == b"ok!"


# -- answers that are none --------------------------------------------------------------------------------------------


def test_an_upstream_of_another_version(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    book.app.accept().send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    answer = client.answers[sid]
    assert answer.fields[b"skycap-error"] == b"bad-response"
    assert "speaks HTTP/1 and not HTTP/2" in json.loads(answer.data)["detail"]
