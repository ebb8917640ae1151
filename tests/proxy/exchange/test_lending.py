"""Which upstream connections carry another exchange: those of which we know for certain where they are."""

from __future__ import annotations

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange.side import Side
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, SHADOW, TARGET, Playbook, PlayedPool, keyed, ready

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def to_app(book: Playbook) -> tuple[Side, PlayedPool, str]:
    return book.inbound(), book.app, "host: users"


def to_shadow(book: Playbook) -> tuple[Side, PlayedPool, str]:
    return book.inbound(), book.pool(SHADOW), "baggage: routing-key=agent-42"


def to_target(book: Playbook) -> tuple[Side, PlayedPool, str]:
    return book.outbound(TARGET), book.pool(TARGET), "host: users"


ways = pytest.mark.parametrize("way", [to_app, to_shadow, to_target])


def request(method: str, *lines: str, content: bytes = b"") -> bytes:
    fields = [*lines, *([f"content-length: {len(content)}"] if content else [])]
    if not any(line.startswith("host") for line in lines):
        fields.append("host: users")
    return f"{method} / HTTP/1.1\r\n".encode() + "".join(f"{line}\r\n" for line in fields).encode() + b"\r\n" + content


@ways
@pytest.mark.parametrize("announced", [b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b""])
def test_none_behind_the_answer_to_head(make_book: MakeBook, step: int, way: object, announced: bytes) -> None:
    """A body that follows it, however late, would be the answer to somebody else's request."""
    book = make_book(step=step, routes=[ready()])
    side, pool, line = way(book)  # type: ignore[operator]
    client = book.connect(side)
    client.send(request("HEAD", line))
    upstream = pool.accept()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + announced + b"\r\n")
    assert client.got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (pool.idle, pool.resting) == ([], [])
    assert upstream.recorded.closing
    client.send(request("GET", line))
    assert pool.accept() is not upstream


@ways
@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_not_at_once_behind_an_answer_that_has_no_body_by_a_rule(
    make_book: MakeBook, step: int, way: object, status: bytes
) -> None:
    book = make_book(step=step, routes=[ready()])
    side, pool, line = way(book)  # type: ignore[operator]
    client, other = book.connect(side), book.connect(side)
    client.send(request("GET", line))
    upstream = pool.accept()
    upstream.send(b"HTTP/1.1 " + status + b"\r\n\r\n")
    assert pool.resting == [upstream]
    other.send(request("GET", line))
    fresh = pool.accept()
    assert fresh is not upstream
    fresh.send(OK)
    assert pool.idle == [fresh], "an answer that says where it ends makes nobody doubt"


@ways
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "BREW", "get"])
def test_none_that_carried_content_that_has_no_meaning(
    make_book: MakeBook, step: int, way: object, method: str
) -> None:
    """RFC 9110 section 9.3.1. An application that leaves it on the connection reads it as the next request."""
    smuggled = b"GET /evil HTTP/1.1\r\nx: "
    book = make_book(step=step, routes=[ready()])
    side, pool, line = way(book)  # type: ignore[operator]
    client = book.connect(side)
    client.send(request(method, line, content=smuggled))
    upstream = pool.accept()
    upstream.send(OK[:-2] if method == "HEAD" else OK)
    assert (pool.idle, pool.resting) == ([], [])
    client.send(request(method, line))
    assert pool.accept() is not upstream


@pytest.mark.parametrize("chunks", [b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n"])
def test_chunks_are_content_too(make_book: MakeBook, step: int, chunks: bytes) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"DELETE / HTTP/1.1\r\nhost: users\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    app = book.app.accept()
    client.send()
    app.send(OK)
    assert book.app.idle == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "QUERY", "PROPFIND", "REPORT", "SEARCH"])
def test_content_that_has_a_meaning_is_read(make_book: MakeBook, step: int, method: str) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(request(method, content=b"abc"))
    app = book.app.accept()
    app.send(OK)
    assert book.app.idle == [app]
    client.send(request(method, content=b"abc"))
    app.send(NO_CONTENT)
    assert book.app.resting == [app]


def test_content_of_no_length_is_none(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(b"DELETE / HTTP/1.1\r\nhost: users\r\ncontent-length: 0\r\n\r\n")
    app = book.app.accept()
    app.send(OK)
    assert book.app.idle == [app]


def test_the_next_hop_of_a_shadow_is_no_exception(make_book: MakeBook) -> None:
    book = make_book(routes=[ready("agent-42", Endpoint("127.0.0.1", 9109))])
    client = book.connect(book.inbound())
    client.send(keyed())
    pool = book.pool(Endpoint("127.0.0.1", 9109))
    pool.accept().send(NO_CONTENT)
    assert len(pool.resting) == 1
