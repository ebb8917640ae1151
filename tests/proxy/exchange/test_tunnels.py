"""Upgrade and CONNECT: bytes both ways, each way with its own end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange import outbound
from proxy.exchange.phase import CLOSED, TUNNEL
from proxy.exchange.ports import Upstream
from proxy.exchange.settings import ExchangeSettings
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Client, Playbook, PlayedUpstream, get, keyed, problem, ready, untold

UPGRADE = get("/ws", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "sec-websocket-key: x")
FORWARDED = get("/ws", "sec-websocket-key: x", "connection: upgrade", "upgrade: websocket")
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: y\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
)
CONNECT = b"CONNECT mail.example:25 HTTP/1.1\r\nhost: mail.example:25\r\n\r\n"
MAIL = Endpoint("mail.example", 25)


def websocket(book: Playbook) -> tuple[Client, PlayedUpstream]:
    client = book.connect(book.inbound())
    client.send(UPGRADE)
    app = book.app.accept()
    app.send(SWITCHED)
    return client, app


def connect(book: Playbook) -> tuple[Client, PlayedUpstream]:
    client = book.connect(book.outbound(None))
    client.send(CONNECT)
    return client, book.pool(MAIL).accept()


def test_an_upgrade_becomes_a_tunnel(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client, app = websocket(book)
    assert app.new() == FORWARDED
    assert client.new() == SWITCHED
    client.send(b"\x81\x05hello")
    app.send(b"GET / HTTP/1.1\r\n\r\n")
    assert app.new() == b"\x81\x05hello"
    assert client.new() == b"GET / HTTP/1.1\r\n\r\n"
    assert client.exchange.phase == TUNNEL
    assert book.counters.inbound.tunnels_opened == 1


def test_what_comes_with_the_switch_belongs_to_the_tunnel(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(UPGRADE + b"early frame")
    app = book.app.accept()
    assert app.new() == FORWARDED, "before the switch it may be a request"
    app.send(SWITCHED + b"first words")
    assert client.got == SWITCHED + b"first words"
    assert app.got == b"early frame"


def test_an_interim_answer_before_the_switch(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(UPGRADE)
    book.app.accept().send(b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + SWITCHED)
    assert client.got == b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + SWITCHED
    assert client.exchange.phase == TUNNEL


def test_an_upgrade_that_is_declined_is_a_usual_exchange(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(UPGRADE)
    app = book.app.accept()
    app.send(OK)
    assert client.got == OK
    assert book.app.idle == [app]
    assert book.counters.inbound.tunnels_opened == 0


@pytest.mark.parametrize(
    "request_bytes",
    [get(), get("/", "connection: upgrade", "upgrade: h2c"), UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0")],
    ids=["no wish", "a wish that is not passed on", "http/1.0"],
)
def test_a_switch_that_nobody_asked_for(make_book: MakeBook, step: int, request_bytes: bytes) -> None:
    """Behind it, bytes would pass that we take for something else (RFC 9110 section 15.2.2)."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(request_bytes)
    app = book.app.accept()
    app.send(SWITCHED + b"evil")
    document = problem(client.got)
    assert (document["code"], document["status"]) == ("bad-response", 502)
    assert "101" in document["detail"]
    assert app.calls == ["reset"]
    assert client.exchange.phase != TUNNEL


@pytest.mark.parametrize(
    ("wish", "given"),
    [
        (b"TLS/1.2", b"TLS/1.2, HTTP/1.1"),
        (b"tls", b"tls/1.3,http/1.1"),
        (b"foo, bar", b"bar"),
        (b"foo", b"foo/1"),
        (b"foo/2, bar", b"foo"),
        (b"h2c, websocket", b"WebSocket"),
    ],
)
def test_a_switch_may_list_layers_and_versions(make_book: MakeBook, step: int, wish: bytes, given: bytes) -> None:
    """RFC 9110 section 7.8: in ascending order; the name is what is agreed on."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n" % wish)
    app = book.app.accept()
    switched = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n" % given
    app.send(switched + b"hi")
    assert client.got.lower() == switched.lower() + b"hi"
    assert client.exchange.phase == TUNNEL


@pytest.mark.parametrize(
    "protocol", [b"", b"upgrade: h2c\r\n", b"upgrade: web\r\n", b"upgrade: websocket, h2c\r\n", b"upgrade: ,\r\n"]
)
def test_a_switch_to_what_was_not_asked_for(make_book: MakeBook, step: int, protocol: bytes) -> None:
    """RFC 9110 section 7.8: the server names the protocol that it switches to, and it is one that was wished for."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(UPGRADE)
    app = book.app.accept()
    app.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n%b\r\n" % protocol)
    assert problem(client.got)["code"] == "bad-response"
    assert app.calls == ["reset"]


Opened = Callable[[Playbook], tuple[Client, PlayedUpstream]]


@pytest.mark.parametrize("opened", [websocket, connect])
@pytest.mark.parametrize("first", ["client", "upstream"])
def test_each_way_ends_by_itself(make_book: MakeBook, step: int, opened: Opened, first: str) -> None:
    book = make_book(step=step)
    client, upstream = opened(book)
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.new()
    assert one.end()
    assert other.calls == ["write_eof"]
    other.send(b"still on its way")
    assert one.got == b"still on its way"
    assert not other.end()
    assert client.exchange.phase == CLOSED
    assert upstream.recorded.closing


@pytest.mark.parametrize("opened", [websocket, connect])
def test_an_end_that_is_told_twice_is_one_end(make_book: MakeBook, opened: Opened) -> None:
    """uvloop tells the end of a stream again when reading was paused and goes on."""
    book = make_book()
    client, upstream = opened(book)
    assert client.end()
    assert client.end()
    client.new()
    upstream.send(b"the answer")
    assert client.got == b"the answer"
    assert upstream.calls == ["write_eof"]
    book = make_book()
    client, upstream = opened(book)
    assert upstream.end()
    assert upstream.end()
    upstream.new()
    client.send(b"more")
    assert upstream.got == b"more"
    assert client.calls == ["write_eof"]


def test_a_client_that_had_ended_before_the_switch(make_book: MakeBook) -> None:
    """Its end is passed on with the opening of the tunnel; otherwise the upstream would wait for ever."""
    book = make_book()
    client = book.connect(book.inbound())
    client.send(UPGRADE)
    app = book.app.accept()
    assert client.end()
    assert app.calls == ["write_eof"]
    app.send(SWITCHED)
    assert set(app.calls) == {"write_eof"}
    app.send(b"bye")
    assert client.got == SWITCHED + b"bye"
    assert not app.end()
    assert client.calls == ["write_eof", "close"]

    client = book.connect(book.outbound(None))
    client.send(CONNECT + b"quit\r\n")
    assert client.end()
    mail = book.pool(MAIL).accept()
    assert mail.got == b"quit\r\n"
    assert mail.calls == ["write_eof"]


def test_a_tunnel_joins_what_is_written_last(book: Playbook) -> None:
    """Its ends are closed when what they were sent has arrived, not before."""
    client, app = websocket(book)
    client.send(b"last words")
    client.vanish()
    assert app.calls == ["close"]
    client, app = websocket(book)
    app.send(b"last words")
    app.vanish()
    assert client.calls == ["close"]


def test_an_end_for_a_stream_that_is_closing_anyway(book: Playbook) -> None:
    client, app = websocket(book)
    app.recorded.closing = True
    assert client.end()
    assert app.calls == []


def test_connect_opens_a_tunnel(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client, mail = connect(book)
    assert client.new() == b"HTTP/1.1 200 OK\r\n\r\n"
    assert mail.got == b"", "the request itself goes no further"
    assert not client.exchange.passage.kept, "nor is it kept for the life of the tunnel"
    mail.send(b"220 mail.example\r\n")
    client.send(b"EHLO me\r\n")
    assert client.new() == b"220 mail.example\r\n"
    assert mail.new() == b"EHLO me\r\n"
    client.vanish()
    assert book.counters.outbound.requests["forward"][2] == 1
    assert book.counters.outbound.tunnels_opened == 1


def test_bytes_that_follow_connect_at_once_belong_to_the_tunnel(book: Playbook) -> None:
    """They come with the head or while the dial is under way, TLS clients do that."""
    client = book.connect(book.outbound(None))
    client.send(CONNECT + b"\x16\x03\x01")
    client.send(b"\x02\x00")
    mail = book.pool(MAIL).accept()
    assert mail.got == b"\x16\x03\x01\x02\x00"


def test_a_tunnel_begins_on_a_connection_of_its_own(book: Playbook) -> None:
    """One from the pool may be at its end, and a tunnel cannot be tried again."""
    book.pool(MAIL).keep()
    connect(book)
    assert book.pool(MAIL).dialled == 1
    assert len(book.pool(MAIL).idle) == 1


def test_connect_to_nobody(book: Playbook) -> None:
    client = book.connect(book.outbound(None))
    client.send(CONNECT)
    book.pool(MAIL).refuse("the name cannot be resolved")
    assert problem(client.got)["detail"].endswith("the name cannot be resolved")


def test_connect_has_no_content(make_book: MakeBook, step: int) -> None:
    """RFC 9110 section 9.3.6: what a length would mean here is for nobody to say."""
    for length in (b"content-length: 5", b"transfer-encoding: chunked"):
        book = make_book(step=step)
        client = book.connect(book.outbound(None))
        client.send(CONNECT[:-2] + length + b"\r\n\r\n5\r\nab")
        assert problem(client.got)["code"] == "bad-request"
        assert book.pool(MAIL).dialled == 0
        assert client.calls == ["write_eof"]


def test_connect_is_for_forward_proxies(book: Playbook) -> None:
    for side in (book.inbound(), book.outbound()):
        client = book.connect(side)
        client.send(CONNECT)
        assert "CONNECT is for forward proxies" in problem(client.got)["detail"]


def test_too_much_ahead_of_a_tunnel_is_read_on_when_it_opens(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, settings=ExchangeSettings(held_bytes=4096))
    client = book.connect(book.outbound(None))
    client.send(CONNECT)
    data = bytes(range(256)) * 40
    for start in range(0, len(data), 512):
        client.send(data[start : start + 512])
    assert client.calls == ["pause_reading"]
    mail = book.pool(MAIL).accept()
    client.send()
    assert mail.got == data
    assert client.calls == ["pause_reading", "resume_reading"]


def test_a_tunnel_opened_to_a_client_that_is_full(book: Playbook) -> None:
    """The answers before it are still on their way: the upstream of the tunnel has to wait for them, too."""
    client = book.connect(book.outbound(None))
    client.send(b"GET http://mail.example:25/ HTTP/1.1\r\nhost: a\r\n\r\n" + CONNECT)
    web = book.pool(MAIL).accept()
    client.full()
    client.drained()
    web.send(OK)
    client.full()
    mail = book.pool(MAIL).accept()
    assert mail.calls == ["pause_reading"]
    client.drained()
    assert mail.calls == ["pause_reading", "resume_reading"]


def test_backpressure_in_a_tunnel(book: Playbook) -> None:
    client, app = websocket(book)
    app.full()
    client.send(b"waits")
    assert client.unread
    client.full()
    app.send(b"waits")
    assert app.unread
    app.drained()
    client.drained()
    client.send()
    app.send()
    assert (client.unread, app.unread) == (0, 0)
    assert client.calls == app.calls == ["pause_reading", "resume_reading"]


def test_a_tunnel_may_not_be_silent_for_ever(book: Playbook) -> None:
    client, app = websocket(book)
    silence = book.settings.stream_ticks
    for peer in (client, app, client):
        book.pass_ticks(silence - 1)
        peer.send(b"x")
    book.pass_ticks(silence - 1)
    assert client.calls == app.calls == []
    book.pass_ticks(1)
    assert client.calls == app.calls == ["close"]
    assert book.counters.inbound.timeouts["tunnel"] == 1


def test_a_keyed_tunnel_says_who_serves_it(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed("agent-42", "/ws", "connection: upgrade", "upgrade: websocket"))
    shadow = book.shadow.accept()
    assert b"\r\nskycap-visited: " in shadow.got
    shadow.send(SWITCHED)
    assert b"\r\nskycap-served-by: shop/users;sandbox=agent-42;rev=3\r\n" in client.got
    assert book.correlation.keyed_in_flight == 1
    client.vanish()
    assert book.correlation.keyed_in_flight == 0
    assert book.spans.seen == [("GET", "agent-42", 101, "")]


# -- an application with a proxy of its own -----------------------------------------------------------------------

JOINED = b"HTTP/1.1 200 Connection established\r\nvia: 1.1 squid\r\n"


def relayed(book: Playbook, request: bytes = CONNECT) -> tuple[Client, PlayedUpstream]:
    """A redirected call: its target is the proxy that the application has chosen."""
    client = book.connect(book.outbound(relays=True))
    client.send(request)
    return client, book.target.accept()


def test_connect_goes_to_the_proxy_that_the_application_has_chosen(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    request = CONNECT[:-2] + b"proxy-authorization: Basic am9lOnNlY3JldA==\r\n\r\n"
    client, squid = relayed(book, request)
    assert squid.new() == request, "its credentials are for it"
    client.send(b"\x16\x03\x01")
    squid.send(JOINED + b"\r\n" + b"220 hello\r\n")
    assert client.new() == JOINED + b"\r\n" + b"220 hello\r\n"
    assert squid.new() == b"\x16\x03\x01"
    assert client.exchange.phase == TUNNEL
    client.send(b"more")
    assert squid.new() == b"more"
    client.vanish()
    assert book.counters.outbound.requests["forward"][2] == 1


@pytest.mark.parametrize("line", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_length_in_the_answer_to_connect_means_nothing(make_book: MakeBook, step: int, line: bytes) -> None:
    """RFC 9110 section 9.3.6. Somebody behind us might take it for one."""
    book = make_book(step=step)
    client, squid = relayed(book)
    squid.send(JOINED + line + b"\r\n" + b"hello")
    assert client.new() == JOINED + b"\r\n" + b"hello"


def test_a_proxy_that_refuses(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client, squid = relayed(book)
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 2\r\n\r\nno"
    squid.send(refusal)
    assert client.new() == refusal
    client.send(CONNECT)
    assert book.target.accept().got == CONNECT, "and the client may try again, on a fresh connection"


def test_an_answer_to_connect_that_says_who_served(make_book: MakeBook, step: int) -> None:
    """It is no answer of the sidecar's own side, but a claim of another one."""
    book = make_book(step=step)
    client, squid = relayed(book, CONNECT[:-2] + b"baggage: routing-key=agent-42\r\n\r\n")
    squid.send(JOINED + b"skycap-served-by: shop/squid;baseline\r\n\r\n")
    client.send(b"hello")
    assert squid.got.endswith(b"hello")


@pytest.mark.parametrize("line", [b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n"])
def test_connect_to_another_proxy_has_no_content_either(book: Playbook, line: bytes) -> None:
    client = book.connect(book.outbound(relays=True))
    client.send(CONNECT[:-2] + line + b"\r\n")
    assert problem(client.got)["code"] == "bad-request"
    assert book.target.dialled == 0


def test_the_absolute_form_reaches_the_proxy_as_it_was(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    request = b"GET http://mail.example/x HTTP/1.1\r\nhost: mail.example\r\nproxy-authorization: Basic x\r\n\r\n"
    client, squid = relayed(book, request)
    assert squid.new() == request
    squid.send(OK)
    assert client.new() == OK
    client.send(request)
    assert squid.new() == request, "on the same connection"


# -- credentials for us -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [b"", b"baggage: routing-key=agent-42\r\n", b"baggage: user=1\r\nconnection: close\r\n"]
)
def test_credentials_for_the_proxy_go_no_further(make_book: MakeBook, step: int, more: bytes) -> None:
    """RFC 9110 section 11.7.2: the proxy that they are for is the sidecar, which asks for none."""
    book = make_book(step=step)
    client = book.connect(book.outbound(None, own_key="agent-42"))
    for _ in range(2):
        client.send(
            b"GET http://mail.example:25/ HTTP/1.1\r\nhost: mail.example:25\r\n"
            b"Proxy-Authorization: Basic am9lOnNlY3JldA==\r\nauthorization: Bearer x\r\n" + more + b"\r\n"
        )
        mail = book.pool(MAIL).accept() if book.pool(MAIL).dials else book.pool(MAIL).made[-1]
        got = mail.new().lower()
        assert b"proxy-authorization" not in got
        assert b"authorization: bearer x" in got
        assert b"routing-key=agent-42" in got
        mail.send(OK)
        if b"close" in more:
            break


# -- what is said in a tunnel of ours -----------------------------------------------------------------------------


def test_the_side_of_a_tunnel_is_that_of_its_target(book: Playbook, monkeypatch: pytest.MonkeyPatch) -> None:
    side = book.outbound(None, own_key="agent-42")
    client = book.connect(side)
    client.send(CONNECT)
    inner = side.through(client.exchange.passage.head)
    assert inner.default_pool is book.pool(MAIL)
    assert side.through(client.exchange.passage.head) is inner
    book.pool(MAIL).accept()
    caller = book.connect(inner)
    caller.send(get("/x"))
    mail = book.pool(MAIL).accept()
    assert untold(mail.got) == get("/x", "baggage: routing-key=agent-42")
    mail.send(OK)
    side.drain()
    assert inner.draining
    assert side.through(client.exchange.passage.head).draining


def test_losses_in_tunnels_are_counted(make_book: MakeBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_THROUGH", 1)
    book = make_book()
    entry = book.connect(book.inbound())
    entry.send(keyed("agent-42", "/", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
    app = book.app.accept()
    side = book.outbound(None)
    for number, name in enumerate((b"a.example:25", b"b.example:25"), 1):
        client = book.connect(side)
        client.send(CONNECT.replace(b"mail.example:25", name))
        inner = side.through(client.exchange.passage.head)
        lost = side.keys_lost
        caller = book.connect(inner)
        caller.send(get("/x"))
        assert side.keys_lost == lost + 1
        assert inner.keys_lost == 1
        host = name.decode().partition(":")[0]
        for _ in range(2):
            book.pool(Endpoint(host, 25)).accept().send(OK if number else b"")
    app.send(OK)
    assert side.keys_lost == 4, "the CONNECTs are calls, too"


def test_whoever_looks_into_a_tunnel_has_it(make_book: MakeBook) -> None:
    """Not for a client that has ended: it will say nothing that could be looked at."""
    book = make_book()
    for ends in (False, True):
        client = book.connect(book.outbound(None))
        taken: list[Upstream] = []
        client.exchange.through = taken.append
        client.send(CONNECT + b"first")
        if ends:
            client.end()
        upstream = book.pool(MAIL).accept()
        assert bool(taken) is not ends
        if taken:
            assert client.exchange.handed_over() == b"first"
            assert client.exchange.phase == CLOSED
            upstream.vanish()
        else:
            assert upstream.got == b"first"
    assert book.counters.outbound.requests["forward"][2] == 1
