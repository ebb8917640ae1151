"""Requests and answers on streams, as good peers make them."""

from __future__ import annotations

import json

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange.h2.kinds import MAX_ANSWERS, MAX_KNOWN
from proxy.wire.h2.frames import ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, SETTINGS
from proxy.wire.h2.hpack import literal, literals
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import GRPC, Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook, ready, unready


def test_a_request_without_a_key_passes_as_it_came(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = Caller(book, book.inbound())
    sid = client.ask(fields=((b"x-own", b"1"),))
    server = Service(book.app)
    assert server.requests[sid].fields == {
        b":method": b"GET", b":scheme": b"http", b":path": b"/a", b":authority": b"users", b"x-own": b"1",
    }  # fmt: skip
    server.answer(sid, fields=((b"x-theirs", b"2"),))
    assert client.answers[sid].fields == {b":status": b"200", b"x-theirs": b"2"}
    assert client.answers[sid].data == b"ok"
    assert book.counters.inbound.requests["baseline"][2] == 1
    assert book.counters.inbound.http2 == 1


def test_each_stream_goes_where_its_key_leads(make_book: MakeBook, step: int) -> None:
    book = make_book(routes=[ready("agent-42")], step=step)
    client = Caller(book, book.inbound())
    one, other = client.ask(key="agent-42"), client.ask(key="nobody")
    shadow, app = Service(book.shadow), Service(book.app)
    assert list(shadow.requests) == [one]
    assert list(app.requests) == [other]
    seen = shadow.requests[one].fields
    assert seen[b"baggage"] == b"routing-key=agent-42"
    assert seen[b"skycap-visited"] == b"5c1d"
    assert {b"traceparent", b"b3", b"x-request-id", b"skycap-hop"} <= set(seen)
    app.answer(other)
    shadow.answer(one)
    assert client.answers[one].fields[b"skycap-served-by"] == b"shop/users;sandbox=agent-42;rev=3"
    assert client.answers[other].fields[b"skycap-served-by"] == b"shop/users;baseline"
    assert client.answers[one].fields[b"vary"] == b"baggage"
    assert client.answers[one].fields[b"cache-control"] == b"no-store"


def test_known_trace_context_is_completed_in_the_quick_way(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01"
    for number in range(3):  # by a template from the second on
        sid = client.ask(key="a", fields=((b"traceparent", parent), (b"x-request-id", b"r-%d" % number)))
    server = Service(book.app)
    for sid in (1, 3, 5):
        assert server.requests[sid].fields[b"b3"] == parent[3:52] + b"-1"
        assert server.requests[sid].fields[b"x-datadog-tags"] == b"_dd.p.tid=4bf92f3577b34da6"
    assert server.requests[sid].fields[b"x-request-id"] == b"r-2"


@pytest.mark.parametrize("name", [b"traceparent", b"x-request-id"])
def test_trace_context_that_cannot_be_used_is_replaced(book: Playbook, name: bytes) -> None:
    client = Caller(book, book.inbound())
    sids = [client.ask(key="a", fields=((name, value),)) for value in (b"undefined", b"undefined", b"( )")]
    server = Service(book.app)
    for sid in sids:
        assert server.requests[sid].fields[name] not in (b"undefined", b"( )")


def test_bodies_and_trailers_pass_both_ways(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"x" * 1000, ends=False)
    server = Service(book.app)
    client.more(sid, b"y" * 10)
    client.trailers(sid, ((b"x-sum", b"1"), (b"skycap-hop", b"forged")))
    request = server.requests[sid]
    assert (request.data, request.trailers, request.ended) == (b"x" * 1000 + b"y" * 10, {b"x-sum": b"1"}, True)
    server.answer(sid, data=b"z" * 3000, trailers=((b"x-end", b"2"), (b"skycap-served-by", b"forged")))
    answer = client.answers[sid]
    assert (answer.data, answer.trailers, answer.ended) == (b"z" * 3000, {b"x-end": b"2"}, True)


def test_interim_answers_pass(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    server.end.engine.send_headers(sid, [(b":status", b"103"), (b"link", b"</a>")])
    server.end.engine.send_headers(sid, [(b":status", b"103"), (b"link", b"</b>"), (b"skycap-error", b"loop")])
    server.answer(sid)
    assert client.answers[sid].interim == [{b":status": b"103", b"link": link} for link in (b"</a>", b"</b>")]
    assert client.answers[sid].data == b"ok"


def test_a_grpc_call(make_book: MakeBook, step: int) -> None:
    book = make_book(routes=[ready("agent-42")], step=step, hops=True)
    client = Caller(book, book.inbound())
    sid = client.call(key="agent-42")
    server = Service(book.shadow)
    server.answer(sid, data=b"\0\0\0\0\0", fields=GRPC[:1], trailers=((b"grpc-status", b"0"),))
    answer = client.answers[sid]
    assert answer.trailers == {b"grpc-status": b"0"}
    assert answer.fields[b"skycap-served-by"] == b"shop/users;sandbox=agent-42;rev=3"
    assert b"vary" not in answer.fields
    assert book.counters.inbound.grpc == {0: 1}
    (hop,) = book.hops()
    assert (hop.protocol, hop.grpc_status, hop.status, hop.path) == ("h2", 0, 200, "/shop.Users/Get")
    assert (hop.request_bytes, hop.response_bytes) == (5, 5)
    assert not hop.failed


def test_an_answer_of_trailers_only(make_book: MakeBook) -> None:
    book = make_book(hops=True)
    client = Caller(book, book.inbound())
    sid = client.call(key="a")
    server = Service(book.app)
    server.answer(sid, data=None, fields=(*GRPC[:1], (b"grpc-status", b"5"), (b"grpc-message", b"no such user")))
    answer = client.answers[sid]
    assert answer.fields[b"skycap-served-by"] == b"shop/users;baseline"
    assert answer.ended
    (hop,) = book.hops()
    assert hop.failed
    assert hop.grpc_status == 5
    assert hop.response is not None
    assert ("grpc-message", "no such user") in hop.response.headers


def test_a_call_that_fails_in_its_trailers_is_captured(make_book: MakeBook) -> None:
    book = make_book(hops=True)
    client = Caller(book, book.inbound())
    sid = client.call(key="a", fields=((b"x-secret-ish", b"s"),))
    server = Service(book.app)
    trailers = ((b"grpc-status", b"13"), (b"grpc-message", b"boom"))
    server.answer(sid, data=b"\0\0\0\0\0", fields=GRPC[:1], trailers=trailers)
    assert client.answers[sid].trailers[b"grpc-message"] == b"boom"
    (hop,) = book.hops()
    assert hop.response is not None
    assert ("grpc-message", "boom") in hop.response.headers
    assert hop.request is not None
    assert ("x-secret-ish", "s") in hop.request.headers
    assert ("host", "users") in hop.request.headers


def test_a_failing_answer_is_captured(make_book: MakeBook) -> None:
    book = make_book(hops=True)
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", key="a", data=b'{"a": 1}', fields=((b"content-type", b"application/json"),))
    server = Service(book.app)
    server.answer(sid, b"500", data=b'{"error": "no"}', fields=((b"content-type", b"application/json"),))
    assert client.answers[sid].fields[b":status"] == b"500"
    (hop,) = book.hops()
    assert hop.response is not None
    assert hop.request is not None
    assert hop.request.body == '{"a": 1}'
    assert hop.response.body == '{"error": "no"}'
    assert book.counters.inbound.requests["baseline"][5] == 1


def test_what_an_application_claims_is_left_out(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app)
    server.answer(sid, fields=((b"skycap-served-by", b"me"), (b"a", b"b")))
    assert client.answers[sid].fields == {b":status": b"200", b"a": b"b"}


def test_what_lets_a_cache_keep_it_goes(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask(key="a")
    server = Service(book.app)
    server.answer(sid, fields=((b"cache-control", b"max-age=60"), (b"expires", b"tomorrow")))
    fields = client.answers[sid].fields
    assert fields[b"cache-control"] == b"no-store"
    assert b"expires" not in fields


def test_the_cause_is_taken_off_and_named(make_book: MakeBook) -> None:
    book = make_book(routes=[ready("agent-42")], hops=True)
    client = Caller(book, book.inbound(sandbox="agent-42", revision=3))
    hop = b"00000001000000ff"
    sids = [client.ask(key="agent-42", fields=((b"skycap-hop", value),)) for value in (hop, b"XXXX0001000000ff")]
    sids.append(client.ask(key="agent-42", fields=((b"skycap-hop", hop), (b"a", b"b"))))
    server = Service(book.app)
    for sid in sids:
        assert b"skycap-hop" not in server.requests[sid].fields
        server.answer(sid)
    assert [client.answers[sid].fields.get(b"skycap-hop") for sid in sids] == [hop, None, hop]
    assert [record.parent for record in book.hops()] == [hop.decode(), "", hop.decode()]


def test_a_call_of_a_keyed_request_carries_its_key(make_book: MakeBook) -> None:
    book = make_book(hops=True)
    inbound, outbound = book.inbound(), book.outbound()
    client = Caller(book, inbound)
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01"
    sid = client.ask(key="a", fields=((b"traceparent", parent),))
    app = Service(book.app)
    caller = Caller(book, outbound)
    call = caller.call(fields=((b"traceparent", parent),))
    target = Service(book.target)
    seen = target.requests[call].fields
    assert seen[b"baggage"] == b"routing-key=a"
    told = ((b"skycap-served-by", b"shop/orders;baseline"), (b"skycap-hop", seen[b"skycap-hop"]))
    target.answer(call, data=b"", fields=(*GRPC[:1], *told), trailers=((b"grpc-status", b"0"),))
    assert set(caller.answers[call].fields) == {b":status", b"content-type", b"skycap-served-by"}
    app.answer(sid)
    assert client.answers[sid].fields[b"skycap-served-by"] == b"shop/users;baseline, shop/orders;baseline"
    out, into = book.hops()
    assert (out.side, out.parent) == ("outbound", into.id)


def test_a_key_that_a_call_has_already(book: Playbook) -> None:
    caller = Caller(book, book.outbound())
    sid = caller.ask(key="b", fields=((b"baggage", b"routing-key=c"),))
    target = Service(book.target)
    assert target.requests[sid].fields[b"baggage"] == b"routing-key=c"  # one member, of the last one


def test_a_forward_proxy_goes_where_the_authority_says(book: Playbook) -> None:
    caller = Caller(book, book.outbound(None))
    sid = caller.ask()
    server = Service(book.pool(Endpoint("users", 80)))
    assert server.requests[sid].fields[b":path"] == b"/a"
    refused = caller.end.engine.get_next_available_stream_id()
    caller.end.engine.send_headers(refused, [(b":method", b"CONNECT"), (b":authority", b"users:80")])
    caller.flush()
    assert caller.answers[refused].fields[b":status"] == b"501"


def test_connect_is_not_for_a_listener_that_guards_one_application(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.end.engine.send_headers(1, [(b":method", b"CONNECT"), (b":authority", b"users:80")])
    client.flush()
    assert client.answers[1].fields[b":status"] == b"501"


def test_extended_connect_is_offered_where_the_application_takes_it(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    server = Service(book.app, settings={8: 1})
    server.answer(sid)
    client.pump()
    assert client.end.settings[8] == 1
    sid = client.end.engine.get_next_available_stream_id()
    fields = [
        (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/chat"),
        (b":authority", b"users"),
    ]  # fmt: skip
    client.end.engine.send_headers(sid, fields)
    client.flush()
    server.answer(sid, data=b"hi", ends=False)
    client.more(sid, b"there")
    assert server.requests[sid].data == b"there"
    assert client.answers[sid].data == b"hi"


def test_the_address_of_the_client_is_forwarded(book: Playbook) -> None:
    client = Caller(book, book.inbound(forwarded=True), peer=b"10.0.0.7")
    sid = client.ask(fields=((b"x-forwarded-for", b"1.2.3.4"),))
    server = Service(book.app)
    assert server.requests[sid].fields[b"x-forwarded-for"] == b"1.2.3.4, 10.0.0.7"


def test_an_error_of_our_own_to_grpc(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.call(key="a")
    book.app.refuse()
    fields = client.answers[sid].fields
    assert fields[b":status"] == b"200"
    assert fields[b"grpc-status"] == b"14"
    assert fields[b"skycap-error"] == b"app-unreachable"
    assert b"connection refused" in fields[b"grpc-message"]
    assert fields[b"skycap-served-by"] == b"shop/users;error=app-unreachable"
    assert client.answers[sid].ended


def test_an_error_of_our_own_to_others(make_book: MakeBook) -> None:
    book = make_book(hops=True)
    client = Caller(book, book.inbound())
    sid, head = client.ask(key="a"), client.ask(method=b"HEAD")
    book.app.refuse()
    answer = client.answers[sid]
    assert answer.fields[b":status"] == b"502"
    assert json.loads(answer.data)["code"] == "app-unreachable"
    assert answer.ended
    assert client.answers[head].data == b""
    assert client.answers[head].ended
    (hop,) = book.hops()
    assert (hop.error, hop.status) == ("app-unreachable", 502)


def test_an_error_of_our_own_to_a_client_without_room(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.end.engine.update_settings({4: 10})
    client.flush()
    sid = client.ask(method=b"POST", data=b"x", ends=False)
    book.app.refuse()
    answer = client.answers[sid]
    assert (answer.fields[b":status"], answer.data, answer.ended) == (b"502", b"", True)
    assert answer.reset == 0


def test_repr(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    sid = client.ask()
    assert repr(client.link) == "<ClientLink open streams=1 upstreams=1>"
    flow = client.link.flows[sid]
    assert repr(flow.exchange).startswith("<StreamExchange 1 routing")
    assert repr(flow) == "<Flow 0 bytes, window 0, state 18, 0 queued>"
    assert flow.exchange.server is not None
    assert repr(flow.exchange.server) == "<ServerLink 127.0.0.1:9001 dialling streams=0 waiting=1>"
    server = Service(book.app)
    assert repr(flow.exchange.server) == "<ServerLink 127.0.0.1:9001 open streams=1 waiting=0>"
    server.answer(sid)
    assert repr(book.sides[0].kinds) == "<Kinds requests=1 answers=1 shapes=2>"
    assert "<RequestKind GET <Template" in repr(book.sides[0].kinds._requests)
    assert "<AnswerKind 200 <Template" in repr(book.sides[0].kinds._answers)
    assert repr(client.link.nuisances) == "<Budget spent=2 earned=10>"


def test_the_field_of_a_sidecar_as_one_writes_it(make_book: MakeBook) -> None:
    book = make_book(routes=[ready("agent-42")], hops=True)
    client = Caller(book, book.inbound(sandbox="agent-42", revision=3))
    head = b"\x82\x86\x84" + literals(((b":authority", b"users"), (b"baggage", b"routing-key=agent-42")))
    for sid, hop in ((1, b"00000001000000ff"), (3, b"00000001000000fg")):
        client.raw(frame(HEADERS, END_HEADERS | END_STREAM, sid, head + literal(b"skycap-hop", hop)))
    server = Service(book.app)
    for sid in (1, 3):
        assert b"skycap-hop" not in server.requests[sid].fields
        server.answer(sid)
    assert [record.parent for record in book.hops()] == ["00000001000000ff", ""]


def test_what_is_remembered_of_texts_and_answers_is_bounded(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    server = None
    for number in range(MAX_KNOWN + 2):
        sid = client.ask(b"/%d" % number)
        server = server or Service(book.app)
        fields = ((b"x-%d" % number, b""),) if number else ((b"x-large", b"v" * 600),)
        server.answer(sid, data=None, fields=fields)
        client.pump()
    client.ask(b"/" + b"long" * 200)
    kinds = book.sides[0].kinds
    assert len(kinds._texts) < MAX_KNOWN
    assert len(kinds._known_answers) < MAX_ANSWERS


def test_an_answer_that_fails_to_a_call_that_may_have_lost_its_key(make_book: MakeBook) -> None:
    book = make_book(hops=True)
    client = Caller(book, book.inbound())
    client.ask(key="a")
    caller = Caller(book, book.outbound())
    sid = caller.ask()
    Service(book.target).answer(sid, b"500", data=b"why")
    assert caller.answers[sid].fields[b":status"] == b"500"
    (hop,) = book.hops()
    assert hop.lost
    assert hop.response is None


def test_trailers_that_wait_are_given_up(make_book: MakeBook) -> None:
    book = make_book(routes=[unready("agent-42")])
    client = Caller(book, book.inbound())
    sid = client.ask(key="agent-42", method=b"POST", ends=False)
    client.trailers(sid, ((b"a", b"b"),))
    client.cancel(sid)
    assert not client.link.flows


def test_extended_connect_is_offered_once(book: Playbook) -> None:
    client = Caller(book, book.inbound())
    client.ask()
    server = Service(book.app, settings={8: 1})
    client.pump()
    client.new()
    server.end.engine.update_settings({8: 1})
    server.flush()
    assert b"\0\x08\0\0\0\x01" not in client.got


def test_frames_of_one_read_leave_in_their_order(make_book: MakeBook) -> None:
    """What leaves as it came, and what does not, in turn, to one connection."""
    book = make_book(routes=[ready("agent-42")])
    client = Caller(book, book.inbound())
    first = client.ask(method=b"POST", data=b"one,", ends=False)
    server = Service(book.app)
    server.flush()
    ping = frame(PING, 0, 0, b"12345678")
    client.raw(frame(DATA, 0, first, b"two,") + ping + frame(DATA, 0, first, b"three,") + ping)
    engine = client.end.engine
    sids = []
    for key in (b"", b"person-7", b"", b"person-7", b""):
        sids.append(engine.get_next_available_stream_id())
        baggage = [(b"baggage", b"routing-key=" + key)] if key else []
        head = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"users"), *baggage]
        engine.send_headers(sids[-1], head)
        engine.send_data(sids[-1], b"of %d" % sids[-1], end_stream=True)
        engine.send_data(first, b"%d," % sids[-1])
    engine.send_headers(first, [(b"x-checksum", b"0")], end_stream=True)
    client.flush()
    requests = server.requests
    assert requests[first].data == b"one,two,three," + b"".join([b"%d," % sid for sid in sids])
    assert requests[first].trailers == {b"x-checksum": b"0"}
    for sid in sids:
        assert requests[sid].data == b"of %d" % sid
        assert requests[sid].ended
        server.answer(sid, data=b"to %d" % sid, trailers=[(b"grpc-status", b"0")])
    assert [client.answers[sid].data for sid in sids] == [b"to %d" % sid for sid in sids]
    assert client.end.pings == 2


def test_a_connection_that_is_left_takes_the_last_piece_along(book: Playbook) -> None:
    """Its last stream ends with what the client has just sent, and GOAWAY stands behind that."""
    client = Caller(book, book.inbound())
    sid = client.ask(method=b"POST", data=b"first", ends=False)
    server = Service(book.app)
    server.answer(sid)
    server.raw(frame(GOAWAY, 0, 0, sid.to_bytes(4) + bytes(4)))
    client.more(sid, b"last", ends=True)
    server.end.hear(server.upstream.new())
    assert server.end.messages[sid].data == b"firstlast"
    assert server.end.messages[sid].ended
    assert server.end.gone == 0


def test_a_peer_that_goes_on_saying_that_it_uses_no_table(book: Playbook) -> None:
    client = Caller(book, book.inbound(), greets=False)
    client.raw(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
    head = b"\x20" + literals([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"u")])
    for sid in (1, 3, 5):
        client.raw(frame(HEADERS, END_HEADERS | END_STREAM, sid, head))
    assert set(Service(book.app).requests) == {1, 3, 5}
