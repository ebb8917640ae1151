"""The gateway: a link becomes a sandbox's key, and nobody without one learns anything."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace

import pytest

from proxy.contract.previews import Link, token_hash
from proxy.contract.routes import Endpoint
from proxy.exchange.gateway import FORBIDDEN, LOGIN, NOT_FOUND, Gateway
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import (
    OK,
    REGISTRY,
    TARGET,
    Client,
    Playbook,
    PlayedUpstream,
    field_lines,
)

TOKEN, SECRET, OTHER = "a2b3c4d5e6f7" * 2 + "gh", "q7" * 13, "z2" * 13
HOST = f"{TOKEN}--web.localhost:7080"
LINK = Link(
    hash=token_hash(TOKEN), preview="web", workload="shop/frontend", target=TARGET, sandbox="agent-42",
    key="agent-42", revision=3, expires=5000.0,
)  # fmt: skip
STAMP = b"skycap-sandbox: agent-42\r\nskycap-revision: 3\r\nreferrer-policy: same-origin\r\nx-robots-tag: noindex\r\n"
UNCACHED = b"vary: baggage\r\ncache-control: no-store\r\n"


def ask(path: str = "/", *lines: str, host: str = HOST, method: str = "GET", version: str = "1.1") -> bytes:
    return "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/{version}", f"host: {host}", *lines, "")).encode()


def connect(book: Playbook, *links: Link, registry: bool = True) -> Client:
    return book.connect(book.gateway(*(links or (LINK,)), registry=registry))


def asked(book: Playbook, request: bytes, *links: Link) -> tuple[Client, PlayedUpstream]:
    client = connect(book, *links)
    client.send(request)
    return client, book.target.accept()


def answered(book: Playbook, request: bytes, answer: bytes, *links: Link) -> bytes:
    """What the client gets."""
    client, target = asked(book, request, *links)
    target.send(answer)
    return client.got


def page(kind: str, body: bytes, *lines: str) -> bytes:
    head = "".join(
        f"{line}\r\n"
        for line in ("HTTP/1.1 200 OK", f"content-type: {kind}", f"content-length: {len(body)}", *lines, "")
    )
    return head.encode() + body


def body_of(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert b"content-length" not in head.lower()
    assert body.endswith(b"0\r\n\r\n")
    return b"".join(body.split(b"\r\n")[1::2])


# -- what the target gets -----------------------------------------------------------------------------------------


def test_a_link_becomes_a_key(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client, target = asked(book, ask("/shop?a=1", "accept: */*"))
    assert target.got == (
        b"GET /shop?a=1 HTTP/1.1\r\naccept: */*\r\nhost: 127.0.0.1:9301\r\nbaggage: routing-key=agent-42\r\n"
        b"accept-encoding: identity\r\nx-forwarded-host: " + HOST.encode() + b"\r\nx-forwarded-proto: http\r\n\r\n"
    )
    target.send(OK)
    assert client.got == OK.replace(b"\r\n\r\n", b"\r\n" + STAMP + UNCACHED + b"\r\n")
    assert book.hops() == []


def test_the_second_request_takes_the_same_way(book: Playbook) -> None:
    client, target = asked(book, ask("/1"))
    target.send(OK)
    client.send(ask("/2", "content-length: 2", method="POST") + b"hi")
    assert target.got.endswith(b"\r\n\r\nhi")
    assert field_lines(target.got.partition(b"\r\n\r\n")[2], "baggage") == ["routing-key=agent-42"]
    target.send(OK)
    assert client.got.count(b"200 OK") == 2
    assert len(book.target.made) == 1


def test_what_a_stranger_says_of_keys_and_hops_is_taken_off(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, key_headers=["x-virtual-env"])
    _, target = asked(
        book,
        ask(
            "/", "baggage: routing-key=evil,user=ada", "tracestate: sd-routing-key=evil,v=1", "x-virtual-env: evil",
            "skycap-visited: 5c1d", "skycap-preview: x", "skycap-hop: 0123456789abcdef",
        ),
    )  # fmt: skip
    assert b"evil" not in target.got
    assert b"skycap" not in target.got
    assert field_lines(target.got, "baggage") == ["routing-key=agent-42,user=ada"]
    assert field_lines(target.got, "tracestate") == ["v=1"]


def test_the_application_sees_its_own_host_and_origin(book: Playbook) -> None:
    _, target = asked(
        book,
        ask(
            "/", f"origin: http://{HOST}", f"referer: http://{HOST}/a?b", "cookie: a=1;; b=2", "x-forwarded-host: evil"
        ),
    )
    assert field_lines(target.got, "host") == ["127.0.0.1:9301"]
    assert field_lines(target.got, "origin") == ["http://127.0.0.1:9301"]
    assert field_lines(target.got, "referer") == ["http://127.0.0.1:9301/a?b"]
    assert field_lines(target.got, "cookie") == ["a=1; b=2"]
    assert field_lines(target.got, "x-forwarded-host") == [HOST]


def test_a_foreign_origin_stays_one(book: Playbook) -> None:
    """Or a page of anywhere would pass for the application's own."""
    _, target = asked(book, ask("/", f"origin: http://{HOST}.evil.example", "referer: http://evil.example/"))
    assert field_lines(target.got, "origin") == [f"http://{HOST}.evil.example"]
    assert field_lines(target.got, "referer") == ["http://evil.example/"]


def test_tls_in_front_is_told(book: Playbook) -> None:
    got = answered(
        book,
        ask("/", "x-forwarded-proto: https"),
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9301/x\r\ncontent-length: 0\r\n\r\n",
    )
    assert field_lines(got, "location") == [f"https://{HOST}/x"]


@pytest.mark.parametrize("host", [HOST.upper(), f"{TOKEN}--web.localhost", f"{TOKEN}--web.localhost.:7080"])
def test_ways_to_write_the_host(book: Playbook, host: str) -> None:
    _, target = asked(book, ask(host=host))
    assert field_lines(target.got, "baggage") == ["routing-key=agent-42"]


def test_the_absolute_form_names_the_host(book: Playbook) -> None:
    _, target = asked(book, ask(f"http://{HOST}/x", host="elsewhere"))
    assert target.got.startswith(b"GET /x HTTP/1.1\r\n")
    assert field_lines(target.got, "host") == [HOST]
    assert field_lines(target.got, "baggage") == ["routing-key=agent-42"]


def test_an_upgrade_passes(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client, target = asked(book, ask("/ws", "connection: upgrade", "upgrade: websocket", f"origin: http://{HOST}"))
    assert field_lines(target.got, "upgrade") == ["websocket"]
    target.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
    client.send(b"world")
    assert client.got.endswith(b"\r\n\r\nhello")
    assert target.got.endswith(b"world")


# -- who has no link ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        ask(host="localhost:7080"),
        ask(host="127.0.0.1:7080"),
        ask(host=f"{OTHER}--web.localhost"),
        ask(host=f"{TOKEN}--other.localhost"),
        ask(host=f"{TOKEN}--web.example.org"),
        ask(host=f"{TOKEN[:-1]}--web.localhost"),
        ask(f"/~skycap/{OTHER}", host="localhost"),
        ask("/~skycap/banner.js", host="localhost"),
        ask("/", f"cookie: skycap-preview={OTHER}", host="localhost"),
        ask("/", "cookie: skycap-preview=\xe9; x", host="localhost"),
        ask(host=f"{OTHER}--web.localhost", method="POST"),
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_nothing_is_told(make_book: MakeBook, step: int, request_: bytes) -> None:
    book = make_book(step=step)
    client = connect(book)
    client.send(request_)
    assert client.got.startswith(b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html; charset=utf-8\r\n")
    assert client.got.endswith(NOT_FOUND.body)
    assert not book.target.dials
    assert repr(NOT_FOUND) == "<Reply 404>"


def test_an_expired_link_is_none(book: Playbook) -> None:
    client = connect(book)
    book.clock.now = 5000.0
    client.send(ask())
    assert client.got.startswith(b"HTTP/1.1 404 ")


def test_a_revoked_link_is_none_at_once(book: Playbook) -> None:
    client, target = asked(book, ask())
    target.send(OK)
    book.links.change((), [LINK.hash])
    client.new()
    client.send(ask())
    assert client.new().startswith(b"HTTP/1.1 404 ")


def test_a_link_that_leads_elsewhere_now(book: Playbook) -> None:
    """Another revision, or its target has moved."""
    client, target = asked(book, ask())
    target.send(OK)
    moved = Endpoint("127.0.0.1", 9302)
    book.links.change([replace(LINK, revision=4, target=moved)], ())
    client.new()
    client.send(ask())
    book.pool(moved).accept().send(OK)
    assert field_lines(client.new(), "skycap-revision") == ["4"]


def test_head_has_no_body_and_a_closing_client_is_told(book: Playbook) -> None:
    client = connect(book)
    client.send(ask(host="localhost", method="HEAD"))
    assert client.new().endswith(b"content-length: %d\r\n\r\n" % len(NOT_FOUND.body))
    client.send(ask("/", "connection: close", host="localhost"))
    assert field_lines(client.new(), "connection") == ["close"]
    assert "close" in client.recorded.calls


def test_a_body_that_nobody_wants(book: Playbook) -> None:
    """The answer is given at once, and the connection ends behind what still comes."""
    client = connect(book)
    client.send(ask("/", "content-length: 10", host="localhost", method="POST") + b"abc")
    assert client.new().startswith(b"HTTP/1.1 404 ")
    assert client.recorded.ended


def test_connect_is_for_forward_proxies(book: Playbook) -> None:
    client = connect(book)
    client.send(b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n")
    assert client.got.startswith(b"HTTP/1.1 501 ")


def test_a_target_that_does_not_answer(book: Playbook) -> None:
    client = connect(book)
    client.send(ask())
    book.target.refuse()
    assert client.got.startswith(b"HTTP/1.1 502 ")
    assert b"shop/frontend, which this preview leads to" in client.got


# -- the link as a path -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "leads"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a?b=1", "/a?b=1"),
        ("/~skycap/", "/~skycap/"),
        ("//evil.example", "/"),
        ("/\\evil", "/"),
    ],
)
def test_a_path_sets_a_cookie(book: Playbook, rest: str, leads: str) -> None:
    client = connect(book)
    client.send(ask(f"/~skycap/{TOKEN}{rest}", host="10.0.0.7:7080"))
    assert client.got.startswith(b"HTTP/1.1 303 See Other\r\n")
    assert field_lines(client.got, "location") == [leads]
    assert field_lines(client.got, "set-cookie") == [
        f"skycap-preview={TOKEN}; Path=/; Max-Age=4000; HttpOnly; SameSite=Lax"
    ]
    assert field_lines(client.got, "cache-control") == ["no-store"]


def test_the_cookie_is_not_for_the_application(book: Playbook) -> None:
    _, target = asked(book, ask("/", f"cookie: a=1; skycap-preview={TOKEN}", "cookie: b=2; a=3", host="10.0.0.7"))
    assert field_lines(target.got, "cookie") == ["a=1; b=2"]
    assert field_lines(target.got, "baggage") == ["routing-key=agent-42"]


def test_over_tls_the_cookie_is_secure(book: Playbook) -> None:
    client = connect(book)
    client.send(ask(f"/~skycap/{TOKEN}", "x-forwarded-proto: https", host="10.0.0.7"))
    assert field_lines(client.got, "set-cookie")[0].endswith("; Secure")


# -- a second secret ----------------------------------------------------------------------------------------------

GUARDED = replace(LINK, login=token_hash(SECRET))


def basic(secret: str) -> str:
    return f"authorization: Basic {b64encode(f'anybody:{secret}'.encode()).decode()}"


@pytest.mark.parametrize(
    "line",
    [
        "a: b", basic(OTHER), basic(""), "authorization: Bearer x", "authorization: Basic %",
        f"cookie: skycap-login={OTHER}",
    ],
)  # fmt: skip
def test_without_the_secret_nobody_enters(book: Playbook, line: str) -> None:
    client = connect(book, GUARDED)
    client.send(ask("/", line))
    assert client.got.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert field_lines(client.got, "www-authenticate") == ['Basic realm="preview", charset="UTF-8"']
    assert client.got.endswith(LOGIN.body)


def test_a_browser_is_asked_once(book: Playbook) -> None:
    client = connect(book, GUARDED)
    client.send(ask("/a?b", basic(SECRET), "accept: text/html,*/*"))
    assert field_lines(client.got, "location") == ["/a?b"]
    cookie = field_lines(client.new(), "set-cookie")[0]
    assert cookie == f"skycap-login={SECRET}; Path=/; Max-Age=4000; HttpOnly; SameSite=Lax"
    client.send(ask("/a?b", f"cookie: {cookie.partition(';')[0]}", "authorization: Bearer of-the-application"))
    target = book.target.accept()
    assert field_lines(target.got, "authorization") == ["Bearer of-the-application"]
    assert field_lines(target.got, "cookie") == []


def test_a_program_says_it_every_time(book: Playbook) -> None:
    _, target = asked(book, ask("/", basic(SECRET)), GUARDED)
    assert field_lines(target.got, "authorization") == []


# -- what comes back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("http://127.0.0.1:9301/x", f"http://{HOST}/x"),
        ("https://127.0.0.1:9301?x", f"http://{HOST}?x"),
        ("//127.0.0.1:9301", f"http://{HOST}"),
        ("/x", "/x"),
        ("http://127.0.0.1:93010/", "http://127.0.0.1:93010/"),
        ("http://elsewhere//127.0.0.1:9301/", "http://elsewhere//127.0.0.1:9301/"),
        ("ftp://127.0.0.1:9301/", "ftp://127.0.0.1:9301/"),
    ],
)
def test_where_a_redirection_leads(book: Playbook, before: str, after: str) -> None:
    got = answered(book, ask(), f"HTTP/1.1 302 Found\r\nlocation: {before}\r\ncontent-length: 0\r\n\r\n".encode())
    assert field_lines(got, "location") == [after]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a=1; Domain=127.0.0.1; Path=/", "b=2; HttpOnly"], ["a=1; Path=/", "b=2; HttpOnly"]),
        (["b=2; HttpOnly"], ["b=2; HttpOnly"]),
    ],
)
def test_cookies_of_the_targets_domain_become_the_previews(book: Playbook, before: list[str], after: list[str]) -> None:
    lines = "".join(f"set-cookie: {cookie}\r\n" for cookie in before)
    got = answered(book, ask(), f"HTTP/1.1 200 OK\r\n{lines}content-length: 0\r\n\r\n".encode())
    assert field_lines(got, "set-cookie") == after


def test_who_served_it_is_told_and_nobody_speaks_for_us(book: Playbook) -> None:
    told = b"skycap-served-by: shop/frontend;baseline\r\nskycap-sandbox: evil\r\n"
    got = answered(book, ask(), b"HTTP/1.1 200 OK\r\n" + told + b"content-length: 0\r\n\r\n")
    assert field_lines(got, "skycap-served-by") == ["shop/frontend;baseline"]
    assert field_lines(got, "skycap-sandbox") == ["agent-42"]


PAGE = b'<!doctype html><a href="http://127.0.0.1:9301/x">'
LED_BACK = b'<a href="http://' + HOST.encode() + b'/x">'
SCRIPT = (
    b'<script async src="/~skycap/banner.js" data-sandbox="agent-42" data-revision="3" data-preview="web"></script>'
)
DOCUMENT = "sec-fetch-dest: document"


def test_a_page_gets_its_banner_and_its_links_lead_back(make_book: MakeBook, step: int) -> None:
    got = answered(make_book(step=step), ask("/", DOCUMENT), page("text/html; charset=utf-8", PAGE, "etag: x"))
    assert body_of(got) == b"<!doctype html>" + SCRIPT + LED_BACK
    assert field_lines(got, "etag") == []


def test_a_page_in_chunks(make_book: MakeBook, step: int) -> None:
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (20, PAGE[:20], len(PAGE) - 20, PAGE[20:])
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n"
    got = answered(make_book(step=step), ask("/", "accept: text/html"), head + chunks)
    assert body_of(got) == b"<!doctype html>" + SCRIPT + LED_BACK


def test_a_page_that_ends_with_its_connection(make_book: MakeBook, step: int) -> None:
    client, target = asked(make_book(step=step), ask("/", DOCUMENT))
    target.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n" + PAGE + b"//127")
    target.end()
    assert body_of(client.got) == b"<!doctype html>" + SCRIPT + LED_BACK + b"//127"
    assert field_lines(client.got, "connection") == ["close"]


def test_a_large_page_is_read_and_not_moved(book: Playbook) -> None:
    body = PAGE + b" " * 600_000
    client, target = asked(book, ask("/", DOCUMENT))
    whole = page("text/html", body)
    target.send(whole[:1000])
    target.send(whole[1000:])
    assert client.got.endswith(b"0\r\n\r\n")
    assert not book.splicer.splices


@pytest.mark.parametrize("line", ["sec-fetch-dest: empty", "accept: */*", "a: b"])
def test_a_piece_of_a_page_gets_no_banner(book: Playbook, line: str) -> None:
    got = answered(book, ask("/", line), page("text/html", PAGE))
    assert body_of(got) == b"<!doctype html>" + LED_BACK


def test_without_a_registry_there_is_no_banner(book: Playbook) -> None:
    client = connect(book, registry=False)
    client.send(ask("/", DOCUMENT))
    book.target.accept().send(page("text/html", PAGE))
    assert body_of(client.got) == b"<!doctype html>" + LED_BACK
    client.send(ask("/~skycap/banner.js"))
    assert client.got.endswith(NOT_FOUND.body)


def test_json_is_rewritten_and_gets_no_banner(book: Playbook) -> None:
    document = json.dumps({"next": "http://127.0.0.1:9301/2"}).encode()
    got = answered(book, ask("/", DOCUMENT), page("application/json", document))
    assert json.loads(body_of(got)) == {"next": f"http://{HOST}/2"}


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (ask(), page("image/png", PAGE)),
        (ask(), page("text/event-stream", PAGE)),
        (ask(), page("text/html", PAGE, "content-encoding: gzip")),
        (ask(), page("text/html", PAGE).replace(b"200 OK", b"206 Partial Content")),
        (ask(version="1.0"), page("text/html", PAGE)),
        (ask(), b"HTTP/1.1 304 Not Modified\r\ncontent-type: text/html\r\n\r\n"),
        (ask(method="HEAD"), page("text/html", b"", "content-length: 5").replace(b"content-length: 0\r\n", b"")),
        (ask(), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ],
)
def test_what_leaves_as_it_comes(book: Playbook, request_: bytes, answer: bytes) -> None:
    got = answered(book, request_, answer)
    assert got.partition(b"\r\n\r\n")[2] == answer.partition(b"\r\n\r\n")[2]
    assert b"transfer-encoding" not in got


# -- the pages about a sandbox ------------------------------------------------------------------------------------


def test_the_registry_has_the_pages_about_a_sandbox(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = connect(book)
    client.send(
        ask(
            "/~skycap/x?y",
            "cookie: a=1",
            "authorization: Bearer mine",
            "sec-fetch-site: cross-site",
            "skycap-preview: evil",
        )
    )
    registry = book.pool(REGISTRY).accept()
    assert registry.got == (
        b"GET /~skycap/x?y HTTP/1.1\r\nhost: 127.0.0.1:7070\r\nauthorization: Bearer of-a-sidecar\r\n"
        b"skycap-preview: "
        + TOKEN.encode()
        + b"\r\nx-forwarded-host: "
        + HOST.encode()
        + b"\r\nx-forwarded-proto: http\r\n\r\n"
    )
    registry.send(page("text/html", PAGE, "skycap-said: this"))
    assert client.got == page("text/html", PAGE, "skycap-said: this")


def test_words_are_taken_from_its_own_pages_only(book: Playbook) -> None:
    client = connect(book)
    for line in ("origin: http://evil.example", "a: b"):
        client.send(ask("/~skycap/reviews", line, "content-length: 0", method="POST"))
        assert client.new().endswith(FORBIDDEN.body)
    client.send(ask("/~skycap/reviews", f"origin: http://{HOST}", "content-length: 2", method="POST") + b"{}")
    registry = book.pool(REGISTRY).accept()
    assert registry.got.endswith(b"\r\n\r\n{}")
    assert field_lines(registry.got, "origin") == []
    registry.send(OK)
    assert client.got.endswith(OK)


def test_its_pages_need_the_secret_as_well(book: Playbook) -> None:
    client = connect(book, GUARDED)
    client.send(ask("/~skycap/"))
    assert client.got.startswith(b"HTTP/1.1 401 ")


def test_only_links_that_were_followed_hold_connections(book: Playbook) -> None:
    side = book.gateway(LINK)
    assert isinstance(side, Gateway)
    assert side.endpoints_in_use() == set()
    client = book.connect(side)
    client.send(ask())
    book.target.accept().send(OK)
    assert side.endpoints_in_use() == {TARGET}
    book.links.change((), [LINK.hash])
    assert side.endpoints_in_use() == set()
