"""The outbound side: whose key a call carries, and where it goes."""

from __future__ import annotations

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange.outbound import MAX_ON_BEHALF
from proxy.routing.trace import TRACE_FIELDS
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import (
    OK,
    TARGET,
    Client,
    Playbook,
    PlayedUpstream,
    field_lines,
    get,
    keyed,
    problem,
    proven,
    uncached,
    untold,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"traceparent: 00-{TRACE_ID}-00f067aa0ba902b7-01"
CHILD = f"traceparent: 00-{TRACE_ID}-1111111111111111-01"
KEY_LINE = b"baggage: routing-key=agent-42\r\n"


def work_on(book: Playbook, request: bytes) -> tuple[Client, PlayedUpstream]:
    """A request that the application works on, and so may make calls for."""
    client = book.connect(book.inbound())
    client.send(request)
    return client, book.app.accept() if book.app.dials else book.app.made[-1]


def call(book: Playbook, request: bytes, *, own_key: str = "") -> bytes:
    """What the callee gets of a call."""
    client = book.connect(book.outbound(own_key=own_key))
    client.send(request)
    target = book.target
    upstream = target.accept() if target.dials else target.made[-1]
    got = untold(upstream.new())
    upstream.send(OK)
    assert client.got == (uncached(OK) if b"routing-key=" in got else OK)
    return got


# -- whose key ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", ["baggage: routing-key=agent-7", "tracestate: routing-key=agent-7"])
def test_a_key_that_is_there_passes_untouched(make_book: MakeBook, step: int, carrier: str) -> None:
    """(a), whatever trace and sandbox say."""
    book = make_book(step=step)
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    request = get("/charge", carrier, CHILD)
    assert call(book, request, own_key="agent-9") == request
    assert book.reports.losses == []


@pytest.mark.parametrize(
    "line",
    [
        CHILD,
        f"b3: {TRACE_ID}-1111111111111111-1",
        f"b3: {TRACE_ID[16:]}-1111111111111111",
        f"X-B3-TraceId: {TRACE_ID}",
        f"uber-trace-id: {TRACE_ID}:1:0:1",
        "x-datadog-trace-id: 11803532876627986230",
        "x-amzn-trace-id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=1111111111111111;Sampled=1",
        f"sentry-trace: {TRACE_ID}-1111111111111111",
        f"request-id: |{TRACE_ID}.1.",
    ],
)
def test_a_trace_leads_back_to_its_key(make_book: MakeBook, step: int, line: str) -> None:
    """(b), in whichever format the application forwards it."""
    book = make_book(step=step)
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    assert call(book, get("/charge", line)) == get("/charge", line)[:-2] + KEY_LINE + b"\r\n"
    assert book.counters.outbound.key_carriers == {"trace": 1}
    assert book.counters.outbound.requests["forward"][2] == 1
    assert book.spans.seen == [("GET", "agent-42", 200, "")]


def test_a_fresh_trace_leads_back_to_its_key(make_book: MakeBook, step: int) -> None:
    """The application forwards what we gave it, in one of the formats."""
    book = make_book(step=step)
    _, app = work_on(book, keyed())
    for name in TRACE_FIELDS:
        (value,) = field_lines(app.got, name)
        assert KEY_LINE in call(book, get("/charge", f"{name}: {value}"))


def test_a_configured_header_leads_back_to_its_key(make_book: MakeBook) -> None:
    book = make_book(trace_headers=["x-correlation"])
    work_on(book, keyed("agent-42", "/", "x-correlation: C 1"))
    assert KEY_LINE in call(book, get("/", "X-Correlation: c 1"))


def test_a_trace_is_remembered_behind_its_request(make_book: MakeBook) -> None:
    """Applications go on calling after they have answered."""
    book = make_book()
    child = CHILD.replace(TRACE_ID, "3" * 32)
    _, app = work_on(book, keyed("agent-42", "/", TRACEPARENT.replace(TRACE_ID, "3" * 32)))
    app.send(OK)
    for _ in range(2):
        book.correlation.rotate()
        assert KEY_LINE in call(book, get("/later", child))
    book.correlation.rotate()
    assert call(book, get("/much-later", child)) == get("/much-later", child)


def test_beside_a_shadow_all_that_is_sent_is_the_sandboxes(make_book: MakeBook, step: int) -> None:
    """(c), unless the trace knows better."""
    book = make_book(step=step)
    assert call(book, get("/tick"), own_key="agent-42") == get("/tick")[:-2] + KEY_LINE + b"\r\n"
    assert book.counters.outbound.key_carriers == {"sandbox": 1}
    work_on(book, keyed("agent-7", "/", TRACEPARENT))
    assert b"baggage: routing-key=agent-7\r\n" in call(book, get("/", CHILD), own_key="agent-42")
    assert book.reports.losses == []


def test_an_application_that_copies_all_fields_but_the_key(make_book: MakeBook, step: int) -> None:
    """What its sidecar had added is known at once, there and at the next sidecar, which adds nothing to it."""
    book = make_book(step=step)
    own = f"traceparent: 00-{'c' * 32}-00f067aa0ba902b7-01", "x-request-id: 6f1b1f0e-7b1e"
    _, app = work_on(book, keyed("agent-42", "/", *own))
    copy = untold(app.got).replace(KEY_LINE, b"")
    assert b"\r\nsw8: " in copy
    called = call(book, copy)
    assert called == copy[:-2] + KEY_LINE + b"\r\n"
    _, callee = work_on(make_book(step=step), called)
    assert untold(callee.got) == called


def test_otherwise_nothing_is_added(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    for request in (get("/"), get("/", CHILD, "baggage: user=1")):
        assert call(book, request) == request
    assert book.reports.losses == []
    assert book.spans.seen == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["baggage: a=1"], "baggage: routing-key=agent-42,a=1"),
        (["Baggage:  a=1;p=q , b= 2 "], "baggage: routing-key=agent-42,a=1;p=q , b= 2"),
        (["baggage: a=1", "x: y", "BAGGAGE: undefined,b=2"], "baggage: routing-key=agent-42,a=1,undefined,b=2"),
        (["baggage: "], "baggage: routing-key=agent-42"),
    ],
)
def test_other_members_are_left_alone(make_book: MakeBook, step: int, lines: list[str], expected: str) -> None:
    """One field with all of them, byte for byte, and the key in front."""
    book = make_book(step=step)
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    got = call(book, get("/", CHILD, *lines))
    others = [line for line in lines if not line.lower().startswith("baggage")]
    assert got == get("/", CHILD, *others, expected)


@pytest.mark.parametrize(
    "line", [",".join(f"m{number}=1" for number in range(180)), "a=" + "x" * 20_000], ids=["members", "bytes"]
)
def test_there_is_always_room_for_the_key(make_book: MakeBook, step: int, line: str) -> None:
    """W3C Baggage section 3.3.2: 64 members and 8,192 bytes are what must be let through, and no maximum."""
    book = make_book(step=step)
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    got = call(book, get("/", f"baggage: {line}", CHILD))
    assert field_lines(got, "baggage") == [f"routing-key=agent-42,{line}"]
    assert book.reports.losses == []


def test_carriers_of_a_call_that_disagree_become_one(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    got = call(book, get("/", "baggage: a=1,routing-key=agent-7,routing-key=agent-42", "tracestate: routing-key=x,v=1"))
    assert field_lines(got, "baggage") == ["routing-key=agent-42,a=1"]
    assert field_lines(got, "tracestate") == ["v=1"]
    assert book.counters.outbound.key_conflicts == 1


def test_a_call_that_cannot_be_told_apart_is_reported(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    _, app = work_on(book, keyed())
    side = book.outbound()
    client = book.connect(side)
    client.send(b"POST /charge HTTP/1.1\r\nhost: payments\r\ncontent-length: 0\r\n\r\n")
    assert book.reports.losses == [(str(TARGET), "POST", "/charge")]
    assert side.keys_lost == 1
    client.exchange.client_lost()
    app.send(OK)
    call(book, get("/"))
    assert len(book.reports.losses) == 1, "no keyed request is in flight any more"


def test_a_call_with_a_trace_that_nobody_knows_is_reported(make_book: MakeBook, step: int) -> None:
    """The application may have begun it for the keyed request that is in flight."""
    book = make_book(step=step)
    client, app = work_on(book, keyed())
    call(book, get("/", "x-request-id: something-else", "b3: 0"))
    assert book.reports.losses == [(str(TARGET), "GET", "/")]
    assert book.reports.reasons == ["b3,x-request-id"]
    app.send(OK)
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;baseline;lost=1"]
    client.new()
    client.send(keyed())
    app.send(OK)
    assert field_lines(client.new(), "skycap-served-by") == ["shop/users;baseline"], "nothing was lost since"


def test_a_loss_is_told_by_all_who_may_be_concerned(make_book: MakeBook) -> None:
    """Also when it is an error that they get, and not by those who have no key."""
    book = make_book()
    one, app_one = work_on(book, keyed("one"))
    two, app_two = work_on(book, keyed("two"))
    nobody, app_nobody = work_on(book, get("/", "x-request-id: unkeyed"))
    call(book, get("/"))
    app_one.send(OK)
    app_two.vanish(error=True)
    app_nobody.send(OK)
    assert field_lines(one.got, "skycap-served-by") == ["shop/users;baseline;lost=1"]
    assert field_lines(two.got, "skycap-served-by") == ["shop/users;error=upstream-reset;lost=1"]
    assert nobody.got == OK


def test_a_call_of_an_unkeyed_request_has_lost_nothing(make_book: MakeBook, step: int) -> None:
    """When it is known whose it is."""
    book = make_book(step=step)
    work_on(book, keyed())
    work_on(book, get("/", "x-request-id: theirs", TRACEPARENT))
    for line in ("x-request-id: theirs", CHILD):
        assert call(book, get("/", line)) == get("/", line)
    assert book.reports.losses == []


@pytest.mark.parametrize(
    "lines",
    [
        ["x-request-id: 1001"],
        [TRACEPARENT.replace(TRACE_ID, "7" * 32)],
        ["b3: 1111111111111111-1111111111111111-1"],
        ["x-request-id: " + "x" * 99],
        [f"traceparent: 00-{'0' * 16}{'7' * 16}-1111111111111111-01"],
        ["connection: x", "x-request-id: 1001"],
    ],
    ids=lambda lines: lines[0][:20],
)
@pytest.mark.parametrize("keyed_comes", ["before", "while", "and stays"])
def test_nobody_takes_an_unkeyed_requests_calls(
    make_book: MakeBook, step: int, lines: list[str], keyed_comes: str
) -> None:
    """Whoever guesses its id, and whenever: neither while it is in flight, nor for its late calls."""
    book = make_book(step=step)
    forwarded = get("/", *[line for line in lines if not line.startswith("connection")])
    guess = keyed("evil", "/", *[line for line in lines if not line.startswith("connection")])
    if keyed_comes != "while":
        _, evil = work_on(book, guess)
        if keyed_comes == "before":
            evil.send(OK)
    _, app = work_on(book, get("/", *lines))
    if keyed_comes == "while":
        work_on(book, guess)
    assert call(book, forwarded) == forwarded
    app.send(OK)
    assert call(book, forwarded) == forwarded
    assert len(book.reports.losses) == 2
    assert all(reason.startswith("disputed ") for reason in book.reports.reasons)


def test_those_who_are_in_flight_without_ids_are_left_alone(make_book: MakeBook) -> None:
    book = make_book()
    _, app = work_on(book, get("/"))
    _, busy = work_on(book, get("/", "x-request-id: 1"))
    idle = book.connect(book.inbound())
    work_on(book, keyed())
    work_on(book, get("/2"))
    app.send(OK)
    busy.send(OK)
    assert idle.got == b""
    assert book.correlation.keyed_in_flight == 1


def test_an_id_of_two_keys_names_none(make_book: MakeBook, step: int) -> None:
    """Two agents with the same example from a page: neither gets the other's key, and both are told."""
    book = make_book(step=step)
    one, app_one = work_on(book, keyed("one", "/", TRACEPARENT))
    two, app_two = work_on(book, keyed("two", "/", TRACEPARENT))
    assert call(book, get("/", CHILD)) == get("/", CHILD)
    assert book.reports.reasons == ["disputed traceparent"]
    made = field_lines(app_two.got, "x-request-id")[0]
    assert b"baggage: routing-key=two\r\n" in call(book, get("/", CHILD, f"x-request-id: {made}"))
    for client, app in ((one, app_one), (two, app_two)):
        app.send(OK)
        assert field_lines(client.got, "skycap-served-by") == ["shop/users;baseline;lost=1"]


def test_a_malformed_key_of_the_call_is_counted_and_the_trace_decides(make_book: MakeBook) -> None:
    book = make_book()
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    got = call(book, get("/", "baggage: routing-key=no key", CHILD))
    assert field_lines(got, "baggage") == ["routing-key=agent-42,routing-key=no key"]
    assert book.counters.outbound.keys_malformed == 1


# -- one upstream -------------------------------------------------------------------------------------------------


def test_all_calls_go_to_the_one_upstream(make_book: MakeBook, step: int) -> None:
    """Whatever they call it; the host is theirs to choose."""
    book = make_book(step=step)
    assert call(book, get("/").replace(b"users", b"payments.shop")) == get("/").replace(b"users", b"payments.shop")
    got = call(book, b"GET http://payments.shop/a HTTP/1.1\r\nhost: x\r\n\r\n")
    assert got == b"GET /a HTTP/1.1\r\nhost: payments.shop\r\n\r\n"
    old = get("/", "x: y").replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"host: users\r\n", b"")
    client = book.connect(book.outbound())
    client.send(old)
    book.target.made[-1].send(OK)
    assert book.target.made[-1].got.endswith(f"GET / HTTP/1.1\r\nx: y\r\nhost: {TARGET}\r\n\r\n".encode())


def test_its_answers_pass_untouched(make_book: MakeBook, step: int) -> None:
    """Also what the callee's sidecar says: the application may read it."""
    book = make_book(step=step)
    client = book.connect(book.outbound(own_key="agent-42"))
    answer = OK.replace(b"\r\n\r\n", b"\r\nskycap-served-by: shop/payments;baseline\r\n\r\n")
    client.send(get())
    target = book.target.accept()
    target.send(proven(target.got, answer))
    assert client.got == uncached(answer)


@pytest.mark.parametrize("echoed", ["", "skycap-hop: 0123456789abcdef\r\n", "skycap-hop:\r\n"])
def test_a_target_without_a_sidecar_says_nothing_in_its_name(make_book: MakeBook, step: int, echoed: str) -> None:
    """Nobody is told a hop and names it but sidecars."""
    book = make_book(step=step)
    client, app = work_on(book, keyed("agent-42", "/", TRACEPARENT))
    caller = book.connect(book.outbound())
    caller.send(get("/", CHILD))
    claims = f"skycap-served-by: shop/users;sandbox=x;rev=9\r\nSkycap-Error: loop\r\n{echoed}".encode()
    book.target.accept().send(OK.replace(b"\r\n\r\n", b"\r\n" + claims + b"\r\n"))
    assert caller.got == uncached(OK)
    app.send(OK)
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;baseline"]


def test_without_a_key_what_the_target_says_is_its_own(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.outbound())
    client.send(get())
    answer = OK.replace(b"\r\n\r\n", b"\r\nskycap-error: loop\r\n\r\n")
    book.target.accept().send(answer)
    assert client.got == answer


def test_a_call_from_nobody_in_flight_may_be_answered_by_a_sidecar(make_book: MakeBook) -> None:
    """A job beside a shadow: there is nobody to tell."""
    book = make_book()
    client = book.connect(book.outbound(own_key="agent-42"))
    client.send(get())
    target = book.target.accept()
    target.send(proven(target.got, OK.replace(b"\r\n\r\n", b"\r\nskycap-error: app-unreachable\r\n\r\n")))
    assert field_lines(client.got, "skycap-error") == ["app-unreachable"]
    assert field_lines(client.got, "skycap-hop") == []


def test_it_may_be_down(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.outbound())
    client.send(get())
    book.target.refuse()
    document = problem(client.got)
    assert (document["code"], document["status"]) == ("app-unreachable", 502)
    assert document["detail"] == f"the upstream at {TARGET} does not accept connections: connection refused"
    assert document["title"] == "What the application calls cannot be reached"
    assert "--outbound" in document["hint"]


def test_keys_of_others_share_its_connections(make_book: MakeBook) -> None:
    book = make_book()
    client = book.connect(book.outbound(own_key="agent-42"))
    for request in (get(), keyed("agent-7"), keyed("agent-42"), get()):
        client.send(request)
        (book.target.accept() if book.target.dials else book.target.made[-1]).send(OK)
    assert book.target.dialled == 1


# -- forward proxy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "host", "endpoint"),
    [
        ("http://payments.shop/a?b", "payments.shop", Endpoint("payments.shop", 80)),
        ("http://payments.shop:8080", "payments.shop:8080", Endpoint("payments.shop", 8080)),
        ("HTTP://127.0.0.1:9/", "127.0.0.1:9", Endpoint("127.0.0.1", 9)),
        ("http://[::1]:8080/", "[::1]:8080", Endpoint("::1", 8080)),
        ("http://[::1]/", "[::1]", Endpoint("::1", 80)),
        ("http://payments.shop:/", "payments.shop:", Endpoint("payments.shop", 80)),
    ],
)
def test_a_call_names_its_own_destination(
    make_book: MakeBook, step: int, target: str, host: str, endpoint: Endpoint
) -> None:
    book = make_book(step=step)
    client = book.connect(book.outbound(None))
    client.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nProxy-Connection: keep-alive\r\na: b\r\n\r\n".encode())
    upstream = book.pool(endpoint).accept()
    path = target.partition("://")[2][len(host) :] or "/"
    assert upstream.got == f"GET {path} HTTP/1.1\r\na: b\r\nhost: {host}\r\n\r\n".encode()
    upstream.send(OK)
    assert client.got == OK
    assert book.pool(endpoint).idle == [upstream]


def test_each_call_of_a_connection_may_go_elsewhere(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.outbound(None))
    for name in ("a.shop", "b.shop", "a.shop"):
        client.send(f"GET http://{name}/ HTTP/1.1\r\nhost: {name}\r\n\r\n".encode())
        pool = book.pool(Endpoint(name, 80))
        (pool.accept() if pool.dials else pool.made[-1]).send(OK)
    assert client.got == OK * 3
    assert book.pool(Endpoint("a.shop", 80)).dialled == 1


def test_keys_are_carried_to_all_of_them(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    client = book.connect(book.outbound(None))
    client.send(f"GET http://a.shop/ HTTP/1.1\r\nhost: a.shop\r\n{CHILD}\r\n\r\n".encode())
    got = untold(book.pool(Endpoint("a.shop", 80)).accept().got)
    assert got == f"GET / HTTP/1.1\r\n{CHILD}\r\nhost: a.shop\r\n".encode() + KEY_LINE + b"\r\n"
    client = book.connect(book.outbound(None))
    client.send(b"GET http://b.shop/x HTTP/1.1\r\nhost: b.shop\r\n\r\n")
    assert book.reports.losses == [("b.shop", "GET", "http://b.shop/x")]


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("/a", "a forward proxy needs the target as http://HOST/PATH"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://2852039166/", "no valid host"),
        ("http://a.shop:0/", "port from 1 to 65535"),
        ("http://a.shop:70000/", "port from 1 to 65535"),
        ("https://a.shop/", "neither a path nor an http:// URI"),
    ],
)
def test_a_destination_that_is_none(make_book: MakeBook, step: int, target: str, what: str) -> None:
    book = make_book(step=step)
    client = book.connect(book.outbound(None))
    client.send(f"GET {target} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    document = problem(client.got)
    assert document["code"] == "bad-request"
    assert what in document["detail"]
    assert client.calls == ["write_eof"]


def test_calls_of_a_shadows_process_have_its_key(book: Playbook) -> None:
    """A shadow that was not told of its own sidecar calls that of the baseline."""
    side = book.outbound()
    behalf = [side.on_behalf(key) for key in ("agent-42", "agent-7")]
    assert side.on_behalf("agent-42") is behalf[0]
    for one, key in zip(behalf, ("agent-42", "agent-7"), strict=True):
        caller = book.connect(one)
        caller.send(get("/x"))
        mail = book.pool(TARGET).accept() if book.pool(TARGET).dials else book.pool(TARGET).made[-1]
        assert untold(mail.new()) == get("/x", f"baggage: routing-key={key}")
        mail.send(OK)
    side.drain()
    assert behalf[0].draining
    for number in range(MAX_ON_BEHALF):
        assert side.on_behalf(f"more-{number}").draining
    assert side.on_behalf("agent-42") is not behalf[0], "more of them than are kept"
