"""What one connection of HTTP/2 may do in one turn of the loop: nobody keeps others waiting, and nothing is lost."""

from __future__ import annotations

import pytest

from proxy.contract.routes import State
from proxy.exchange.h2.inlet import FAIR_WORK, SMALL
from proxy.wire.h2.frames import BLOCK_WORK, DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS
from tests.proxy.exchange.h2.play import Caller, Service, frame
from tests.proxy.exchange.playbook import Playbook, turn, unready

BYTES = FAIR_WORK * 3 + 7


@pytest.fixture
def book() -> Playbook:
    return Playbook(routes=[unready("bad", State.FAILED)])


@pytest.fixture
def client(book: Playbook) -> Caller:
    return Caller(book, book.inbound())


def tiny(sid: int, count: int = BYTES) -> bytes:
    return frame(DATA, 0, sid, b"x") * count


def test_a_body_in_frames_of_a_byte(book: Playbook, client: Caller) -> None:
    sid = client.ask(method=b"POST", ends=False)
    server = Service(book.app)
    server.flush()
    client.send_once(tiny(sid))
    assert len(server.requests[sid].data) == FAIR_WORK
    assert not client.recorded.reading
    client.send_once(tiny(sid, 1))  # what comes all the same waits behind it
    shares = []
    while turn(client.side):
        shares.append(len(server.requests[sid].data))
    assert shares == [FAIR_WORK * 2, FAIR_WORK * 3, BYTES + 1]
    assert client.recorded.reading


def test_an_answer_in_frames_of_a_byte(book: Playbook, client: Caller) -> None:
    sid = client.ask()
    server = Service(book.app)
    server.answer(sid, data=b"", ends=False)
    client.pump()
    server.upstream.send_once(tiny(sid))
    assert not server.recorded.reading
    assert len(client.answers[sid].data) == FAIR_WORK
    while turn(client.side):
        pass
    assert len(client.answers[sid].data) == BYTES
    assert server.recorded.reading


def test_requests_that_we_answer_ourselves(book: Playbook, client: Caller) -> None:
    block = client.end.engine.encoder.encode(
        [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "u"), ("baggage", "routing-key=bad")]
    )
    client.send_once(b"".join(frame(HEADERS, 5, sid, block) for sid in range(1, 601, 2)))
    fair = FAIR_WORK // BLOCK_WORK
    answered = [client.link.last // 2 + 1]
    while turn(client.side):
        answered.append(client.link.last // 2 + 1)
    assert answered == [fair, fair * 2, fair * 3, fair * 4, 300]


def test_no_turn_comes_while_the_client_takes_nothing(book: Playbook, client: Caller) -> None:
    sid = client.ask(method=b"POST", ends=False)
    server = Service(book.app)
    server.flush()
    client.send_once(tiny(sid))
    client.link.client_full()
    turn(client.side)
    assert len(server.requests[sid].data) == FAIR_WORK
    client.link.client_drained()
    assert len(server.requests[sid].data) == FAIR_WORK * 2


def test_a_connection_that_ends_has_no_turn_left(book: Playbook, client: Caller) -> None:
    sid = client.ask(method=b"POST", ends=False)
    Service(book.app).flush()
    client.send_once(tiny(sid))
    client.vanish()
    turn(client.side)
    assert client.link.closed


def test_a_fault_within_the_first_share(book: Playbook, client: Caller) -> None:
    sid = client.ask(method=b"POST", ends=False)
    Service(book.app).flush()
    client.send_once(frame(9, 0, sid) + tiny(sid))
    assert client.link.closed
    assert not turn(client.side)


def test_a_flood_that_ends_the_connection_within_a_share(book: Playbook, client: Caller) -> None:
    block = client.end.engine.encoder.encode(
        [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "u")]
    )
    taken = (frame(HEADERS, 4, sid, block) + frame(RST_STREAM, 0, sid, b"\0\0\0\x08") for sid in range(1, 1201, 2))
    client.send_once(b"".join(taken))
    while turn(client.side):
        pass
    assert client.link.closed
    assert client.link.last < 1199


def test_large_frames_and_small_reads_are_passed_on_at_once(book: Playbook, client: Caller) -> None:
    sid = client.ask(method=b"POST", ends=False)
    server = Service(book.app)
    server.flush()
    client.send_once(frame(DATA, 0, sid, b"x" * 16_000) * 3)
    client.send_once(tiny(sid, SMALL // 10))
    assert len(server.requests[sid].data) == 48_000 + SMALL // 10
    assert not turn(client.side)


def test_an_upstream_that_leaves_within_the_first_share(book: Playbook, client: Caller) -> None:
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    last = frame(GOAWAY, 0, 0, sid.to_bytes(4, "big") + b"\0\0\0\0") + frame(HEADERS, 5, sid, b"\x89")
    server.upstream.send_once(last + frame(PING, 0, 0, b"12345678") * FAIR_WORK)
    assert client.answers[sid].fields[b":status"] == b"204"
    assert server.recorded.closing
    assert not turn(client.side)


def test_a_fault_behind_the_end_within_what_was_cut(book: Playbook, client: Caller) -> None:
    sid = client.ask()
    server = Service(book.app)
    server.flush()
    last = frame(GOAWAY, 0, 0, sid.to_bytes(4, "big") + b"\0\0\0\0") + frame(HEADERS, 5, sid, b"\x89")
    server.upstream.send_once(last + frame(SETTINGS, 0, 1, b"x"))
    assert server.recorded.closing
