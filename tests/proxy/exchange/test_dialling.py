"""The way to an upstream: endpoints in turn, refused dials, fallback, ourselves."""

from __future__ import annotations

import pytest

from proxy.contract.routes import Endpoint
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import APP, OK, SHADOW, WORKLOAD, Playbook, field_lines, get, keyed, problem, ready

ENDPOINTS = tuple(Endpoint("127.0.0.1", 9200 + number) for number in range(3))


def test_a_dead_application(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    book.app.refuse()
    assert problem(client.new()) == {
        "type": "urn:skycap:error:app-unreachable",
        "title": "The application cannot be reached",
        "status": 502,
        "detail": f"the application at {APP} does not accept connections: connection refused",
        "code": "app-unreachable",
        "workload": WORKLOAD,
        "hint": "Check that the application runs and listens where the sidecar expects it.",
    }
    assert client.calls == []
    client.send(get())
    book.app.accept().send(OK)
    assert client.got == OK
    figures = book.counters.inbound
    assert (figures.upstream_dial_failures, figures.failures["app-unreachable"]) == (1, 1)
    assert (figures.requests["error"][5], figures.requests["baseline"][2]) == (1, 1)


def test_an_idle_connection_is_taken_before_one_is_dialled(book: Playbook) -> None:
    """Last in, first out: the one that was used most recently."""
    old, young = book.app.keep(), book.app.keep()
    client = book.connect(book.inbound())
    client.send(get())
    assert (old.got, young.got) == (b"", get())
    young.send(OK)
    assert book.app.dialled == 0


def test_endpoints_take_turns(make_book: MakeBook) -> None:
    book = make_book(routes=[ready("agent-42", *ENDPOINTS)])
    client = book.connect(book.inbound())
    for _ in range(6):
        client.send(keyed())
        pool = next(
            pool for pool in map(book.pool, ENDPOINTS) if pool.dials or any(made.borrower for made in pool.made)
        )
        upstream = pool.accept() if pool.dials else pool.made[-1]
        upstream.send(OK)
    assert [len(book.pool(endpoint).returned) for endpoint in ENDPOINTS] == [2, 2, 2]
    assert [book.pool(endpoint).dialled for endpoint in ENDPOINTS] == [1, 1, 1]


def test_every_endpoint_is_tried(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready("agent-42", *ENDPOINTS)])
    client = book.connect(book.inbound())
    client.send(keyed())
    tried = []
    for _ in ENDPOINTS:
        (pool,) = [pool for pool in map(book.pool, ENDPOINTS) if pool.dials]
        tried.append(pool.endpoint)
        pool.refuse()
    assert set(tried) == set(ENDPOINTS)
    document = problem(client.got)
    assert (document["code"], document["status"], document["sandbox"]) == ("shadow-unreachable", 503, "agent-42")
    for endpoint in ENDPOINTS:
        assert str(endpoint) in document["detail"]
    assert b"\r\nretry-after: 1\r\n" in client.got
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;error=shadow-unreachable"]
    assert book.counters.inbound.upstream_dial_failures == 3


def test_every_request_has_all_of_its_attempts(make_book: MakeBook) -> None:
    """However many the one before it has used up."""
    book = make_book(routes=[ready("agent-42", *ENDPOINTS[:2])])
    client = book.connect(book.inbound())
    for _ in range(3):
        client.send(keyed())
        for attempt in range(2):
            (pool,) = [pool for pool in map(book.pool, ENDPOINTS) if pool.dials]
            if attempt:
                pool.accept().send(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
            else:
                pool.refuse()
    assert client.got.count(b"HTTP/1.1 200 OK") == 3


def test_one_endpoint_that_answers_is_enough(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready("agent-42", *ENDPOINTS)])
    client = book.connect(book.inbound())
    client.send(keyed())
    for _ in ENDPOINTS[1:]:
        (pool,) = [pool for pool in map(book.pool, ENDPOINTS) if pool.dials]
        pool.refuse()
    (pool,) = [pool for pool in map(book.pool, ENDPOINTS) if pool.dials]
    pool.accept().send(OK)
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;sandbox=agent-42;rev=3"]


def test_an_idle_connection_to_the_next_endpoint_is_taken(make_book: MakeBook) -> None:
    book = make_book(routes=[ready("agent-42", *ENDPOINTS[:2])])
    client = book.connect(book.inbound())
    client.send(keyed())
    (first,) = [pool for pool in map(book.pool, ENDPOINTS) if pool.dials]
    (other,) = [book.pool(endpoint) for endpoint in ENDPOINTS[:2] if endpoint != first.endpoint]
    kept = other.keep()
    first.refuse()
    assert b"GET / HTTP/1.1" in kept.got
    assert book.counters.inbound.upstream_reused == 1
    kept.send(OK)


def test_a_dial_in_vain_is_followed_by_the_next_one_in_time(make_book: MakeBook) -> None:
    book = make_book(routes=[ready("agent-42", *ENDPOINTS[:2])])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.pass_ticks(book.settings.connect_ticks)
    assert sorted(book.pool(endpoint).dialled for endpoint in ENDPOINTS[:2]) == [1, 1]
    book.pass_ticks(book.settings.connect_ticks)
    assert problem(client.got)["detail"].endswith(": no connection in time")
    assert book.counters.inbound.timeouts == {"connect": 2}


def test_the_baseline_answers_where_the_policy_says_so_and_says_so(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready(fallback=True)])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.shadow.refuse()
    app = book.app.accept()
    assert app.got.startswith(b"GET / HTTP/1.1\r\nhost: users\r\nbaggage: routing-key=agent-42\r\n")
    app.send(OK)
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;baseline;reason=shadow-unreachable"]
    assert book.counters.inbound.requests["fallback"][2] == 1
    assert not book.counters.inbound.failures


def test_when_the_baseline_does_not_answer_either(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready(fallback=True)])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.shadow.refuse()
    book.app.refuse()
    document = problem(client.got)
    assert document["code"] == "app-unreachable"
    assert document["sandbox"] == "agent-42"
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;error=app-unreachable"]


def test_a_shadow_that_fails_after_the_dial_is_no_case_for_the_baseline(make_book: MakeBook) -> None:
    """It may have done its work: an error is an answer, and the agent wants to see it."""
    book = make_book(routes=[ready(fallback=True)])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.shadow.accept().vanish(error=True)
    assert problem(client.got)["code"] == "upstream-reset"
    assert book.app.dialled == 0


def test_dialling_ourselves_is_a_loop(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.shadow.refuse_ourselves()
    document = problem(client.got)
    assert (document["code"], document["status"]) == ("loop", 508)
    assert document["detail"] == f"{SHADOW} is one of this sidecar's own listeners"
    assert field_lines(client.got, "skycap-served-by") == ["shop/users;error=loop"]


def test_an_upload_waits_for_its_second_endpoint(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready("agent-42", *ENDPOINTS[:2])])
    client = book.connect(book.inbound())
    head = b"POST / HTTP/1.1\r\nhost: users\r\nbaggage: routing-key=agent-42\r\ncontent-length: 4\r\n\r\n"
    client.send(head + b"b")
    (pool,) = [pool for pool in map(book.pool, ENDPOINTS) if pool.dials]
    client.send(b"o")
    pool.refuse()
    client.send(b"d")
    (pool,) = [pool for pool in map(book.pool, ENDPOINTS) if pool.dials]
    shadow = pool.accept()
    client.send(b"y")
    assert shadow.got.endswith(b"\r\n\r\nbody")
    shadow.send(OK)
    assert client.got.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("pending", [get("/2"), b""])
def test_a_body_behind_a_failed_dial_ends_the_connection(make_book: MakeBook, pending: bytes) -> None:
    book = make_book()
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 4\r\n\r\nbo")
    book.app.refuse()
    assert b"\r\nconnection: close\r\n" in client.got
    assert client.calls == ["write_eof"]
    client.send(b"dy" + pending)
    assert book.app.dialled == 1
