"""The inbound side: keys and what they lead to, the trace context that it completes, loops."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from proxy.contract.routes import Endpoint, OnUnavailable, Route, State
from proxy.exchange import inbound
from proxy.routing.trace import TRACE_FIELDS
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import (
    APP,
    INSTANCE,
    OK,
    SHADOW,
    WORKLOAD,
    Playbook,
    PlayedPool,
    PlayedUpstream,
    field_lines,
    get,
    keyed,
    problem,
    proven,
    ready,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"traceparent: 00-{TRACE_ID}-00f067aa0ba902b7-01"


def upstream_of(book: Playbook, request: bytes) -> PlayedUpstream:
    """Whom a request was carried to."""
    client = book.connect(book.inbound())
    client.send(request)
    (pool,) = [pool for pool in (book.app, book.shadow) if pool.dials]
    return pool.accept()


# -- where it goes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("carrier", "found"),
    [
        ("baggage: routing-key=agent-42", "baggage"),
        ("Baggage: user=1, routing-key = agent-42;meta=x , b=2", "baggage"),
        ("baggage: undefined,routing-key=agent-42", "baggage"),
        ("baggage: sd-routing-key=agent-42", "baggage"),
        ("baggage: routing-key=%61gent-42", "baggage"),
        ("baggage: a=b\r\nx: y\r\nbaggage: routing-key=agent-42", "baggage"),
        ("tracestate: vendor=1,routing-key=agent-42", "tracestate"),
        ("kubernetes-route-as: agent-42", "header"),
    ],
)
def test_a_key_leads_to_its_shadow_from_every_carrier(make_book: MakeBook, step: int, carrier: str, found: str) -> None:
    book = make_book(step=step, routes=[ready()], key_headers=["kubernetes-route-as"])
    shadow = upstream_of(book, get("/", carrier))
    assert shadow in book.shadow.made
    assert book.counters.inbound.key_carriers == {found: 1}
    shadow.send(OK)
    assert book.counters.inbound.requests["shadow"][2] == 1
    for line in carrier.split("\r\n"):
        assert line.encode() in shadow.got, "it passes as it came"


@pytest.mark.parametrize(
    "line",
    [
        "x-other: routing-key=agent-42",
        "baggage: Routing-Key=agent-42",
        "baggage: not-routing-key=agent-42",
        "baggage: routing-key",
        "kubernetes-route-as: agent-42",
    ],
)
def test_what_carries_no_key_passes_untouched(make_book: MakeBook, step: int, line: str) -> None:
    book = make_book(step=step, routes=[ready()])
    app = upstream_of(book, get("/", line))
    assert app in book.app.made
    assert app.got == get("/", line)
    assert not book.counters.inbound.key_carriers


@pytest.mark.parametrize("value", ["", "a b", "agent/42", "x" * 64, "%00", "%ff", "agent-42%0d"])
def test_a_malformed_key_is_none_and_is_told(make_book: MakeBook, step: int, value: str) -> None:
    """The baseline answers, and the answer does not look like one to a request without a key."""
    book = make_book(step=step, routes=[ready()])
    request = get("/", f"baggage: routing-key={value}")
    app = upstream_of(book, request)
    assert app.got == request
    app.send(OK)
    assert field_lines(book.clients[0].got, "skycap-served-by") == ["shop/users;baseline;key=invalid"]
    assert book.counters.inbound.keys_malformed == 1
    assert book.counters.inbound.requests["baseline"][2] == 1


def test_a_malformed_member_costs_nobody_else(make_book: MakeBook) -> None:
    book = make_book(routes=[ready()])
    assert upstream_of(book, get("/", "baggage: routing-key=no key,,=,sd-routing-key=agent-42")) in book.shadow.made
    assert book.counters.inbound.keys_malformed == 1


@pytest.mark.parametrize(
    ("lines", "baggage", "tracestate"),
    [
        (["tracestate: routing-key=agent-7", "baggage: routing-key=agent-42"], "routing-key=agent-42", []),
        (["tracestate: v=1,routing-key=agent-7", "baggage: routing-key=agent-42"], "routing-key=agent-42", ["v=1"]),
        (["baggage: a=1,routing-key=agent-7,b=2,routing-key=agent-42"], "routing-key=agent-42,a=1,b=2", []),
        (["baggage: sd-routing-key=agent-7", "baggage: routing-key=agent-42"], "routing-key=agent-42", []),
    ],
)
def test_carriers_that_disagree(
    make_book: MakeBook, step: int, lines: list[str], baggage: str, tracestate: list[str]
) -> None:
    """One wins; it is counted each time, reported, told in the answer, and what leaves has one member."""
    book = make_book(step=step, routes=[ready()])
    shadow = upstream_of(book, get("/", *lines))
    assert shadow in book.shadow.made
    assert field_lines(shadow.got, "baggage") == [baggage]
    assert field_lines(shadow.got, "tracestate") == tracestate
    assert book.counters.inbound.key_conflicts == 1
    assert [conflict[1::2] for conflict in book.reports.conflicts] == [("agent-42", "agent-7")]
    shadow.send(OK)
    served = field_lines(book.clients[0].got, "skycap-served-by")
    assert served == ["shop/users;sandbox=agent-42;rev=3;conflict=agent-7"]
    book.clients[0].send(keyed())
    book.shadow.made[-1].send(OK)
    assert book.clients[0].got.count(b"conflict") == 1, "the next request is another one"


def test_a_conflict_is_told_with_what_the_shadows_own_sidecar_says(make_book: MakeBook) -> None:
    book = make_book(routes=[ready()])
    client = book.connect(book.inbound())
    client.send(get("/", "baggage: routing-key=agent-7,routing-key=agent-42"))
    own = b"skycap-served-by: shop/users;sandbox=agent-42;rev=3;lost=1, shop/payments;baseline\r\n"
    shadow = book.shadow.accept()
    shadow.send(proven(shadow.got, OK.replace(b"\r\n\r\n", b"\r\n" + own + b"\r\n", 1)))
    assert field_lines(client.got, "skycap-served-by") == [
        "shop/users;sandbox=agent-42;rev=3;lost=1;conflict=agent-7, shop/payments;baseline"
    ]


def test_a_key_without_a_route_stays_with_the_baseline(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready("other")])
    app = upstream_of(book, keyed())
    assert app in book.app.made
    app.send(OK)
    assert field_lines(book.clients[0].got, "skycap-served-by") == ["shop/users;baseline"]
    assert book.counters.inbound.requests["baseline"][2] == 1


def test_a_key_that_nobody_has_is_told(make_book: MakeBook, step: int) -> None:
    """A misspelt key is not a green baseline. It is told from a key whose sandbox forks other workloads only."""
    book = make_book(step=step, routes=[ready("other")])
    client = book.connect(book.inbound())

    def told() -> list[str]:
        client.send(keyed())
        upstream = book.app.accept() if book.app.dials else book.app.made[-1]
        upstream.send(OK)
        return field_lines(client.new(), "skycap-served-by")

    assert told() == ["shop/users;baseline"]
    book.table.replace_keys({"other"})
    assert told() == ["shop/users;baseline;key=unknown"]
    book.table.change_keys(["agent-42"], [])
    assert told() == ["shop/users;baseline"]
    assert book.counters.inbound.requests["baseline"][2] == 3


def test_the_key_of_a_sandbox_that_has_ended_is_no_green_baseline(make_book: MakeBook, step: int) -> None:
    since, why = "2026-01-31T12:00:00Z", "it was deleted"
    gone = Route("shop/users", "agent-42", (), "agent-42", 3, State.ENDED, since=since, why=why)
    book = make_book(step=step, routes=[gone])
    client = book.connect(book.inbound())
    client.send(keyed())
    told = problem(client.got)
    assert (told["status"], told["code"], told["sandbox"]) == (503, "sandbox-ended", "agent-42")
    assert told["detail"] == f"sandbox agent-42, whose key this is, ended at {since}: {why}"
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;error=sandbox-ended"]
    assert field_lines(client.got, "skycap-error") == ["sandbox-ended"]
    assert book.app.dialled == 0


def test_what_is_not_known_of_the_end_is_not_said(make_book: MakeBook) -> None:
    book = make_book(routes=[Route("shop/users", "agent-42", (), state=State.ENDED)])
    client = book.connect(book.inbound())
    client.send(keyed())
    assert problem(client.got)["detail"] == "sandbox agent-42, whose key this is, ended"


def test_an_installation_may_want_the_baseline_for_what_has_ended(make_book: MakeBook, step: int) -> None:
    gone = Route("shop/users", "agent-42", (), state=State.ENDED, on_unavailable=OnUnavailable.BASELINE)
    book = make_book(step=step, routes=[gone])
    app = upstream_of(book, keyed())
    assert app in book.app.made
    app.send(OK)
    assert field_lines(book.clients[0].got, "skycap-served-by") == ["shop/users;baseline;reason=sandbox-ended"]
    assert book.counters.inbound.requests["fallback"][2] == 1


def test_the_table_may_change_between_two_requests(make_book: MakeBook) -> None:
    """What was decided for a key is remembered, but not for longer than it is true."""
    book = make_book()
    client = book.connect(book.inbound())
    changes: list[tuple[Callable[[], object], PlayedPool]] = [
        (lambda: None, book.app),
        (lambda: book.table.put(ready()), book.shadow),
        (lambda: book.table.delete("agent-42"), book.app),
        (lambda: book.table.replace({"agent-42": ready()}), book.shadow),
    ]
    for change, pool in changes:
        change()
        client.send(keyed())
        upstream = pool.accept() if pool.dials else pool.made[-1]
        assert upstream.borrower is client.exchange
        upstream.send(OK)


def test_memory_of_decisions_is_bounded(make_book: MakeBook) -> None:
    book = make_book(routes=[ready()])
    side = book.inbound()
    client = book.connect(side)
    app = book.app.keep()
    for number in range(inbound.MAX_PLANS + 5):
        client.send(keyed(f"stranger-{number}"))
        app.send(OK)
        assert len(side._plans) <= inbound.MAX_PLANS
    assert len(side._plans) == 5
    client.send(keyed())
    book.shadow.accept().send(OK)


def test_a_bug_in_routing_costs_nobody_a_request(make_book: MakeBook, step: int) -> None:
    bug = RuntimeError("a bug of ours")

    class Broken(Route):
        def __getattribute__(self, name: str) -> Any:
            raise bug

    book = make_book(step=step, routes=[ready()])
    side = book.inbound()
    book.table.replace({"agent-42": object.__new__(Broken)})
    client = book.connect(side)
    client.send(keyed())
    app = book.app.accept()
    assert app.got == keyed()
    app.send(OK)
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;baseline;reason=internal-error"]
    assert book.reports.bugs == [bug]
    assert book.counters.inbound.failures == {"internal": 1}
    assert book.correlation.keyed_in_flight == 0
    client.send(get())
    app.send(OK)
    assert client.got.endswith(OK)


# -- trace context ------------------------------------------------------------------------------------------------


def test_a_keyed_request_without_a_trace_gets_one(make_book: MakeBook, step: int) -> None:
    """So that an application that forwards only tracing headers carries the key."""
    book = make_book(step=step)
    app = upstream_of(book, keyed())
    assert app.got.startswith(keyed()[:-2])
    parent = field_lines(app.got, "traceparent")[0]
    assert parent == "00-5ca1ab1e000000000000000000000001-0000000000000001-01"
    assert field_lines(app.got, "x-request-id") == ["5ca1ab1e-0000-0000-0000-000000000002"]
    for name in TRACE_FIELDS:
        assert len(field_lines(app.got, name)) == 1
    assert book.correlation.recall([parent[3:35].encode()]) == "agent-42"
    assert book.correlation.recall([b"=5ca1ab1e-0000-0000-0000-000000000002"]) == "agent-42"


def test_nobody_takes_away_what_carries_the_key_as_a_field_of_the_connection(make_book: MakeBook, step: int) -> None:
    """RFC 9110 section 7.6.1: what is for every recipient must not be named in `connection`."""
    book = make_book(step=step, key_headers=["x-key"])
    names = "baggage, traceparent, x-request-id, b3, x-key, skycap-hop, x-other"
    app = upstream_of(
        book, keyed("agent-42", "/", TRACEPARENT, "x-key: agent-42", f"connection: {names}", "x-other: 1")
    )
    assert field_lines(app.got, "baggage") == ["routing-key=agent-42"]
    assert len(field_lines(app.got, "traceparent")) == len(field_lines(app.got, "b3")) == 1
    assert field_lines(app.got, "x-key") == ["agent-42"]
    assert field_lines(app.got, "connection") == field_lines(app.got, "x-other") == []


@pytest.mark.parametrize("line", [TRACEPARENT.upper(), "traceparent: undefined", f"{TRACEPARENT}\r\n{TRACEPARENT}"])
def test_a_trace_that_cannot_be_used_is_replaced(make_book: MakeBook, step: int, line: str) -> None:
    book = make_book(step=step)
    app = upstream_of(book, keyed("agent-42", "/", line, "x-request-id: undefined", "x-other: 1"))
    (parent,) = field_lines(app.got, "traceparent")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", parent)
    assert len(field_lines(app.got, "x-request-id")) == 1
    assert field_lines(app.got, "x-request-id") != ["undefined"]
    assert field_lines(app.got, "x-other") == ["1"]
    assert field_lines(app.got, "baggage") == ["routing-key=agent-42"]
    assert book.correlation.recall([parent[3:35].encode()]) == "agent-42"
    assert book.correlation.recall([b"=undefined"]) == ""


@pytest.mark.parametrize(
    "line",
    [
        TRACEPARENT,
        f"b3: {TRACE_ID}-00f067aa0ba902b7-1",
        f"X-B3-TraceId: {TRACE_ID}",
        f"uber-trace-id: {TRACE_ID}:1:0:1",
        "x-datadog-trace-id: 11803532876627986230",
    ],
)
def test_a_trace_that_is_there_is_continued(make_book: MakeBook, step: int, line: str) -> None:
    """Every format that is missing is added, and names the same trace."""
    book = make_book(step=step)
    app = upstream_of(book, keyed("agent-42", "/", line))
    present = {name: field_lines(app.got, name) for name in TRACE_FIELDS}
    assert all(len(values) == 1 for values in present.values())
    low = TRACE_ID[16:].encode()
    assert book.correlation.recall([low]) == "agent-42"
    assert low in present["traceparent"][0].encode()


def test_every_request_of_a_plan_gets_its_own_trace(make_book: MakeBook) -> None:
    """What is the same for all of them was written once; what is not comes with it."""
    book = make_book()
    client = book.connect(book.inbound())
    app = book.app.keep()
    for number in range(1, 4):
        trace = f"{number:032x}"
        client.send(
            keyed("agent-42", "/", TRACEPARENT.replace(TRACE_ID, "a" * 16 + trace[16:]), f"x-request-id: r-{number}")
        )
        got = app.new()
        assert field_lines(got, "b3") == [f"{'a' * 16}{trace[16:]}-00f067aa0ba902b7-1"]
        assert field_lines(got, "x-request-id") == [f"r-{number}"]
        app.send(OK)


def test_an_own_request_id_is_left_alone_and_remembered(make_book: MakeBook, step: int) -> None:
    for trace in (TRACEPARENT, "b3: 0"):
        book = make_book(step=step)
        app = upstream_of(book, keyed("agent-42", "/", trace, "X-Request-Id: Mine-1"))
        assert field_lines(app.got, "x-request-id") == ["Mine-1"]
        assert book.correlation.recall([b"=mine-1"]) == "agent-42", "whatever its case"


def test_a_configured_trace_header_is_remembered(make_book: MakeBook) -> None:
    book = make_book(trace_headers=["x-correlation"])
    upstream_of(book, keyed("agent-42", "/", "X-Correlation: c-1"))
    assert book.correlation.recall([b"=c-1"]) == "agent-42"


def test_without_a_key_no_trace_is_made_or_remembered(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    app = upstream_of(book, get("/", TRACEPARENT))
    assert app.got == get("/", TRACEPARENT)
    assert len(book.correlation) == 0


# -- loops --------------------------------------------------------------------------------------------------------


def test_who_is_sent_to_a_shadow_is_marked(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready()])
    assert field_lines(upstream_of(book, keyed()).got, "skycap-visited") == [INSTANCE]
    assert field_lines(upstream_of(book, keyed("nobody")).got, "skycap-visited") == []


@pytest.mark.parametrize("visited", [INSTANCE, f"other, {INSTANCE}", f"other\r\nSkycap-Visited: {INSTANCE}"])
def test_who_comes_back_is_a_loop(make_book: MakeBook, step: int, visited: str) -> None:
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed("agent-42", "/", f"skycap-visited: {visited}"))
    document = problem(client.got)
    assert (document["code"], document["status"]) == ("loop", 508)
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;error=loop"]
    assert book.shadow.dialled == book.app.dialled == 0
    assert book.correlation.keyed_in_flight == 0


@pytest.mark.parametrize("visited", ["other", f"x{INSTANCE}", f"{INSTANCE}0, other"])
def test_who_has_been_elsewhere_is_not(make_book: MakeBook, step: int, visited: str) -> None:
    book = make_book(step=step, routes=[ready()])
    shadow = upstream_of(book, keyed("agent-42", "/", f"skycap-visited: {visited}"))
    assert field_lines(shadow.got, "skycap-visited") == [visited, INSTANCE]


def test_the_baseline_that_falls_back_does_not_claim_to_have_sent_it_on(make_book: MakeBook) -> None:
    """Its application may call itself with the headers that it got."""
    book = make_book(routes=[ready(fallback=True)])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.shadow.refuse()
    assert field_lines(book.app.accept().got, "skycap-visited") == []


@pytest.mark.parametrize(("port", "led"), [(8080, 8080), (9090, 9999), (0, 9102)])
def test_a_copy_of_a_pod_answers_on_the_port_that_was_called(make_book: MakeBook, port: int, led: int) -> None:
    """Where nobody knows the port, the endpoint's own is as good as any."""
    route = Route(WORKLOAD, "agent-42", (Endpoint("10.0.0.7", 9102),), ports={9090: 9999})
    book = make_book(routes=[route])
    side = book.inbound(port=port)
    book.connect(side).send(keyed())
    at = Endpoint("10.0.0.7", led)
    book.pool(at).accept().send(OK)
    assert side.endpoints_in_use() == {APP, at}
    book.table.put(ready())
    assert side.endpoints_in_use() == {APP}


# -- what the sweep asks ------------------------------------------------------------------------------------------


def test_endpoints_in_use(make_book: MakeBook) -> None:
    elsewhere = Endpoint("127.0.0.1", 9500)
    book = make_book(routes=[ready(), ready("agent-7", elsewhere)])
    side = book.inbound()
    assert side.endpoints_in_use() == {APP}, "nothing was sent there yet"
    client = book.connect(side)
    for key, endpoint in (("agent-42", SHADOW), ("agent-7", elsewhere)):
        client.send(keyed(key))
        book.pool(endpoint).accept().send(OK)
    assert side.endpoints_in_use() == {APP, SHADOW, elsewhere}
    book.table.delete("agent-7")
    assert side.endpoints_in_use() == {APP, SHADOW}
    book.table.put(ready("agent-42", elsewhere))
    assert side.endpoints_in_use() == {APP}
    assert side.workload == WORKLOAD


def test_a_large_head_gets_no_more_than_the_core_of_its_trace_context(make_book: MakeBook) -> None:
    """Servers limit heads; a usual one gets every format."""
    trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for filling, every in (([], True), ([f"x-{number}: 1" for number in range(80)], False)):
        book = make_book(routes=[ready("agent-42")])
        client = book.connect(book.inbound())
        client.send(keyed("agent-42", "/", trace, *filling))
        shadow = book.shadow.accept()
        assert len(field_lines(shadow.got, "b3")) == 1
        assert bool(field_lines(shadow.got, "uber-trace-id")) == every


def test_a_request_on_a_connection_of_the_pool_leaves_as_one_on_a_fresh_one(make_book: MakeBook, step: int) -> None:
    """The usual request is written on a way of its own."""
    book = make_book(routes=[ready("agent-42")], step=step)
    client = book.connect(book.inbound())
    trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    request = keyed("agent-42", "/", trace, "x-request-id: 6f1b1f0e")
    client.send(request)
    shadow = book.shadow.accept()
    first = shadow.new()
    shadow.send(OK)
    client.send(request)
    again = shadow.new()
    assert field_lines(again, "uber-trace-id") == field_lines(first, "uber-trace-id")
    assert again.split(b"skycap-hop: ")[0] == first.split(b"skycap-hop: ")[0]
    shadow.send(OK)
