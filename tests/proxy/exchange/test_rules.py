"""Stubs and faults of one's own key, at both sides."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.contract.routes import Endpoint, State
from proxy.contract.rules import Rule
from proxy.exchange.settings import ExchangeSettings
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, WORKLOAD, Playbook, field_lines, get, keyed, problem, ready, unready

SETTINGS = ExchangeSettings()
TRACE = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HOST = Endpoint("api.example.com", 80)


def rule(effect: str = "respond", name: str = "s", **fields: Any) -> Rule:
    return Rule(**({"name": name, "effect": effect, "workload": WORKLOAD} | fields))


def served_by(answer: bytes) -> list[str]:
    return field_lines(answer, "skycap-served-by")


def ruled(make_book: MakeBook, *rules: Rule, **arguments: Any) -> Playbook:
    book = make_book(**({"routes": [ready()], "hops": True} | arguments))
    book.table.put_rules("agent-42", rules)
    return book


def test_a_stub_answers_in_place_of_whoever_would(make_book: MakeBook, step: int) -> None:
    answers = rule(
        status=503, fields=(("x-reason", "none"), ("content-length", "9"), ("skycap-error", "x")), body='{"a":1}'
    )
    for routes in ([ready()], [unready(state=State.FAILED)], [unready()], []):
        book = ruled(make_book, answers, step=step, routes=routes)
        client = book.connect(book.inbound())
        client.send(keyed("agent-42", "/", TRACE, "skycap-hop: 0123456789abcdef"))
        head, _, body = client.got.partition(b"\r\n\r\n")
        assert head.startswith(
            b"HTTP/1.1 503 Service Unavailable\r\nx-reason: none\r\ncontent-type: application/json\r\n"
        )
        assert body == b'{"a":1}'
        assert field_lines(client.got, "content-length") == ["7"]
        assert field_lines(client.got, "skycap-error") == []
        assert served_by(client.got) == ["shop/users;stub=s"]
        assert field_lines(client.got, "skycap-hop") == ["0123456789abcdef"], (
            "whoever called knows that a sidecar answered"
        )
        assert field_lines(client.got, "cache-control") == ["no-store"]
        (hop,) = book.hops()
        assert (hop.decision, hop.stub, hop.status, hop.error) == ("stub", "s", 503, "")
        assert hop.response is not None
        assert hop.response.body == '{"a":1}'
        client.send(keyed())
        assert client.got.count(b"HTTP/1.1 503") == 2, "the connection goes on"
        assert book.app.dialled == book.shadow.dialled == 0
        assert book.counters.inbound.requests["stub"][5] == 2


def test_others_are_not_concerned(make_book: MakeBook, step: int) -> None:
    book = ruled(make_book, rule(path="/a", method="GET"), step=step)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(OK)
    assert client.new() == OK
    client.send(keyed("other"))
    app.send(OK)
    assert served_by(client.new()) == ["shop/users;baseline"]
    client.send(keyed("agent-42", "/b"))
    book.shadow.accept().send(OK)
    assert served_by(client.new()) == ["shop/users;sandbox=agent-42;rev=3"]


@pytest.mark.parametrize(
    ("status", "body", "framing"),
    [(204, "x", None), (304, "x", None), (205, "x", "0"), (200, "", "0"), (599, "x", "1")],
)
def test_an_answer_is_framed_by_its_status(make_book: MakeBook, status: int, body: str, framing: str | None) -> None:
    book = ruled(make_book, rule(status=status, body=body, fields=(("content-type", "a/b"),)))
    client = book.connect(book.inbound())
    client.send(keyed())
    assert field_lines(client.got, "content-length") == ([framing] if framing else [])
    assert field_lines(client.got, "content-type") == ["a/b"]
    assert client.got.endswith(b"\r\n\r\n" + (b"x" if framing == "1" else b""))
    assert client.got.startswith(b"HTTP/1.1 %d " % status)


def test_head_and_an_upload_and_an_old_client(make_book: MakeBook, step: int) -> None:
    book = ruled(make_book, rule(body="text"), step=step)
    side = book.inbound()
    client = book.connect(side)
    client.send(keyed().replace(b"GET", b"HEAD"))
    assert field_lines(client.got, "content-length") == ["4"]
    assert field_lines(client.got, "content-type") == ["text/plain; charset=utf-8"]
    assert client.new().endswith(b"\r\n\r\n")
    client.send(keyed()[:-2].replace(b"GET", b"POST") + b"content-length: 10\r\n\r\nhalf")
    assert b"connection: close\r\n" in client.new()
    assert client.calls == ["write_eof"], "the rest of the upload is still read"
    old = book.connect(side)
    old.send(keyed().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert b"connection: close\r\n" in old.got
    assert old.calls == ["close"]


def test_a_stub_may_come_late(make_book: MakeBook, step: int) -> None:
    book = ruled(make_book, rule(body="late", delay_ms=500), step=step)
    client = book.connect(book.inbound())
    client.send(keyed())
    book.pass_ticks(4)
    assert client.got == b""
    book.pass_ticks(1)
    assert client.got.endswith(b"late")
    assert served_by(client.got) == ["shop/users;stub=s"]
    assert book.counters.inbound.timeouts == {}
    client.send(keyed())
    client.vanish()
    assert [hop.error for hop in book.hops()] == ["", "client-lost"]


def test_a_delayed_request_goes_where_it_would_go_by_then(make_book: MakeBook, step: int) -> None:
    book = ruled(make_book, rule("delay", delay_ms=1000), step=step)
    client = book.connect(book.inbound())
    client.send(keyed("agent-42", "/", TRACE))
    book.pass_ticks(5)
    later = Endpoint("127.0.0.1", 9103)
    book.table.put(ready("agent-42", later, revision=4))
    book.pass_ticks(5)
    book.pool(later).accept().send(OK)
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=4;stub=s"]
    assert book.shadow.dialled == 0
    (hop,) = book.hops()
    assert (hop.decision, hop.stub, hop.revision, hop.status) == ("shadow", "s", 4, 200)


def test_a_delayed_request_of_a_shadow_that_has_failed_is_told_so(make_book: MakeBook) -> None:
    book = ruled(make_book, rule("delay", delay_ms=100), routes=[unready(state=State.FAILED)])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.pass_ticks(1)
    assert problem(client.got)["code"] == "shadow-unreachable"
    assert served_by(client.got) == ["shop/users;error=shadow-unreachable;stub=s"]


def test_a_status_is_our_own_answer(make_book: MakeBook, step: int) -> None:
    book = ruled(make_book, rule("status", status=418, percent=50), step=step)
    client = book.connect(book.inbound())
    client.send(keyed("agent-42", "/", TRACE))
    document = problem(client.new())
    assert (document["code"], document["status"], document["sandbox"]) == ("fault", 418, "agent-42")
    assert "the rule s of this key asks for status 418" in document["detail"]
    (hop,) = book.hops()
    assert (hop.decision, hop.stub, hop.status, hop.error) == ("stub", "s", 418, "fault")
    client.send(keyed())
    book.shadow.accept().send(OK)
    assert served_by(client.new()) == ["shop/users;sandbox=agent-42;rev=3"]
    client.send(keyed())
    assert served_by(client.new()) == ["shop/users;error=fault;stub=s"]


def test_a_reset_ends_the_connection(make_book: MakeBook, step: int) -> None:
    book = ruled(make_book, rule("reset"), step=step)
    client = book.connect(book.inbound())
    client.send(keyed())
    assert client.got == b""
    assert client.calls == ["reset"]
    assert book.counters.inbound.failures == {"fault": 1}
    (hop,) = book.hops()
    assert (hop.stub, hop.status, hop.error) == ("s", 0, "fault")


def test_a_timeout_leaves_a_request_without_an_answer(make_book: MakeBook) -> None:
    book = ruled(make_book, rule("timeout"))
    client = book.connect(book.inbound())
    client.send(keyed())
    book.pass_ticks(SETTINGS.response_ticks - 1)
    assert client.got == b""
    book.pass_ticks(1)
    assert problem(client.got)["status"] == 504
    assert served_by(client.got) == ["shop/users;error=fault;stub=s"]


def test_rules_that_change_are_in_force_at_once(make_book: MakeBook, step: int) -> None:
    book = ruled(make_book, rule(body="one", times=1), step=step)
    client = book.connect(book.inbound())
    client.send(keyed())
    assert client.new().endswith(b"one")
    client.send(keyed())
    shadow = book.shadow.accept()
    shadow.send(OK)
    client.new()
    book.table.put_rules("agent-42", [rule(body="two")])
    client.send(keyed())
    assert client.new().endswith(b"two")
    book.table.replace_rules({})
    client.send(keyed())
    shadow.send(OK)
    assert served_by(client.new()) == ["shop/users;sandbox=agent-42;rev=3"]


def test_a_request_that_was_held_up_is_not_asked_about_twice(make_book: MakeBook, step: int) -> None:
    """Its rules were asked before; another answer now would be one to a second request."""
    book = ruled(make_book, rule(body="second", percent=50), step=step, routes=[unready()])
    side = book.inbound()
    first, held, third = (book.connect(side) for _ in range(3))
    first.send(keyed())
    assert first.got.endswith(b"second")
    held.send(keyed())
    assert held.got == b""
    book.table.put(ready())
    book.shadow.accept().send(OK)
    assert served_by(held.got) == ["shop/users;sandbox=agent-42;rev=3"]
    third.send(keyed())
    assert third.got.endswith(b"second")


def test_beside_a_shadow_they_were_applied_before(make_book: MakeBook) -> None:
    book = ruled(make_book, rule(body="stub"))
    client = book.connect(book.inbound(sandbox="agent-42", revision=3))
    client.send(keyed())
    book.app.accept().send(OK)
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]


class TestHosts:
    """What no sidecar stands before, at the outbound side of whoever calls it."""

    def test_a_call_is_answered_and_the_answer_to_its_cause_says_so(self, make_book: MakeBook, step: int) -> None:
        book = ruled(make_book, rule(workload="", host="api.example.com", body="stubbed"), step=step, routes=[])
        client = book.connect(book.inbound())
        client.send(keyed("agent-42", "/", TRACE))
        app = book.app.accept()
        call = book.connect(book.outbound(HOST))
        call.send(get("/pay", TRACE))
        assert call.got.endswith(b"stubbed")
        assert book.pool(HOST).dialled == 0
        app.send(OK)
        assert served_by(client.got) == ["shop/users;baseline, api.example.com:80;stub=s"]
        hops = {hop.side: hop for hop in book.hops()}
        assert (hops["outbound"].stub, hops["outbound"].parent) == ("s", hops["inbound"].id)

    def test_a_call_that_nobody_s_request_has_caused(self, make_book: MakeBook) -> None:
        book = ruled(make_book, rule("status", workload="", host="api.example.com", status=500), routes=[])
        call = book.connect(book.outbound(HOST))
        call.send(keyed())
        assert problem(call.got)["status"] == 500

    def test_a_delayed_call_goes_on(self, make_book: MakeBook, step: int) -> None:
        book = ruled(make_book, rule("delay", workload="", host="api.example.com", delay_ms=200), step=step, routes=[])
        call = book.connect(book.outbound(HOST))
        call.send(keyed())
        book.pass_ticks(2)
        book.pool(HOST).accept().send(OK)
        assert call.got.endswith(b"ok")
        (hop,) = book.hops()
        assert (hop.decision, hop.stub, hop.peer) == ("forward", "s", "api.example.com:80")

    def test_rules_that_change_are_in_force_at_once(self, make_book: MakeBook, step: int) -> None:
        book = ruled(make_book, rule(workload="", host="api.example.com", body="stubbed"), step=step, routes=[])
        side = book.outbound(HOST)
        other = side.on_behalf("agent-7")
        call = book.connect(side)
        call.send(keyed())
        assert call.new().endswith(b"stubbed")
        book.table.put_rules("agent-42", ())
        side.rules_changed()
        assert other.rules is side.rules
        call.send(keyed())
        book.pool(HOST).accept().send(OK)
        assert call.new().endswith(b"ok")

    def test_where_the_caller_chose_an_address_the_request_names_the_host(self, make_book: MakeBook, step: int) -> None:
        book = ruled(make_book, rule(workload="", host="api.example.com", body="stubbed"), step=step, routes=[])
        call = book.connect(book.outbound(Endpoint("10.0.0.1", 80), relays=True))
        call.send(keyed().replace(b"host: users", b"host: api.example.com"))
        assert call.new().endswith(b"stubbed")
        call.send(keyed())
        book.pool(Endpoint("10.0.0.1", 80)).accept().send(OK)
        assert call.new().endswith(b"ok")

    def test_a_tunnel_is_nobody_s_to_answer(self, make_book: MakeBook) -> None:
        book = ruled(make_book, rule(workload="", host="api.example.com", body="stubbed"), routes=[])
        call = book.connect(book.outbound(None))
        call.send(
            b"CONNECT api.example.com:443 HTTP/1.1\r\nhost: api.example.com\r\nbaggage: routing-key=agent-42\r\n\r\n"
        )
        book.pool(Endpoint("api.example.com", 443)).accept()
        assert call.got.startswith(b"HTTP/1.1 200")


class TestExpected:
    """`skycap-expect`: who has to serve a request, judged by its entry."""

    def test_who_was_expected_has_served(self, make_book: MakeBook, step: int) -> None:
        book = make_book(routes=[ready()], step=step)
        client = book.connect(book.inbound())
        client.send(keyed("agent-42", "/", "skycap-expect: shop/users@3"))
        shadow = book.shadow.accept()
        assert b"skycap-expect" not in shadow.got
        shadow.send(OK)
        assert client.got.startswith(b"HTTP/1.1 200")
        assert served_by(client.new()) == ["shop/users;sandbox=agent-42;rev=3"]
        client.send(keyed())
        shadow.send(OK)
        assert client.new().startswith(b"HTTP/1.1 200"), "the next request expects nothing"

    def test_another_one_has_served(self, make_book: MakeBook, step: int) -> None:
        book = make_book(routes=[ready()], step=step)
        side = book.inbound()
        client = book.connect(side)
        client.send(keyed("agent-42", "/", "skycap-expect: shop/users@4"))
        book.shadow.accept().send(OK)
        document = problem(client.got)
        assert (document["code"], document["status"]) == ("unexpected-server", 421)
        assert document["detail"] == (
            "revision 4 of a shadow of shop/users was expected, and it was shop/users;sandbox=agent-42;rev=3"
        )
        other = book.connect(side)
        other.send(keyed("nobody", "/", "skycap-expect: shop/users"))
        book.app.accept().send(OK)
        assert "and it was shop/users;baseline" in problem(other.got)["detail"]

    def test_a_shadow_s_own_sidecar_has_said_it_all(self, make_book: MakeBook) -> None:
        book = make_book(routes=[ready()])
        client = book.connect(book.inbound())
        client.send(keyed("agent-42", "/", "skycap-expect: shop/users@3, shop/pay"))
        shadow = book.shadow.accept()
        told = b"shop/users;sandbox=agent-42;rev=3, shop/pay;baseline"
        hop = field_lines(shadow.got, "skycap-hop")[0].encode()
        shadow.send(OK.replace(b"\r\n\r\n", b"\r\nskycap-served-by: %b\r\nskycap-hop: %b\r\n\r\n" % (told, hop)))
        assert "a shadow of shop/pay was expected, and it was shop/pay;baseline" in problem(client.got)["detail"]

    def test_inside_the_entry_nobody_judges(self, make_book: MakeBook) -> None:
        book = make_book(routes=[ready()])
        client = book.connect(book.inbound())
        client.send(keyed("agent-42", "/", "skycap-expect: shop/pay", "skycap-hop: 0123456789abcdef"))
        book.shadow.accept().send(OK)
        assert client.got.startswith(b"HTTP/1.1 200")

    @pytest.mark.parametrize(
        ("request_head", "status", "said"),
        [
            (get("/", "skycap-expect: shop/users"), 421, "has no routing key"),
            (keyed("agent-42", "/", "skycap-expect: users"), 400, "is not NAMESPACE/NAME"),
        ],
    )
    def test_an_expectation_that_nobody_can_meet(
        self, make_book: MakeBook, request_head: bytes, status: int, said: str
    ) -> None:
        book = make_book(routes=[ready()])
        client = book.connect(book.inbound())
        client.send(request_head)
        document = problem(client.got)
        assert document["status"] == status
        assert said in document["detail"]
        assert book.shadow.dialled == book.app.dialled == 0

    def test_a_stub_is_not_who_was_expected(self, make_book: MakeBook) -> None:
        book = ruled(make_book, rule(body="stub"))
        client = book.connect(book.inbound())
        client.send(keyed("agent-42", "/", "skycap-expect: shop/users"))
        assert json.loads(client.got.partition(b"\r\n\r\n")[2])["code"] == "unexpected-server"

    def test_an_error_of_our_own_is_no_green_answer_either(self, make_book: MakeBook) -> None:
        book = make_book(routes=[unready(state=State.FAILED)])
        client = book.connect(book.inbound())
        client.send(keyed("agent-42", "/", "skycap-expect: shop/users"))
        assert problem(client.got)["code"] == "shadow-unreachable"
