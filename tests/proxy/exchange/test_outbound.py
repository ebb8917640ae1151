"""The outbound side: whose key a call carries, and where it goes."""

from __future__ import annotations

import pytest

from proxy.contract.routes import Endpoint
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
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"traceparent: 00-{TRACE_ID}-00f067aa0ba902b7-01"
CHILD = f"traceparent: 00-{TRACE_ID}-1111111111111111-01"
KEY_LINE = b"baggage: routing-key=agent-42\r\n"


def work_on(book: Playbook, request: bytes) -> tuple[Client, PlayedUpstream]:
    """A request that the application works on, and so may make calls for."""
    client = book.connect(book.inbound())
    client.send(request)
    return client, book.app.accept()


def call(book: Playbook, request: bytes, *, own_key: str = "") -> bytes:
    """What the callee gets of a call."""
    client = book.connect(book.outbound(own_key=own_key))
    client.send(request)
    target = book.target
    upstream = target.accept() if target.dials else target.made[-1]
    got = upstream.new()
    upstream.send(OK)
    assert client.got == OK
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
        "x-request-id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
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
    for name in ("traceparent", "b3", "x-request-id"):
        (value,) = field_lines(app.got, name)
        assert KEY_LINE in call(book, get("/charge", f"{name}: {value}"))


def test_a_configured_header_leads_back_to_its_key(make_book: MakeBook) -> None:
    book = make_book(trace_headers=["x-correlation"])
    work_on(book, keyed("agent-42", "/", "x-correlation: C 1"))
    assert KEY_LINE in call(book, get("/", "X-Correlation: c 1"))


def test_a_trace_is_remembered_behind_its_request(make_book: MakeBook) -> None:
    """Applications go on calling after they have answered."""
    book = make_book()
    _, app = work_on(book, keyed("agent-42", "/", TRACEPARENT))
    app.send(OK)
    book.correlation.rotate()
    assert KEY_LINE in call(book, get("/later", CHILD))
    book.correlation.rotate()
    assert call(book, get("/much-later", CHILD)) == get("/much-later", CHILD)


def test_beside_a_shadow_all_that_is_sent_is_the_sandboxes(make_book: MakeBook, step: int) -> None:
    """(c), unless the trace knows better."""
    book = make_book(step=step)
    assert call(book, get("/tick"), own_key="agent-42") == get("/tick")[:-2] + KEY_LINE + b"\r\n"
    assert book.counters.outbound.key_carriers == {"sandbox": 1}
    work_on(book, keyed("agent-7", "/", TRACEPARENT))
    assert b"baggage: routing-key=agent-7\r\n" in call(book, get("/", CHILD), own_key="agent-42")
    assert book.reports.losses == []


def test_otherwise_nothing_is_added(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    for request in (get("/"), get("/", CHILD, "baggage: user=1")):
        assert call(book, request) == request
    assert book.reports.losses == []
    assert book.spans.seen == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["baggage: a=1"], "baggage: a=1,routing-key=agent-42"),
        (["Baggage:  a=1;p=q , b= 2 "], "baggage: a=1;p=q , b= 2,routing-key=agent-42"),
        (["baggage: a=1", "x: y", "BAGGAGE: undefined,b=2"], "baggage: a=1,undefined,b=2,routing-key=agent-42"),
        (["baggage: "], "baggage: routing-key=agent-42"),
    ],
)
def test_other_members_are_left_alone(make_book: MakeBook, step: int, lines: list[str], expected: str) -> None:
    """One field with all of them, byte for byte, and the key behind."""
    book = make_book(step=step)
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    got = call(book, get("/", CHILD, *lines))
    others = [line for line in lines if not line.lower().startswith("baggage")]
    assert got == get("/", CHILD, *others, expected)


def test_the_members_of_the_specification_and_no_more(make_book: MakeBook, step: int) -> None:
    """W3C Baggage section 3.3.2: 64 members, 8192 bytes. What does not fit would be lost on the way anyway."""
    book = make_book(step=step)
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    for fits, line in [
        (True, ",".join(f"m{number}=1" for number in range(63))),
        (False, ",".join(f"m{number}=1" for number in range(64))),
        (True, "a=" + "x" * (8192 - len(",routing-key=agent-42") - 2)),
        (False, "a=" + "x" * (8192 - len(",routing-key=agent-42") - 1)),
    ]:
        request = get("/", f"baggage: {line}", CHILD)
        got = call(book, request)
        if fits:
            assert field_lines(got, "baggage") == [f"{line},routing-key=agent-42"]
        else:
            assert got == request
    assert len(book.reports.losses) == 2


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


def test_a_call_with_a_trace_of_its_own_is_not_reported(make_book: MakeBook) -> None:
    """It belongs to something else: a job, or a request without a key."""
    book = make_book()
    work_on(book, keyed())
    call(book, get("/", "x-request-id: something-else"))
    assert book.reports.losses == []


def test_a_call_is_reported_even_when_the_traces_are_forgotten(make_book: MakeBook) -> None:
    book = make_book()
    work_on(book, keyed())
    book.correlation.rotate()
    book.correlation.rotate()
    call(book, get("/", "x-request-id: something-else"))
    assert book.reports.losses == []
    call(book, get("/"))
    assert len(book.reports.losses) == 1


def test_a_malformed_key_of_the_call_is_counted_and_the_trace_decides(make_book: MakeBook) -> None:
    book = make_book()
    work_on(book, keyed("agent-42", "/", TRACEPARENT))
    got = call(book, get("/", "baggage: routing-key=no key", CHILD))
    assert field_lines(got, "baggage") == ["routing-key=no key,routing-key=agent-42"]
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
    book.target.accept().send(answer)
    assert client.got == answer


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
    got = book.pool(Endpoint("a.shop", 80)).accept().got
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
