"""Every case of `tests/corpus/h2`, whole, byte by byte and, where it is short, at every cut: the outcome is the same.

What a case is about is one thing; that it hurts nobody else is looked at in every one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.wire.h2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS
from tests.conformance.corpus import CorpusError
from tests.conformance.h2.corpus import REQUEST, Case, literal, load_corpus, load_theme
from tests.conformance.h2.heard import Heard
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook

CASES = load_corpus()
CLIENTS = [case for case in CASES if case.kind == "client"]
OPENINGS = [case for case in CASES if case.kind == "opening"]
ANSWERS = [case for case in CASES if case.kind == "answer"]

SHORT = 32
"""Bytes of a case that is cut everywhere."""

NEIGHBOUR = 1
LATER = 101
"""Streams of good manners: one is open before the case, one is begun behind it."""

GREETING = PREFACE + frame(SETTINGS, 0, 0)
POST = b"\x83\x86\x84" + literal(*REQUEST[1:])
GET = REQUEST[0] + literal(*REQUEST[1:])


def ids(cases: Sequence[Case]) -> list[str]:
    return [case.id for case in cases]


def deliveries(case: Case, *, cut: bool = True) -> list[tuple[int, list[bytes]]]:
    """Bytes at a time (0: all), and the pieces that are sent."""
    cuts = range(1, len(case.data)) if cut and len(case.data) <= SHORT else ()
    return [(0, [case.data]), (1, [case.data]), *[(0, [case.data[:cut], case.data[cut:]]) for cut in cuts]]


def hear(client: Caller) -> Heard:
    """What the client got, all of it good frames."""
    heard = Heard(client.got)
    assert not heard.unfinished
    assert heard.faults == []
    return heard


def answered(client: Caller, server: Service, sid: int, data: bytes = b"fine") -> None:
    """The server answers to it, and the client hears it."""
    server.answer(sid, data=data)
    heard = hear(client)
    assert heard.heads[sid][b":status"] == b"200"
    assert heard.data[sid] == data
    assert sid in heard.ended


def connected_client(book: Playbook) -> Caller:
    """A client whose first stream is under way."""
    client = Caller(book, book.inbound(), greets=False)
    client.send(GREETING + frame(HEADERS, END_HEADERS, NEIGHBOUR, POST) + frame(DATA, 0, NEIGHBOUR, b"x"))
    return client


@pytest.mark.parametrize("case", CLIENTS, ids=ids(CLIENTS))
@pytest.mark.parametrize("connected", [False, True], ids=["dialling", "connected"])
def test_what_a_client_says(make_book: MakeBook, case: Case, connected: bool) -> None:
    for step, pieces in deliveries(case, cut=connected):
        book = make_book(step=step)
        client = connected_client(book)
        server = Service(book.app) if connected else None
        if server:
            server.flush()
        for piece in pieces:
            client.send(piece)
        if case.word == "goaway":
            _the_connection_ends(book, client, server, case)
        else:
            _others_go_on(book, client, server or Service(book.app), case)


def _the_connection_ends(book: Playbook, client: Caller, server: Service | None, case: Case) -> None:
    assert hear(client).gone == case.code
    assert client.closed
    assert any(name.startswith("http2-") for name in book.counters.inbound.failures)
    if server:
        assert server.recorded.calls[-1] == "reset"
    else:
        assert not book.app.dials
    before = client.got
    client.link.received(b"more")
    assert client.got == before


def _others_go_on(book: Playbook, client: Caller, server: Service, case: Case) -> None:
    heard = hear(client)
    assert not client.closed
    assert heard.gone is None
    assert heard.resets == ({case.stream: case.code} if case.word == "reset" else {})
    asked = server.requests.get(case.stream)
    if case.word == "reset":
        assert asked is None or asked.reset is not None
    else:
        assert asked is not None
        assert asked.ended
        assert case.arrives in (None, asked.data)
        assert asked.fields.get(b":authority", asked.fields.get(b"host")) == REQUEST[2]
        answered(client, server, case.stream)
    if case.stream != NEIGHBOUR:
        answered(client, server, NEIGHBOUR)
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, LATER, GET))
    answered(client, server, LATER)


@pytest.mark.parametrize("case", OPENINGS, ids=ids(OPENINGS))
def test_how_a_client_begins(make_book: MakeBook, case: Case) -> None:
    for step, pieces in deliveries(case):
        book = make_book(step=step)
        client = Caller(book, book.inbound(), greets=False)
        client.send(PREFACE)
        for piece in pieces:
            client.send(piece)
        if case.word == "goaway":
            assert hear(client).gone == case.code
            assert client.closed
            assert not book.app.dials
        else:
            answered(client, Service(book.app), case.stream)


@pytest.mark.parametrize("case", ANSWERS, ids=ids(ANSWERS))
@pytest.mark.parametrize("connected", [False, True], ids=["dialling", "connected"])
def test_what_a_server_answers(make_book: MakeBook, case: Case, connected: bool) -> None:
    for step, pieces in deliveries(case, cut=connected):
        book = make_book(step=step)
        client = connected_client(book)
        server = Service(book.app) if connected else None
        client.send(frame(DATA, END_STREAM, NEIGHBOUR, b"y"))
        server = server or Service(book.app)
        server.flush()
        for piece in pieces:
            server.upstream.send(piece)
        heard = hear(client)
        head = heard.heads[NEIGHBOUR]
        assert not client.closed
        assert heard.gone is None
        assert NEIGHBOUR in heard.ended or case.word == "cut"
        assert heard.resets == ({NEIGHBOUR: case.code} if case.word == "cut" else {})
        if case.word == "refuse":
            assert head[b"skycap-error"] == b"bad-response"
            assert head[b":status"] == b"502"
        else:
            assert head[b":status"] == b"200"
            assert b"skycap-error" not in head
            assert case.arrives in (None, heard.data.get(NEIGHBOUR, b""))
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, LATER, GET))
        if server.recorded.closing:
            server = Service(book.app)
        answered(client, server, LATER)


def test_there_are_cases_of_every_kind() -> None:
    assert len(CASES) >= 160
    assert {case.word for case in CASES} == {"accept", "reset", "goaway", "refuse", "cut"}
    assert len({(case.kind, case.data) for case in CASES}) == len(CASES)


GOOD = '== a\nrfc: 9113 1\nwhy: because\nverdict: accept\n> PING 0 "12345678"\n'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("accept", "maybe", "case.h2:1: a: 'maybe' is no verdict of 'client'"),
        ("accept", "reset", "case.h2:1: a: 'reset' is no verdict of 'client'"),
        ("accept", "goaway NO_SUCH", "case.h2:1: a: 'goaway NO_SUCH' is no verdict of 'client'"),
        ("accept", "refuse", "case.h2:1: a: 'refuse' is no verdict of 'client'"),
        ("why: because\n", "", "case.h2:1: a has no why"),
        ("== a", "== A", "case.h2:1: 'A' is no name of its own in this file"),
        ("== a\n", "", "case.h2:4: '> PING 0 \"12345678\"' is no frame of a case: "),
        ("PING", "PONG", "case.h2:5: PONG is no type of frame"),
        ("PING 0", "PING 0 NACK", "case.h2:5: NACK is no flag"),
        ("PING 0", "PING 4294967296", "case.h2:5: PING 4294967296 does not fit into a frame"),
        ("12345678", "\\q", "case.h2:5: \\q is no escape"),
        ('"12345678"', "hex 0", "case.h2:5: "),
        ('"12345678"', '"12', "case.h2:5: "),
        ("verdict", "verdikt", "case.h2:4: 'verdikt: accept' is neither a frame nor one of kind, "),
        ("because", "because ", "case.h2:3: ends in white space; write \\s"),
        ("> PING", "# PING", "case.h2:1: a has no frame"),
        ("verdict", "stream: x\nverdict", "case.h2:1: a: no such kind or stream: client, x"),
        ("because", "für", "case.h2:0: 'ascii' codec can't decode"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "case.h2"
    path.write_text(GOOD)
    assert [case.id for case in load_theme(path)] == ["case/a"]
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(CorpusError) as caught:
        load_theme(path)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_folder_without_cases(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no cases"):
        load_corpus(tmp_path)
