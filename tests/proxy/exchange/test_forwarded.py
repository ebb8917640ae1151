"""The client's address in `x-forwarded-for` and `forwarded`, where the sidecar is told to say it."""

from __future__ import annotations

import pytest

from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Client, Playbook, field_lines, get, keyed, ready

PEER = b"10.0.0.7"


def connect(book: Playbook, peer: bytes = PEER, *, forwarded: bool = True) -> Client:
    client = book.connect(book.inbound(forwarded=forwarded))
    client.exchange.peer = peer
    return client


def forwarded(book: Playbook, *lines: str, peer: bytes = PEER) -> tuple[list[str], list[str]]:
    """What the application gets in the two fields."""
    client = connect(book, peer)
    client.send(get("/", *lines))
    app = book.app.accept()
    app.send(OK)
    assert client.new() == OK
    return field_lines(app.got, "x-forwarded-for"), field_lines(app.got, "forwarded")


def test_nothing_is_said_unless_asked_for(book: Playbook) -> None:
    client = connect(book, forwarded=False)
    client.send(get("/", "x-forwarded-for: 1.2.3.4"))
    assert book.app.accept().got == get("/", "x-forwarded-for: 1.2.3.4")


def test_the_first_hop(make_book: MakeBook, step: int) -> None:
    assert forwarded(make_book(step=step)) == (["10.0.0.7"], ["for=10.0.0.7"])


def test_ipv6_is_quoted_in_one_and_bare_in_the_other_rfc_7239_6(book: Playbook) -> None:
    assert forwarded(book, peer=b"2001:db8::17") == (["2001:db8::17"], ['for="[2001:db8::17]"'])


@pytest.mark.parametrize(
    ("lines", "x_forwarded_for", "standard"),
    [
        (["x-forwarded-for: 192.0.2.43"], "192.0.2.43, 10.0.0.7", "for=192.0.2.43, for=10.0.0.7"),
        (
            ["X-Forwarded-For: 192.0.2.43, 2001:db8:cafe::17"],
            "192.0.2.43, 2001:db8:cafe::17, 10.0.0.7",
            'for=192.0.2.43, for="[2001:db8:cafe::17]", for=10.0.0.7',
        ),
        (
            ["x-forwarded-for: 192.0.2.43:4711, ,[2001:db8::1]:80"],
            "192.0.2.43:4711, ,[2001:db8::1]:80, 10.0.0.7",
            'for="192.0.2.43:4711", for="[2001:db8::1]:80", for=10.0.0.7',
        ),
        (["x-forwarded-for: a", "accept: x", "x-forwarded-for: b"], "a, b, 10.0.0.7", "for=a, for=b, for=10.0.0.7"),
        (["x-forwarded-for:"], "10.0.0.7", "for=10.0.0.7"),
        (['x-forwarded-for: "x\\'], '"x\\, 10.0.0.7', 'for="x", for=10.0.0.7'),
        (
            ['forwarded: for=192.0.2.43;proto=https, FOR="[2001:db8:cafe::17]:4711";by=x, for=unknown'],
            "192.0.2.43, 2001:db8:cafe::17, unknown, 10.0.0.7",
            'for=192.0.2.43;proto=https, FOR="[2001:db8:cafe::17]:4711";by=x, for=unknown, for=10.0.0.7',
        ),
        (
            ["forwarded: proto=https;for=192.0.2.43:80"],
            "192.0.2.43, 10.0.0.7",
            "proto=https;for=192.0.2.43:80, for=10.0.0.7",
        ),
        (["forwarded: proto=https"], "10.0.0.7", "proto=https, for=10.0.0.7"),
        (["x-forwarded-for: 1.1.1.1", "forwarded: for=2.2.2.2"], "1.1.1.1, 10.0.0.7", "for=2.2.2.2, for=10.0.0.7"),
    ],
)
def test_lists_are_continued(book: Playbook, lines: list[str], x_forwarded_for: str, standard: str) -> None:
    assert forwarded(book, *lines) == ([x_forwarded_for], [standard])


def test_a_keyed_request_has_all_that_belongs_to_it(make_book: MakeBook, step: int) -> None:
    book = make_book(routes=[ready("agent-42")], step=step)
    client = connect(book)
    client.send(keyed("agent-42", "/a", "x-forwarded-for: 1.1.1.1"))
    shadow = book.shadow.accept()
    assert field_lines(shadow.got, "x-forwarded-for") == ["1.1.1.1, 10.0.0.7"]
    assert field_lines(shadow.got, "skycap-visited") == ["5c1d"]
    assert len(field_lines(shadow.got, "traceparent")) == 1
    assert field_lines(shadow.got, "baggage") == ["routing-key=agent-42"]


def test_each_request_of_a_connection_gets_it_once(book: Playbook) -> None:
    client = connect(book)
    client.send(get("/1", "x-forwarded-for: 1.1.1.1"))
    app = book.app.accept()
    app.send(OK)
    app.new()
    client.send(get("/2"))
    assert field_lines(app.got, "x-forwarded-for") == ["10.0.0.7"]
    assert field_lines(app.got, "forwarded") == ["for=10.0.0.7"]
