"""Messages pass: every framing, byte for byte, whole and one byte at a time."""

from __future__ import annotations

import pytest

from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import APP, OK, Playbook, get, problem

EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

REQUESTS = {
    "get": get("/a?b=c", "accept: */*", "X-Odd-Case: Value  ", "cookie: a=b; c=d"),
    "keep-alive said": get("/", "connection: keep-alive"),
    "content-length": b"POST /charge HTTP/1.1\r\nHost: users\r\nContent-Length: 11\r\n\r\nhello\r\nyou\0",
    "content-length 0": b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 0\r\n\r\n",
    "chunked": b"POST / HTTP/1.1\r\nhost: users\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n3\r\n\r\n\0\r\n0\r\n\r\n",
    "extensions and trailers": b"PUT / HTTP/1.1\r\nhost: users\r\nTransfer-Encoding: Chunked\r\nTrailer: Digest\r\n\r\n"
    b'5;name=value;q="a;\\"b"\r\nhello\r\n00;last\r\nDigest: x\r\nX-Other: y \r\n\r\n',
    "options": b"OPTIONS * HTTP/1.1\r\nhost: users\r\n\r\n",
    "own method": b"BREW /pot HTTP/1.1\r\nhost: users\r\n\r\n",
}

ANSWERS = {
    "content-length": OK,
    "empty": EMPTY,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "extensions and trailers": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
    b'3;a="b\\";c"\r\nabc\r\n1\r\n\n\r\n0;end\r\nX-Sum: 1\r\n\r\n',
    "204": b"HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 1000\r\n\r\n",
    "no reason phrase": b"HTTP/1.1 404 \r\ncontent-length: 3\r\n\r\nno\n",
    "the application's own error": b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\nretry-after: 9\r\n\r\nbusy",
    "no space for the reason": b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
    "8-bit fields": b"HTTP/1.1 200 OK\r\nx-name: caf\xc3\xa9\xff\r\ncontent-length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_unkeyed_pair_passes_untouched(make_book: MakeBook, step: int, request_bytes: bytes, answer: bytes) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(request_bytes)
    app = book.app.accept()
    client.send()
    assert app.got == request_bytes
    app.send(answer)
    assert client.got == answer
    assert client.calls == []
    rests = answer.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304"))
    assert (book.app.idle, book.app.resting) == (([], [app]) if rests else ([app], []))


def test_a_connection_carries_one_exchange_after_the_other(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(REQUESTS["get"])
    app = book.app.accept()
    for name, request in REQUESTS.items():
        for answer in ANSWERS.values():
            app.send(answer)
            assert client.new() == answer
            app.new()
            book.app.wake()
            client.send(request)
            assert app.got == request, name
    app.send(OK)
    assert book.app.dialled == 1
    assert book.counters.inbound.upstream_reused == len(REQUESTS) * len(ANSWERS)
    assert sum(book.counters.inbound.requests["baseline"]) == len(REQUESTS) * len(ANSWERS) + 1


def test_what_is_in_the_pool_is_not_ours_any_more(book: Playbook) -> None:
    """Whatever becomes of the client and of its next request."""
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(OK)
    client.send(b"NONSENSE\r\n\r\n")
    client.vanish()
    assert app.calls == []
    assert book.app.idle == [app]


def test_head_and_body_leave_in_one_write_per_direction(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(REQUESTS["content-length"])
    app = book.app.accept()
    app.send(ANSWERS["chunked"])
    assert app.recorded.writes == [REQUESTS["content-length"]]
    assert client.recorded.writes == [ANSWERS["chunked"]]


def test_the_bytes_that_came_are_the_bytes_that_leave(book: Playbook) -> None:
    """Not even a copy is made of a usual request and a usual answer."""
    client = book.connect(book.inbound())
    app = book.app.keep()
    request, answer = get(), bytes(bytearray(OK))
    client.send(request)
    app.send(answer)
    assert app.recorded.writes[0] is request
    assert client.recorded.writes[0] is answer


@pytest.mark.parametrize("length", ["content-length: 5", "transfer-encoding: chunked"])
def test_head_has_no_body_whatever_the_fields_say(make_book: MakeBook, step: int, length: str) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get().replace(b"GET", b"HEAD"))
    answer = f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode()
    app = book.app.accept()
    app.send(answer)
    client.send(get())
    book.app.accept().send(OK)
    assert client.got == answer + OK


def test_a_body_that_ends_with_the_connection(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\nhel")
    app.send(b"lo")
    assert not app.end()
    assert client.got == b"HTTP/1.1 200 OK\r\nx-a: b\r\nconnection: close\r\n\r\nhello"
    assert client.calls == ["close"]
    assert book.counters.inbound.requests["baseline"][2] == 1


def test_an_answer_cut_short_is_not_given_a_clean_end(make_book: MakeBook, step: int) -> None:
    """A client must not take half an answer for a whole one: the connection is reset, not closed."""
    for answer, error in [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nhalf", True),
    ]:
        book = make_book(step=step)
        client = book.connect(book.inbound())
        client.send(get())
        app = book.app.accept()
        app.send(answer)
        app.vanish(error=error)
        assert client.calls == ["reset"]
        assert book.counters.inbound.failures["answer-truncated"] == 1
        client.vanish()
        assert book.counters.inbound.requests["error"][:6] == [0, 0, 1, 0, 0, 0], "once"


def test_a_chunk_that_is_not_one_cuts_the_answer(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n")
    app.send(b"0x4\r\nevil\r\n0\r\n\r\n")
    assert b"evil" not in client.got
    assert client.calls == ["reset"]
    assert app.calls == ["reset"]
    assert book.counters.inbound.failures["bad-response"] == 1


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"NONSENSE\r\n\r\n", "status line"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "content-length"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            "together",
        ),
        (b"HTTP/1.1 200 OK\r\nbad name: x\r\ncontent-length: 2\r\n\r\nok", "field line"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n", "more than 65536 bytes"),
    ],
)
def test_an_answer_that_cannot_be_forwarded_safely(book: Playbook, answer: bytes, what: str) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(answer)
    document = problem(client.new())
    assert document["code"] == "bad-response"
    assert what in document["detail"]
    assert app.calls == ["reset"]
    assert client.calls == []
    client.send(get())
    book.app.accept().send(OK)
    assert client.got == OK


def test_folded_fields_of_an_answer_are_repaired(make_book: MakeBook, step: int) -> None:
    """RFC 9112 section 5.2 asks it of a proxy."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    book.app.accept().send(b"HTTP/1.1 200 OK\r\nx-long: a\r\n  b\r\ncontent-length : 2\r\n\r\nok")
    assert client.got == b"HTTP/1.1 200 OK\r\nx-long: a b\r\ncontent-length: 2\r\n\r\nok"


def test_bytes_behind_an_answer_are_dropped_with_their_connection(make_book: MakeBook, step: int) -> None:
    """Delivered one byte at a time they reach an idle connection, whose pool discards it."""
    for answer in (OK, ANSWERS["chunked"], ANSWERS["204"], ANSWERS["empty"]):
        book = make_book(step=step)
        client = book.connect(book.inbound())
        client.send(get())
        app = book.app.accept()
        app.send(answer + b"HTTP/1.1 200 Evil\r\n\r\n")
        assert client.got == answer
        assert app.unasked.startswith(b"HTTP") if step else app.calls == ["abort"]


def test_bytes_behind_a_body_that_came_in_pieces_are_dropped_too(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
    app.send(b"lfEVIL")
    assert client.got == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalf"
    assert app.calls == ["abort"]
    assert book.app.returned == []


def test_hop_by_hop_fields_stay_on_their_hop(make_book: MakeBook, step: int) -> None:
    """RFC 9110 section 7.6.1, both directions."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(
        get(
            "/",
            "Connection: keep-alive, X-Secret",
            "Keep-Alive: timeout=5",
            "x-secret: 1",
            "Proxy-Connection: x",
            "a: b",
        )
    )
    app = book.app.accept()
    assert app.got == get("/", "a: b")
    app.send(
        b"HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=7\r\nb: c\r\n"
        b"content-length: 0\r\n\r\n"
    )
    assert client.got == b"HTTP/1.1 200 OK\r\nb: c\r\ncontent-length: 0\r\n\r\n"
    assert book.app.returned == [(app, 7)]


def test_each_side_may_end_its_connection_without_the_other(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok")
    assert client.new() == OK
    assert client.calls == []
    assert app.calls == ["abort"]
    assert book.app.returned == []
    client.send(get("/", "connection: close"))
    app = book.app.accept()
    assert app.got == get("/")
    app.send(OK)
    assert client.got == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    assert client.calls == ["close"]
    assert book.app.idle == [app]


def test_an_absolute_target_goes_on_as_a_path(make_book: MakeBook, step: int) -> None:
    """RFC 9112 section 3.2.2: its authority replaces the host field."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"GET http://users.shop/a?b HTTP/1.1\r\nHost: other\r\nx: y\r\n\r\n")
    assert book.app.accept().got == b"GET /a?b HTTP/1.1\r\nx: y\r\nhost: users.shop\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\n", 400, "bad-request"),
        (b"\x16\x03\x01\x02\x00\n", 400, "bad-request"),
        (b"CONNECT users:80 HTTP/1.1\r\nhost: users:80\r\n\r\n", 501, "unsupported-method"),
        (b"M" * 2000 + b" / HTTP/1.1\r\nhost: a\r\n\r\n", 501, "unsupported-method"),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505, "unsupported-version"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501, "unsupported-transfer-coding"),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 128 + b"\r\n", 431, "head-too-large"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 66_000 + b"\r\n\r\n", 431, "head-too-large"),
    ],
)
def test_a_malformed_request_is_answered_and_never_forwarded(
    make_book: MakeBook, step: int, request_bytes: bytes, status: int, code: str
) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(request_bytes + b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
    document = problem(client.got)
    assert (document["status"], document["code"]) == (status, code)
    assert document["workload"] == "shop/users"
    assert b"\r\nconnection: close\r\n" in client.got
    assert client.calls == ["write_eof"], "the rest is read and thrown away, so that the answer arrives"
    assert not book.app.dials
    assert book.counters.inbound.failures[code] == 1
    assert book.counters.inbound.requests["error"][status // 100] == 1
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert book.app.made == []


def test_a_chunk_that_is_not_one_ends_an_upload(make_book: MakeBook, step: int) -> None:
    """Nothing of what is ambiguous reaches the application."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n")
    app = book.app.accept()
    sent = app.got
    client.send(b"-1\r\nevil")
    assert problem(client.got)["code"] == "bad-request"
    assert app.got.startswith(sent)
    assert b"evil" not in app.got
    assert app.calls == ["reset"]
    assert client.calls == ["write_eof"]


def test_an_error_for_head_has_no_body(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get().replace(b"GET", b"HEAD"))
    book.app.refuse()
    head, _, body = client.got.partition(b"\r\n\r\n")
    assert b"502 Bad Gateway" in head
    assert body == b""
    client.new()
    client.send(get())
    book.app.accept().send(OK)
    assert client.got == OK


@pytest.mark.parametrize("rest", [b"GARBAGE\n", b"GET / HT"], ids=["malformed", "too late"])
def test_an_error_is_whole_even_when_the_request_before_it_was_head(book: Playbook, rest: bytes) -> None:
    client = book.connect(book.inbound())
    client.send(get().replace(b"GET", b"HEAD"))
    book.app.accept().send(OK[:-2])
    client.new()
    client.send(rest)
    book.pass_ticks(book.settings.header_ticks)
    assert problem(client.got)["status"] in (400, 408)


def test_empty_lines_in_front_of_a_request_are_left_out(make_book: MakeBook, step: int) -> None:
    """RFC 9112 section 2.2: old clients send one behind a body."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    for request in (REQUESTS["get"], REQUESTS["content-length"], REQUESTS["chunked"]):
        client.send(b"\r\n" + request)
        app = book.app.accept() if book.app.dials else book.app.made[0]
        client.send()
        assert app.new() == request
        app.send(OK)
    assert client.got == OK * 3


def test_a_big_body_is_not_kept_with_its_head(book: Playbook) -> None:
    """A head is looked at until its answer is over; a megabyte that came with it need not stay for that."""
    client = book.connect(book.inbound())
    body = b"x" * 100_000
    request = b"POST /big HTTP/1.1\r\nhost: users\r\ncontent-length: 200000\r\n\r\n"
    client.send(request + body)
    assert len(client.exchange.passage.head.data) == len(request)
    app = book.app.accept()
    client.send(body)
    assert app.got == request + body + body
    app.send(OK)
    assert client.got == OK


def test_its_repr_says_what_it_does(book: Playbook) -> None:
    client = book.connect(book.inbound())
    assert repr(client.exchange) == "<Exchange idle held=0 paused=0>"
    client.send(get("/x"))
    assert repr(client.exchange) == (
        "<Exchange routing <RequestHead GET /x body=0> <Plan baseline key=- pools=1> held=0 paused=0>"
    )
    app = book.app.accept()
    assert repr(client.exchange).startswith("<Exchange waiting ")
    app.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert repr(client.exchange).startswith("<Exchange answering ")
    assert str(book.app.endpoint) == str(APP)


@pytest.mark.parametrize(
    ("answer", "mended"),
    [
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: identity\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ),
        (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ],
)
def test_an_answer_that_is_mended_ends_its_connection_and_not_the_clients(
    make_book: MakeBook, step: int, answer: bytes, mended: bytes
) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(answer)
    assert client.new() == mended
    client.send(get())
    assert book.app.accept() is not app
    assert book.counters.inbound.upstream_reused == 0


@pytest.mark.parametrize("status", [600, 700, 999])
def test_a_status_beyond_599_passes_and_is_counted(book: Playbook, status: int) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    book.app.accept().send(b"HTTP/1.1 %d Request denied\r\ncontent-length: 2\r\n\r\nno" % status)
    assert client.new().startswith(b"HTTP/1.1 %d Request denied\r\n" % status)
    assert book.counters.inbound.requests["baseline"][status // 100] == 1
