"""How connections end: half-closed, gone in the middle, silent upstreams. Nothing may be left behind.

What is left behind is checked by the fixture `make_book` at the end of every test of this folder.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.exchange.phase import ANSWERING, CLOSED, IDLE, LINGER, PHASES, ROUTING, TUNNEL, WAITING
from proxy.exchange.ports import FAR
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Client, Playbook, PlayedPool, get, keyed, problem, ready, unready

UPLOAD = b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: 100\r\n\r\nsome"
UPGRADE = get("/ws", "connection: upgrade", "upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


# -- half-close ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["dialling", "waiting", "answering"])
def test_a_client_that_has_said_all_still_gets_its_answer(make_book: MakeBook, step: int, when: str) -> None:
    """RFC 9112 section 9.6"""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    if when == "dialling":
        assert client.end()
    app = book.app.accept()
    if when == "waiting":
        assert client.end()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nfour"
    app.send(answer)
    if when == "answering":
        assert client.end()
    app.send(b"more")
    assert client.got == answer + b"more"
    assert client.calls == ["close"]
    assert app.calls == ["write_eof", "abort"]
    assert book.app.idle == [], "its other half is closed"


# -- a client that goes away with an ordinary close ---------------------------------------------------------------

STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"


def to_app(book: Playbook, request: bytes) -> tuple[Client, PlayedPool]:
    client = book.connect(book.inbound())
    client.send(request)
    return client, book.app


def to_shadow(book: Playbook, request: bytes) -> tuple[Client, PlayedPool]:
    client = book.connect(book.inbound())
    client.send(request.replace(b"\r\n\r\n", b"\r\nbaggage: routing-key=agent-42\r\n\r\n"))
    return client, book.shadow


def to_target(book: Playbook, request: bytes) -> tuple[Client, PlayedPool]:
    client = book.connect(book.outbound())
    client.send(request)
    return client, book.target


@pytest.mark.parametrize("way", [to_app, to_shadow, to_target])
@pytest.mark.parametrize("request_bytes", [get(), get().replace(b"1.1", b"1.0"), UPGRADE])
@pytest.mark.parametrize("answered", [False, True])
def test_the_application_sees_the_end_of_a_client_while_it_is_silent(
    make_book: MakeBook,
    step: int,
    way: Callable[[Playbook, bytes], tuple[Client, PlayedPool]],
    request_bytes: bytes,
    answered: bool,
) -> None:
    """And decides as it would without us: most give up the work that nobody waits for."""
    book = make_book(step=step, routes=[ready()])
    client, pool = way(book, request_bytes)
    upstream = pool.accept()
    if answered:
        upstream.send(STREAM)
    assert client.end()
    assert upstream.calls == ["write_eof"]
    upstream.vanish()
    assert not pool.dials, "it has ended because its client has: it is not asked again"
    assert client.recorded.closing
    assert answered or problem(client.got)["code"] == "client-ended", "it is not the service's fault"


@pytest.mark.parametrize("way", [to_app, to_shadow, to_target])
def test_a_service_that_resets_does_not_do_so_because_its_client_has_ended(
    make_book: MakeBook, way: Callable[[Playbook, bytes], tuple[Client, PlayedPool]]
) -> None:
    """One that takes an end for a client that has left closes in order: a reset is a crash, or work thrown away."""
    book = make_book(routes=[ready()])
    client, pool = way(book, get())
    upstream = pool.accept()
    assert client.end()
    upstream.vanish(error=True)
    assert not pool.dials
    assert problem(client.got)["code"] == "upstream-reset"


def test_it_is_told_once(book: Playbook) -> None:
    """An event loop may tell an end again when reading goes on."""
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    assert client.end()
    assert client.end()
    assert app.calls == ["write_eof"]
    app.send(OK)
    assert client.got == OK


def test_a_kept_connection_that_was_just_closed_costs_a_half_closed_client_nothing(make_book: MakeBook) -> None:
    book = make_book()
    old = book.app.keep()
    client = book.connect(book.inbound())
    client.recorded.during_write = None
    client.exchange.ended = True
    client.send(get())
    old.vanish()
    new = book.app.accept()
    assert (new.got, new.calls) == (get(), ["write_eof"])
    new.send(OK)
    assert client.got == OK


def test_an_upstream_that_is_closing_is_told_nothing(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.recorded.closing = True
    assert client.end()
    assert app.calls == []
    app.vanish()


def test_a_pipeline_that_ends_is_answered_whole(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get("/1") + get("/2") + get("/3")[:-3])
    app = book.app.accept()
    assert client.end()
    app.send(OK)
    assert client.calls == []
    assert app.calls == ["abort"], "a request follows: the end is not its end"
    last = book.app.accept()
    assert last.calls == ["write_eof"]
    last.send(OK)
    assert app.got + last.got == get("/1") + get("/2")
    assert client.got == OK + OK
    assert client.calls == ["close"], "the third request will never be whole"


def test_an_end_inside_a_body_that_came_ahead(make_book: MakeBook, step: int) -> None:
    """Its rest will never come: it is refused at once, not after a timeout."""
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get("/1") + UPLOAD)
    app = book.app.accept()
    assert client.end()
    app.send(OK)
    assert client.got.startswith(OK)
    assert problem(client.got[len(OK) :])["code"] == "bad-request"
    assert app.got == get("/1"), "nothing of it was forwarded"
    assert client.calls == ["close"]


@pytest.mark.parametrize("dialling", [True, False])
def test_an_end_inside_a_body_is_an_end(make_book: MakeBook, step: int, dialling: bool) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(UPLOAD)
    app = None if dialling else book.app.accept()
    assert not client.end()
    assert book.counters.inbound.failures["client-truncated"] == 1
    assert book.counters.inbound.requests["error"][0] == 1
    if app is not None:
        assert app.calls == ["reset"]
    assert book.app.dials == []


def test_an_end_inside_a_head_is_an_end(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get()[:20])
    assert not client.end()
    assert client.got == b""


def test_an_end_between_requests_is_an_end(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    book.app.accept().send(OK)
    assert not client.end()


def test_our_own_answer_to_a_client_that_has_said_all(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get())
    assert client.end()
    book.app.refuse()
    assert problem(client.got)["code"] == "app-unreachable"
    assert client.calls == ["close"]


def test_a_refused_request_of_a_client_that_has_said_all(book: Playbook) -> None:
    """There is nothing to wait for before closing."""
    client = book.connect(book.inbound())
    client.send(get("/1") + b"NONSENSE\r\n\r\n")
    app = book.app.accept()
    assert client.end()
    app.send(OK)
    assert problem(client.got[len(OK) :])["code"] == "bad-request"
    assert client.calls == ["close"]


# -- gone ---------------------------------------------------------------------------------------------------------

Play = Callable[[Playbook, Client], int]


def _silent(book: Playbook, client: Client) -> int:
    return IDLE


def _in_the_head(book: Playbook, client: Client) -> int:
    client.send(keyed()[:30])
    return IDLE


def _held(book: Playbook, client: Client) -> int:
    client.send(keyed("slow"))
    assert client.exchange.side.waiters == {client.exchange}
    return ROUTING


def _dialling(book: Playbook, client: Client) -> int:
    client.send(keyed())
    assert book.shadow.dials == [client.exchange]
    return ROUTING


def _uploading_before_the_dial(book: Playbook, client: Client) -> int:
    client.send(UPLOAD)
    return ROUTING


def _waiting(book: Playbook, client: Client) -> int:
    client.send(keyed())
    book.shadow.accept()
    return WAITING


def _inside_the_answers_head(book: Playbook, client: Client) -> int:
    client.send(keyed())
    book.shadow.accept().send(OK[:20])
    return WAITING


def _uploading(book: Playbook, client: Client) -> int:
    client.send(UPLOAD)
    app = book.app.accept()
    app.full()
    return WAITING


def _answering(book: Playbook, client: Client) -> int:
    client.send(keyed() + keyed())
    book.shadow.accept().send(OK[:-1])
    client.full()
    return ANSWERING


def _tunnel(book: Playbook, client: Client) -> int:
    client.send(UPGRADE)
    app = book.app.accept()
    app.send(SWITCHED + b"hello")
    client.send(b"frame")
    return TUNNEL


def _lingering(book: Playbook, client: Client) -> int:
    client.send(b"NONSENSE\r\n\r\n")
    return LINGER


def _closed(book: Playbook, client: Client) -> int:
    client.send(get("/", "connection: close"))
    book.app.accept().send(OK)
    return CLOSED


PLAYS: list[Play] = [
    _silent, _in_the_head, _held, _dialling, _uploading_before_the_dial, _waiting, _inside_the_answers_head, _uploading,
    _answering, _tunnel, _lingering, _closed,
]  # fmt: skip


@pytest.mark.parametrize("play", PLAYS, ids=[play.__name__.strip("_") for play in PLAYS])
def test_a_client_may_go_at_any_time(make_book: MakeBook, step: int, play: Play) -> None:
    book = make_book(step=step, routes=[ready(), unready("slow")])
    client = book.connect(book.inbound())
    phase = play(book, client)
    assert PHASES[client.exchange.phase] == PHASES[phase]
    in_use = [upstream for pool in (book.app, book.shadow) for upstream in pool.made if upstream.borrower is not None]
    client.vanish()
    assert client.exchange.phase == CLOSED
    assert client.exchange.slot == FAR, "the wheel has forgotten it"
    assert book.correlation.keyed_in_flight == 0
    assert book.app.dials == book.shadow.dials == []
    assert not client.exchange.side.waiters
    for upstream in in_use:
        assert upstream.borrower is None
        assert upstream.calls[-1] == ("close" if phase == TUNNEL else "reset")
    requests = book.counters.inbound.requests
    counted = sum(sum(by_class) for by_class in requests.values())
    assert counted == (0 if play in (_silent, _in_the_head) else 1)
    if phase in (ROUTING, WAITING):
        assert requests["error"][0] == 1, "it had no answer, so it has no status class"
    if phase == ANSWERING:
        assert requests["error"][2] == 1


def test_a_tunnel_has_no_wrong_end(make_book: MakeBook) -> None:
    """Whoever ends it, and however: it is no failed request."""
    for ending in ("client", "upstream", "client first", "upstream first"):
        book = make_book()
        client = book.connect(book.inbound())
        client.send(UPGRADE)
        app = book.app.accept()
        app.send(SWITCHED)
        if ending == "client":
            client.vanish()
        elif ending == "upstream":
            app.vanish(error=True)
        elif ending == "client first":
            assert client.end()
            assert not app.end()
        else:
            assert app.end()
            assert not client.end()
        assert book.counters.inbound.requests["baseline"][1] == 1, ending
        assert sum(book.counters.inbound.requests["error"]) == 0, ending


# -- the upstream goes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [False, True])
def test_an_upstream_that_ends_without_an_answer(make_book: MakeBook, step: int, error: bool) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    for partial in (b"", b"HTTP/1.1 200 OK\r\ncontent-le"):
        client.send(get())
        app = book.app.accept()
        app.send(partial)
        app.vanish(error=error)
        document = problem(client.new())
        assert (document["code"], document["status"]) == ("upstream-reset", 502)
        assert ("reset" if error else "closed") in document["detail"]
    client.send(get())
    book.app.accept().send(OK)
    assert client.new() == OK
    assert client.calls == []


def test_an_upstream_that_ends_inside_an_upload(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(UPLOAD)
    book.app.accept().vanish(error=True)
    assert problem(client.got)["code"] == "upstream-reset"
    assert b"\r\nconnection: close\r\n" in client.got
    client.send(b"x" * 50)
    assert client.calls == ["write_eof"]
    assert client.exchange.phase == LINGER
