"""A wish to upgrade that has content, as Docker's `exec` and `attach` say it: `POST`, some JSON, `Upgrade: tcp`.

RFC 9110 section 7.8 forbids no content. The wish goes on with the request, the server reads the content, then switches.
"""

from __future__ import annotations

import pytest

from proxy.exchange.phase import TUNNEL
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, ready

WISH = b"connection: upgrade\r\nupgrade: tcp\r\n"
SWITCHED = b"HTTP/1.1 101 UPGRADED\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n"

CONTENTS = pytest.mark.parametrize(
    ("framing", "content"),
    [
        (b"content-length: 16\r\n", b'{"Detach":false}'),
        (b"transfer-encoding: chunked\r\n", b'10\r\n{"Detach":false}\r\n0\r\n\r\n'),
        (b"transfer-encoding: chunked\r\n", b'10\r\n{"Detach":false}\r\n0\r\nx-sum: 1\r\n\r\n'),
        (b"content-length: 0\r\n", b""),
    ],
    ids=["length", "chunks", "trailers", "none"],
)


def wish(framing: bytes, method: bytes = b"POST", *lines: bytes) -> bytes:
    more = b"".join(line + b"\r\n" for line in lines)
    return b"%b /exec/1/start HTTP/1.1\r\nhost: docker\r\n%b%b%b\r\n" % (method, framing, more, WISH)


@CONTENTS
@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_the_content_is_read_and_then_it_is_a_tunnel(
    make_book: MakeBook, step: int, framing: bytes, content: bytes, method: bytes
) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(wish(framing, method) + content)
    app = book.app.accept()
    head, _, body = app.new().partition(b"\r\n\r\n")
    assert body == content
    assert WISH.strip() in head
    app.send(SWITCHED + b"first")
    assert client.new() == SWITCHED + b"first"
    assert client.exchange.phase == TUNNEL
    client.send(b"5\r\nstdin\r\n")
    app.send(b"0\r\n\r\nstdout")
    assert app.new() == b"5\r\nstdin\r\n", "it is no chunk any more"
    assert client.new() == b"0\r\n\r\nstdout"


@CONTENTS
def test_with_a_key_it_is_the_shadows(make_book: MakeBook, step: int, framing: bytes, content: bytes) -> None:
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(wish(framing, b"POST", b"baggage: routing-key=agent-42") + content)
    shadow = book.shadow.accept()
    assert shadow.new().partition(b"\r\n\r\n")[2] == content
    shadow.send(SWITCHED)
    assert b"\r\nskycap-served-by: shop/users;sandbox=agent-42;rev=3\r\n" in client.new()
    client.send(b"stdin")
    assert shadow.new() == b"stdin"


@CONTENTS
def test_outbound_as_well(make_book: MakeBook, step: int, framing: bytes, content: bytes) -> None:
    book = make_book(step=step)
    client = book.connect(book.outbound())
    client.send(wish(framing) + content)
    target = book.target.accept()
    target.send(SWITCHED)
    client.send(b"stdin")
    assert target.got.endswith(content + b"stdin")


def test_what_a_client_says_ahead_of_the_switch_waits_for_it(make_book: MakeBook, step: int) -> None:
    """Behind the content it may still be another request."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(wish(b"content-length: 2\r\n") + b"{}" + b"early")
    app = book.app.accept()
    assert app.new().endswith(b"\r\n\r\n{}")
    app.send(SWITCHED)
    assert app.new() == b"early"


def test_a_server_that_asks_for_the_content_first(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(wish(b"content-length: 2\r\n", b"POST", b"expect: 100-continue"))
    app = book.app.accept()
    app.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.new() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"{}")
    app.send(SWITCHED + b"hello")
    assert client.new() == SWITCHED + b"hello"
    assert client.exchange.phase == TUNNEL


def test_a_server_that_declines(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(wish(b"content-length: 2\r\n") + b"{}")
    app = book.app.accept()
    app.send(OK)
    assert client.new() == OK
    client.send(wish(b"content-length: 2\r\n") + b"{}")
    assert app.got.count(b"\r\n\r\n{}") == 2, "on the same connection"


@pytest.mark.parametrize(
    ("framing", "begin", "end"),
    [
        (b"content-length: 2\r\n", b"{", b"}"),
        (b"transfer-encoding: chunked\r\n", b"1\r\n{", b"\r\n1\r\n}\r\n0\r\n\r\n"),
    ],
)
def test_a_server_that_switches_in_the_middle_of_the_content(
    make_book: MakeBook, step: int, framing: bytes, begin: bytes, end: bytes
) -> None:
    """The client sends its content to the end before it speaks the other protocol. Both pass as they are."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(wish(framing) + begin)
    app = book.app.accept()
    app.new()
    app.send(SWITCHED + b"hello")
    assert client.new() == SWITCHED + b"hello"
    client.send(end + b"stdin")
    assert app.new() == end + b"stdin"
