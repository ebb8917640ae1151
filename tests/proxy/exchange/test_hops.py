"""What keyed requests leave behind: hops with exact causes, and the messages of those that failed."""

from __future__ import annotations

import json

import pytest

from proxy.contract.hops import INBOUND, MAX_BODY_BYTES, OUTBOUND, Hop
from proxy.contract.routes import Endpoint, Route
from proxy.exchange.outbound import MAX_PLANS
from proxy.routing.captures import ALL, NONE
from proxy.telemetry.hops import CAPTURED_BYTES, RING_HOPS
from tests.proxy.exchange.playbook import INSTANCE, OK, TARGET, Playbook, field_lines, get, keyed, problem, ready

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"


def book(*routes: Route, step: int = 0) -> Playbook:
    return Playbook(routes=routes or [ready("agent-42")], hops=True, step=step)


def hop_field(message: bytes) -> str:
    """The `skycap-hop` of a request, which has to stand last."""
    (value,) = field_lines(message, "skycap-hop")
    assert message.partition(b"\r\n\r\n")[0].endswith(b"\r\nskycap-hop: " + value.encode())
    return value


def test_a_request_without_a_key_leaves_none() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(get())
    played.app.accept().send(OK)
    assert played.hops() == []
    assert b"skycap-hop" not in played.app.made[0].got
    played.ends_clean()


def test_a_request_to_the_application() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(keyed("other", "/users?x=1", PARENT))
    app = played.app.accept()
    played.clock.now += 0.25
    app.send(OK)
    assert b"skycap-hop" not in app.got
    (hop,) = played.hops()
    assert hop == Hop(
        "0000abcd00000001", "other", "shop/users", INBOUND, time=1000.0, trace=TRACE, instance="5c1d",
        decision="baseline", method="GET", path="/users?x=1", status=200, duration_ms=250.0, first_byte_ms=250.0,
        response_bytes=2,
    )  # fmt: skip
    played.ends_clean()


def test_a_shadow_is_told_the_cause_and_its_sidecar_takes_it_off() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(keyed("agent-42", "/", PARENT))
    shadow = played.shadow.accept()
    sent = shadow.got
    assert hop_field(sent) == "0000abcd00000001"
    shadow.send(OK)
    beside = played.connect(played.inbound(sandbox="agent-42", revision=3))
    beside.send(sent.replace(INSTANCE.encode(), b"other"))
    app = played.app.accept()
    app.send(OK)
    assert b"skycap-hop" not in app.got
    first, second = played.hops()
    assert (first.decision, first.sandbox, first.revision, first.parent) == ("shadow", "agent-42", 3, "")
    assert (second.sandbox, second.revision, second.parent) == ("agent-42", 3, first.id)
    played.ends_clean()


def test_a_call_names_the_request_that_caused_it() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(keyed("other", "/checkout", PARENT))
    app = played.app.accept()
    calls = played.connect(played.outbound())
    calls.send(get("/charge", PARENT))
    payments = played.target.accept()
    assert hop_field(payments.got) == "0000abcd00000002"
    payments.send(OK)
    app.send(OK)
    call, request = played.hops()
    assert (call.side, call.parent, call.peer, call.key) == (OUTBOUND, request.id, "127.0.0.1:9301", "other")
    assert (request.id, request.trace, call.trace) == ("0000abcd00000001", TRACE, TRACE)
    played.ends_clean()


def test_the_next_sidecar_names_the_call_as_its_cause() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(get("/", "baggage: routing-key=other", PARENT, "skycap-hop: 00000007000000aa"))
    app = played.app.accept()
    app.send(OK)
    assert b"skycap-hop" not in app.got
    assert played.hops()[0].parent == "00000007000000aa"
    played.ends_clean()


@pytest.mark.parametrize("lines", [("skycap-hop: 00000007000000aa", "x-last: 1"), ("SKYCAP-HOP:00000007000000aa",)])
@pytest.mark.parametrize("side", [INBOUND, OUTBOUND])
def test_a_cause_that_stands_elsewhere_is_taken_off_as_well(side: str, lines: tuple[str, ...]) -> None:
    played = book()
    inbound = side == INBOUND
    client = played.connect(played.inbound() if inbound else played.outbound())
    client.send(get("/", "baggage: routing-key=other", PARENT, *lines))
    upstream = (played.app if inbound else played.target).accept()
    upstream.send(OK)
    assert upstream.got.lower().count(b"skycap-hop") == (not inbound)
    assert b"00000007000000aa" not in upstream.got
    assert played.hops()[0].parent == ("00000007000000aa" if inbound else "")
    played.ends_clean()


@pytest.mark.parametrize("inbound", [True, False])
def test_a_key_whose_every_message_is_kept_and_one_of_which_none_is(inbound: bool) -> None:
    """Others are kept as before."""
    failed = b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\nboom"
    kept = []
    for key in ("every", "never", "usual"):
        for answer in (OK, failed):
            played = book()
            played.table.captures.change(["every"], ALL)
            played.table.captures.change(["never"], NONE)
            client = played.connect(played.inbound() if inbound else played.outbound())
            client.send(get("/", f"baggage: routing-key={key}", PARENT))
            (played.app if inbound else played.target).accept().send(answer)
            (hop,) = played.hops()
            kept.append(hop.response is not None and hop.response.body)
            played.ends_clean()
    assert kept == ["ok", "boom", False, False, False, "boom"]


def test_nothing_is_kept_of_our_own_answer_for_a_key_of_which_none_is() -> None:
    played = book()
    played.table.captures.replace({"agent-42": NONE})
    client = played.connect(played.inbound())
    client.send(keyed("agent-42", "/", PARENT))
    played.shadow.accept().vanish()
    (hop,) = played.hops()
    assert (hop.status, hop.request, hop.response) == (502, None, None)
    played.ends_clean()


def test_a_value_that_is_no_hop_is_no_cause() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(get("/", "baggage: routing-key=other", PARENT, "skycap-hop: <script>"))
    played.app.accept().send(OK)
    assert b"script" not in played.app.made[0].got
    assert played.hops()[0].parent == ""
    played.ends_clean()


def test_a_call_of_a_trace_that_nobody_here_began() -> None:
    played = book()
    calls = played.connect(played.outbound(own_key="agent-42"))
    calls.send(get("/", PARENT))
    calls.send(b"")
    played.target.accept().send(OK)
    (hop,) = played.hops()
    assert (hop.key, hop.parent) == ("agent-42", "")
    played.ends_clean()


def test_of_requests_with_one_id_the_latest_is_the_cause() -> None:
    played = book()
    side = played.inbound()
    for _ in range(2):
        played.connect(side).send(keyed("other", "/", PARENT))
    apps = [played.app.accept(), played.app.accept()]
    calls = played.connect(played.outbound())
    calls.send(get("/", PARENT))
    played.target.accept().send(OK)
    assert played.hops()[0].parent == "0000abcd00000002"
    for app in apps:
        app.send(OK)
    played.ends_clean()


def test_a_failure_brings_both_messages() -> None:
    played = book()
    client = played.connect(played.inbound())
    body = b'{"item": "tea"}'
    client.send(
        b"POST /buy HTTP/1.1\r\nhost: a\r\nbaggage: routing-key=other\r\nauthorization: Bearer s3cret\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    )
    said = b'{"error": "no tea"}'
    played.app.accept().send(
        b"HTTP/1.1 422 No\r\ncontent-type: application/json\r\nset-cookie: a\r\ncontent-length: %d\r\n\r\n" % len(said)
        + said
    )
    (hop,) = played.hops()
    assert hop.request is not None
    assert hop.response is not None
    assert (hop.request.body, hop.response.body) == ('{"item": "tea"}', '{"error": "no tea"}')
    assert dict(hop.request.headers)["authorization"] == "(redacted)"
    assert dict(hop.response.headers)["set-cookie"] == "(redacted)"
    assert (hop.request_bytes, hop.response_bytes) == (15, 19)
    assert played.ring.captured == 0
    played.ends_clean()


def test_a_good_answer_brings_none() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(keyed("other"))
    played.app.accept().send(OK)
    (hop,) = played.hops()
    assert (hop.request, hop.response) == (None, None)
    played.ends_clean()


def test_of_a_long_failure_the_beginning_is_kept() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(keyed("other"))
    app = played.app.accept()
    size = MAX_BODY_BYTES * 3
    app.send(b"HTTP/1.1 500 No\r\ncontent-length: %d\r\n\r\n" % size + b"a" * 100)
    for _ in range(3):
        app.send(b"b" * MAX_BODY_BYTES if _ < 2 else b"b" * (size - 100 - 2 * MAX_BODY_BYTES))
    (hop,) = played.hops()
    assert hop.response is not None
    assert hop.response.body == "a" * 100 + "b" * (MAX_BODY_BYTES - 100)
    assert (hop.response.truncated, hop.response.length) == (True, size)
    played.ends_clean()


def test_an_answer_of_our_own_is_told_with_its_words() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(keyed())
    played.shadow.refuse()
    (hop,) = played.hops()
    assert (hop.status, hop.error, hop.first_byte_ms) == (503, "shadow-unreachable", 0.0)
    assert hop.response is not None
    assert "connection refused" in json.loads(hop.response.body or "")["detail"]
    assert b"503" in client.got
    played.ends_clean()


def test_a_request_that_was_still_kept_when_we_answered_ourselves() -> None:
    played = book()
    client = played.connect(played.outbound(own_key="agent-42"))
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nwhat")
    played.target.refuse()
    (hop,) = played.hops()
    assert hop.request is not None
    assert hop.request.body == "what"
    played.ends_clean()


def test_a_fallback_says_why() -> None:
    played = book(ready("agent-42", fallback=True))
    client = played.connect(played.inbound())
    client.send(keyed())
    played.shadow.refuse()
    app = played.app.accept()
    app.send(OK)
    assert b"skycap-hop" not in app.got, "the application is no sidecar"
    (hop,) = played.hops()
    assert (hop.decision, hop.reason, hop.sandbox, hop.status) == ("fallback", "shadow-unreachable", "", 200)
    played.ends_clean()


def test_a_client_that_goes_away_is_told() -> None:
    played = book()
    client = played.connect(played.inbound())
    client.send(keyed("other"))
    played.app.accept()
    client.vanish()
    (hop,) = played.hops()
    assert (hop.status, hop.error) == (0, "client-lost")
    played.ends_clean()


def test_a_call_that_may_have_lost_its_key_is_told_for_every_key_in_flight() -> None:
    played = book()
    side = played.inbound()
    for key in ("one", "two", "two"):
        played.connect(side).send(keyed(key))
    apps = [played.app.accept() for _ in range(3)]
    calls = played.connect(played.outbound())
    calls.send(get("/list"))
    catalog = played.target.accept()
    catalog.send(OK)
    assert b"skycap-hop" not in catalog.got
    hops = played.hops()
    assert [(hop.key, hop.lost, hop.peer, hop.path, hop.status) for hop in hops] == [
        ("one", True, "127.0.0.1:9301", "/list", 200),
        ("two", True, "127.0.0.1:9301", "/list", 200),
    ]
    assert len({hop.id for hop in hops}) == 2
    for app in apps:
        app.send(OK)
    played.ends_clean()


def test_a_late_call_of_a_disputed_trace_is_told_of_nobody_in_flight() -> None:
    """It is counted, and no key is told that it was its call."""
    played = book()
    client = played.connect(played.inbound())
    app = played.app.keep()
    for request in (keyed("one", "/", "x-request-id: shared"), get("/", "x-request-id: shared")):
        client.send(request)
        app.send(OK)
    played.hops()
    calls = played.connect(played.outbound())
    calls.send(get("/late", "x-request-id: shared"))
    played.target.accept().send(OK)
    assert played.reports.reasons == ["disputed x-request-id"]
    assert played.hops() == []
    played.ends_clean()


def test_at_most_four_keys_are_suspected() -> None:
    played = book()
    side = played.inbound()
    for number in range(6):
        played.connect(side).send(keyed(f"k{number}"))
    apps = [played.app.accept() for _ in range(6)]
    calls = played.connect(played.outbound())
    calls.send(get())
    played.target.accept().send(OK)
    assert len(played.hops()) == 4
    for app in apps:
        app.send(OK)
    played.ends_clean()


def test_without_room_a_hop_goes_without_messages_and_says_so() -> None:
    played = book()
    assert played.ring.room(CAPTURED_BYTES)
    client = played.connect(played.inbound())
    client.send(keyed("other"))
    played.app.accept().send(b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno")
    (hop,) = played.hops()
    assert hop.response is not None
    assert (hop.response.body, hop.response.omitted, hop.response.length) == (None, "no room", 2)
    played.ends_clean()


def test_with_room_for_the_heads_alone_the_bodies_are_left_out() -> None:
    played = book()
    assert played.ring.room(CAPTURED_BYTES - 1_000)
    client = played.connect(played.inbound())
    client.send(keyed("other"))
    played.app.accept().send(b"HTTP/1.1 500 No\r\ncontent-length: 2000\r\n\r\n" + b"n" * 1_500 + b"o" * 500)
    (hop,) = played.hops()
    assert hop.response is not None
    assert (hop.response.omitted, hop.response.headers) == ("no room", (("content-length", "2000"),))
    played.ends_clean()


def test_a_request_that_is_refused_before_it_has_a_plan_takes_no_room() -> None:
    played = book()
    client = played.connect(played.inbound())
    head = b"POST / HTTP/1.1\r\nhost: a\r\nbaggage: routing-key=other\r\ntransfer-encoding: chunked\r\n\r\n"
    client.send(head + b"no chunk\r\n")
    assert client.got.startswith(b"HTTP/1.1 400 ")
    assert (played.hops(), played.ring.captured) == ([], 0)
    played.ends_clean()


def test_a_failing_call_that_may_have_lost_its_key_takes_no_room() -> None:
    played = book()
    played.connect(played.inbound()).send(keyed("one"))
    app = played.app.accept()
    calls = played.connect(played.outbound())
    calls.send(get("/list"))
    played.target.accept().send(b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\noops")
    (hop,) = played.hops()
    assert (hop.lost, hop.status, hop.response) == (True, 500, None)
    assert played.ring.captured == 0
    app.send(OK)
    played.ends_clean()


def test_plans_of_calls_are_kept_by_key_and_bounded() -> None:
    played = book()
    side = played.outbound()
    calls = played.connect(side)
    calls.send(keyed("first"))
    target = played.target.accept()
    target.send(OK)
    for number in range(MAX_PLANS):
        calls.send(keyed(f"k{number}"))
        target.send(OK)
    assert len(played.ring) == RING_HOPS
    assert {hop.key for hop in played.hops()[-2:]} == {f"k{MAX_PLANS - 2}", f"k{MAX_PLANS - 1}"}
    assert 0 < len(side._fixed) <= MAX_PLANS
    played.ends_clean()


def test_each_call_through_a_forward_proxy_names_its_peer() -> None:
    played = book()
    calls = played.connect(played.outbound(None, own_key="agent-42"))
    calls.send(b"GET http://127.0.0.1:9301/a HTTP/1.1\r\nhost: x\r\n\r\n")
    upstream = played.pool(Endpoint("127.0.0.1", 9301)).accept()
    assert hop_field(upstream.got)
    upstream.send(OK)
    assert played.hops()[0].peer == "127.0.0.1:9301"
    played.ends_clean()


@pytest.mark.parametrize("step", [1, 7])
def test_however_the_bytes_come(step: int) -> None:
    played = book(ready("agent-42"), step=step)
    client = played.connect(played.inbound())
    client.send(get("/", "baggage: routing-key=other", PARENT, "skycap-hop: 00000007000000aa"))
    app = played.app.accept()
    app.send(b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\noops")
    assert b"skycap-hop" not in app.got
    (hop,) = played.hops()
    assert hop.response is not None
    assert (hop.parent, hop.response.body) == ("00000007000000aa", "oops")
    played.ends_clean()


def test_a_loss_without_a_key_in_flight_is_nobody_s_hop() -> None:
    """Two keys have claimed the id, and both requests are over."""
    played = book()
    side = played.inbound()
    ours = [played.connect(side) for _ in range(2)]
    for client, key in zip(ours, ("one", "two"), strict=True):
        client.send(keyed(key, "/", "x-request-id: shared"))
    for app in [played.app.accept() for _ in ours]:
        app.send(OK)
    assert len(played.hops()) == 2
    calls = played.connect(played.outbound())
    calls.send(get("/", "x-request-id: shared"))
    played.target.accept().send(OK)
    assert [loss[0] for loss in played.reports.losses] == [str(TARGET)]
    assert played.hops() == []
    played.ends_clean()


def test_a_call_that_is_refused_before_anything_is_decided_leaves_none() -> None:
    played = book()
    client = played.connect(played.outbound())
    client.send(b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nbaggage: routing-key=agent-42\r\n\r\n")
    assert problem(client.got)["code"] == "unsupported-method"
    assert played.hops() == []
    assert client.exchange.passage.hop == b""
    played.ends_clean()
