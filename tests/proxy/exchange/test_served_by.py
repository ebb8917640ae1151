"""`skycap-served-by`: every answer to a keyed request says who served it, from the entry inwards."""

from __future__ import annotations

import pytest

from proxy.routing.served import MAX_BYTES
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import (
    HOP_LINE,
    OK,
    Client,
    Playbook,
    PlayedUpstream,
    field_lines,
    get,
    keyed,
    problem,
    proven,
    ready,
    uncached,
)

TRACE = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BASELINE = "shop/users;baseline"
PAYMENTS = "shop/payments;baseline"


def served_by(answer: bytes) -> list[str]:
    return field_lines(answer, "skycap-served-by")


def answer_with(*values: str) -> bytes:
    lines = "".join(f"Skycap-Served-By: {value}\r\n" for value in values)
    return f"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{lines}\r\nok".encode()


def call(book: Playbook, client: Client, request: bytes, answer: bytes) -> None:
    """An outbound call and its answer."""
    client.send(request)
    target = book.target
    upstream = target.accept() if target.dials else target.made[-1]
    got = upstream.new()
    upstream.send(proven(got, answer) if HOP_LINE.search(got) else answer)


def inside(book: Playbook) -> tuple[Client, PlayedUpstream]:
    """A keyed request that the application works on."""
    client = book.connect(book.inbound())
    client.send(keyed("agent-42", "/", TRACE))
    return client, book.app.accept()


def test_the_baseline_says_so(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client, app = inside(book)
    app.send(OK)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nskycap-served-by: shop/users;baseline\r\n\r\nok"
    assert client.got == uncached(answer)


def test_who_asks_without_a_key_is_told_nothing(make_book: MakeBook, step: int) -> None:
    """But what the application says in our name is left out: an `skycap-error` of its own would be taken for ours."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get("/", "baggage: user=1", "skycap-visited: other", TRACE))
    app = book.app.accept()
    assert app.got == get("/", "baggage: user=1", "skycap-visited: other", TRACE)
    app.send(answer_with("spoofed").replace(b"\r\n\r\n", b"\r\nSkycap-Error: loop\r\nskycap-other: 1\r\nx: y\r\n\r\n"))
    assert client.got == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\nok"


@pytest.mark.parametrize("key", ["", "agent-42"])
def test_an_interim_answer_says_nothing_in_our_name(make_book: MakeBook, step: int, key: str) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(keyed(key) if key else get())
    book.app.accept().send(
        b"HTTP/1.1 103 Early Hints\r\nSkycap-Error: loop\r\nskycap-served-by: a/b\r\nlink: </a>\r\n\r\n"
    )
    assert client.got == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


def test_a_shadow_without_a_sidecar_is_spoken_for(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.shadow.accept().send(OK)
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]


def test_a_shadow_with_a_sidecar_speaks_for_itself(make_book: MakeBook, step: int) -> None:
    """It has seen the shadow's own calls, and this one here has not."""
    theirs = "shop/users;sandbox=agent-42;rev=3;lost=1, shop/payments;baseline"
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    shadow = book.shadow.accept()
    shadow.send(proven(shadow.got, answer_with(theirs)))
    assert client.got == uncached(answer_with(theirs))


@pytest.mark.parametrize("lie", ["skycap-hop: 0123456789abcdef", "x: y"])
def test_a_shadow_without_a_sidecar_is_not_believed(make_book: MakeBook, step: int, lie: str) -> None:
    """Whatever it says of itself, of others, and of errors: nothing tells that a sidecar has said it."""
    theirs = "shop/users;sandbox=agent-42;rev=3, shop/payments;sandbox=agent-42;rev=9"
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    answer = answer_with(theirs).replace(b"\r\n\r\n", f"\r\nskycap-error: loop\r\n{lie}\r\n\r\n".encode())
    book.shadow.accept().send(answer)
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]
    assert field_lines(client.got, "skycap-error") == field_lines(client.got, "skycap-hop") == []


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"])
@pytest.mark.parametrize("extra", [[], ["b3: 0"], ["connection: keep-alive, x"]])
def test_a_sidecar_tells_the_one_before_it_that_it_is_one(
    make_book: MakeBook, step: int, answer: bytes, extra: list[str]
) -> None:
    """It names the hop that it was told, which no application behind it has seen."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(keyed("agent-42", "/", TRACE, *extra, "skycap-hop: 0123456789abcdef"))
    app = book.app.accept()
    assert b"skycap-hop" not in app.got
    app.send(answer)
    assert field_lines(client.got, "skycap-hop") == ["0123456789abcdef"]
    assert served_by(client.new()) == [BASELINE + (";status=404" if b"404" in answer else "")]
    client.send(keyed("agent-42", "/", TRACE))
    app.send(answer)
    assert field_lines(client.new(), "skycap-hop") == [], "and nothing to those who told nothing"


def test_also_with_an_error_and_with_what_a_shadows_sidecar_says(make_book: MakeBook) -> None:
    book = make_book(routes=[ready()])
    client = book.connect(book.inbound())
    told = keyed("agent-42", "/", TRACE, "skycap-hop: 0123456789abcdef")
    client.send(told)
    shadow = book.shadow.accept()
    own = field_lines(shadow.got, "skycap-hop")
    assert own != ["0123456789abcdef"], "the next one is told our hop"
    shadow.send(proven(shadow.got, answer_with("shop/users;sandbox=agent-42;rev=3, shop/payments;baseline")))
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3, shop/payments;baseline"]
    assert field_lines(client.new(), "skycap-hop") == ["0123456789abcdef"]
    client.send(told)
    shadow.vanish(error=True)
    book.shadow.refuse()
    assert problem(client.got)["code"] == "shadow-unreachable"
    assert field_lines(client.got, "skycap-hop") == ["0123456789abcdef"]


@pytest.mark.parametrize(
    "spoofed",
    [
        PAYMENTS, "shop/users;baseline", "", '"shop/other";sandbox=x;rev=1', "shop/users;sandbox=other;rev=3",
        "shop/users;sandbox=agent-42;rev=9", "shop/users;sandbox=agent-42",
    ],
)  # fmt: skip
def test_a_shadow_that_says_something_else_is_not_believed(make_book: MakeBook, step: int, spoofed: str) -> None:
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.shadow.accept().send(answer_with(spoofed))
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]


@pytest.mark.parametrize("other", ["shop/users;sandbox=agent-7;rev=3", "shop/users;sandbox=agent-42;rev=4", PAYMENTS])
def test_another_ones_sidecar_does_not_speak_for_the_shadow_that_was_dialled(make_book: MakeBook, other: str) -> None:
    """A shadow of somebody else has taken its port: it says so, and is not what was meant."""
    book = make_book(routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    shadow = book.shadow.accept()
    shadow.send(proven(shadow.got, answer_with(other)))
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]


def test_what_a_shadows_sidecar_says_is_bounded_as_well(make_book: MakeBook) -> None:
    theirs = ", ".join(["shop/users;sandbox=agent-42;rev=3", *(f"shop/w{number};baseline" for number in range(900))])
    book = make_book(routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    shadow = book.shadow.accept()
    shadow.send(proven(shadow.got, answer_with(theirs)))
    (value,) = served_by(client.got)
    assert value.startswith("shop/users;sandbox=agent-42;rev=3, shop/w0;baseline")
    assert value.endswith(", truncated")
    assert len(value) <= MAX_BYTES


def test_what_was_collected_is_bounded_in_bytes(make_book: MakeBook) -> None:
    book = make_book()
    client, app = inside(book)
    caller = book.connect(book.outbound())
    for answer in range(64):
        items = ", ".join(f"shop/w{answer}-{number};baseline" for number in range(100))
        call(book, caller, get("/", TRACE), answer_with(items))
        caller.new()
    app.send(OK)
    (value,) = served_by(client.got)
    assert len(value) <= MAX_BYTES
    assert value.startswith("shop/users;baseline, shop/w0-0;baseline")
    assert value.endswith(", truncated")


def test_an_application_cannot_speak_for_its_sidecar(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client, app = inside(book)
    app.send(answer_with("shop/users;sandbox=evil;rev=1", "more"))
    assert served_by(client.got) == [BASELINE]


def test_beside_a_shadow(make_book: MakeBook, step: int) -> None:
    """Always to its own application, whatever the key; and it does not believe that one either."""
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound(sandbox="agent-42", revision=7))
    for key in ("agent-42", "agent-7"):
        client.send(keyed(key))
        app = book.app.accept() if book.app.dials else book.app.made[0]
        app.send(answer_with("shop/users;sandbox=evil;rev=1"))
        assert served_by(client.new()) == ["shop/users;sandbox=agent-42;rev=7"]
    assert book.shadow.dialled == 0
    client.send(get())
    app.send(OK)
    assert client.new() == OK, "without a key nobody is told anything"
    assert book.counters.inbound.requests["shadow"][2] == 2


def test_who_served_the_calls_stands_behind(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client, app = inside(book)
    caller = book.connect(book.outbound())
    call(book, caller, get("/charge", TRACE), answer_with("shop/payments;baseline, bank/ledger;baseline"))
    call(book, caller, get("/mail", TRACE), answer_with("shop/mail;sandbox=agent-42;rev=1"))
    call(book, caller, get("/charge", TRACE), answer_with("shop/payments;baseline, bank/ledger;baseline"))
    call(book, caller, get("/plain", TRACE), OK)
    app.send(OK)
    assert served_by(client.got) == [
        "shop/users;baseline, shop/payments;baseline, bank/ledger;baseline, shop/mail;sandbox=agent-42;rev=1"
    ]
    assert served_by(caller.got) == [PAYMENTS + ", bank/ledger;baseline"], "the caller sees its own answer untouched"


def test_several_lines_are_one_list(make_book: MakeBook) -> None:
    book = make_book()
    client, app = inside(book)
    call(book, book.connect(book.outbound()), get("/", TRACE), answer_with("a/b;baseline", "c/d;baseline"))
    app.send(OK)
    assert served_by(client.got) == ["shop/users;baseline, a/b;baseline, c/d;baseline"]


def test_calls_of_other_traces_are_not_ours(make_book: MakeBook) -> None:
    book = make_book()
    client, app = inside(book)
    call(
        book,
        book.connect(book.outbound()),
        keyed("agent-7", "/", TRACE.replace("4736", "4737")),
        answer_with("x/y;baseline"),
    )
    call(book, book.connect(book.outbound()), get(), answer_with("x/z;baseline"))
    app.send(OK)
    assert served_by(client.got) == [f"{BASELINE};lost=1"]


def test_calls_after_the_answer_are_too_late(make_book: MakeBook) -> None:
    book = make_book()
    client, app = inside(book)
    app.send(OK)
    client.new()
    call(book, book.connect(book.outbound()), get("/", TRACE), answer_with(PAYMENTS))
    client.send(keyed("agent-42", "/", TRACE))
    app.send(OK)
    assert served_by(client.got) == [BASELINE]


def test_requests_of_one_trace_that_overlap_share_what_was_seen(make_book: MakeBook) -> None:
    """Which of them a call belongs to, nobody can tell."""
    book = make_book()
    side = book.inbound()
    first, second = book.connect(side), book.connect(side)
    first.send(keyed("agent-42", "/1", TRACE, "x-request-id: one"))
    second.send(keyed("agent-42", "/2", TRACE, "x-request-id: two"))
    one, two = book.app.accept(), book.app.accept()
    caller = book.connect(book.outbound())
    call(book, caller, get("/", TRACE), answer_with(PAYMENTS))
    one.send(OK)
    call(book, caller, get("/", "x-request-id: two"), answer_with("shop/mail;baseline"))
    two.send(OK)
    assert served_by(first.got) == [f"{BASELINE}, {PAYMENTS}"]
    assert served_by(second.got) == [f"{BASELINE}, shop/mail;baseline, {PAYMENTS}"]
    assert book.correlation.keyed_in_flight == 0


def test_an_error_says_what_was_seen_before_it(make_book: MakeBook) -> None:
    book = make_book()
    client, app = inside(book)
    call(book, book.connect(book.outbound()), get("/", TRACE), answer_with(PAYMENTS))
    app.vanish(error=True)
    assert served_by(client.got) == [f"shop/users;error=upstream-reset, {PAYMENTS}"]


def test_an_error_of_a_call_says_nothing_of_other_calls(make_book: MakeBook) -> None:
    """Who served them is told in the answer to the request that caused them all."""
    book = make_book()
    client, app = inside(book)
    caller = book.connect(book.outbound())
    call(book, caller, get("/", TRACE), answer_with(PAYMENTS))
    caller.new()
    caller.send(get("/", TRACE, "connection: close"))
    book.target.made[-1].vanish()
    book.target.refuse()
    assert problem(caller.got)["code"] == "app-unreachable"
    assert served_by(caller.got) == ["shop/users;error=app-unreachable"]
    app.send(OK)
    assert served_by(client.got) == [f"{BASELINE}, {PAYMENTS}"]


def test_a_refused_body_of_a_keyed_request_is_no_secret(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed()[:-2] + b"transfer-encoding: chunked\r\n\r\nnonsense\r\n")
    assert problem(client.got)["code"] == "bad-request"
    assert served_by(client.got) == ["shop/users;error=bad-request"]


def test_it_comes_with_every_kind_of_answer(make_book: MakeBook, step: int) -> None:
    """Also with those that have to be rewritten anyway."""
    for answer in (
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: x\r\nx: y\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + OK,
    ):
        book = make_book(step=step)
        client, app = inside(book)
        app.send(answer)
        assert client.got.count(b"skycap-served-by: shop/users;baseline\r\n") == 1
        assert served_by(client.got[client.got.rindex(b"HTTP/1.1") :]) == [BASELINE]


def test_a_sidecar_that_speaks_for_another_workload_is_not_taken_for_the_shadow_s(make_book: MakeBook) -> None:
    """It names the hop that it was told, and yet says nothing of this workload."""
    book = make_book(routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    shadow = book.shadow.accept()
    shadow.send(proven(shadow.got, answer_with("shop/payments;sandbox=agent-42;rev=3")))
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]
