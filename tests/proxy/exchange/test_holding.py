"""Requests that are held up: for a shadow that starts, for a first table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.contract.routes import State
from proxy.exchange.settings import ExchangeSettings
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, field_lines, get, keyed, problem, ready, unready

SETTINGS = ExchangeSettings()


def served_by(answer: bytes) -> list[str]:
    return field_lines(answer, "skycap-served-by")


def test_a_pending_shadow_is_waited_for(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[unready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    assert (client.got, book.app.dialled) == (b"", 0)
    book.pass_ticks(SETTINGS.hold_ticks - 1)
    book.table.put(ready())
    shadow = book.shadow.accept()
    assert shadow.got.startswith(keyed()[:-2])
    shadow.send(OK)
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]
    assert book.counters.inbound.timeouts == {}


def test_a_held_request_carries_the_mark_of_the_loop_guard_too(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[unready()])
    client = book.connect(book.inbound())
    client.send(keyed()[:-2] + b"content-length: 4\r\n\r\nbody")
    book.table.put(ready())
    shadow = book.shadow.accept()
    assert field_lines(shadow.got, "skycap-visited") == ["5c1d"]
    assert shadow.got.endswith(b"\r\n\r\nbody")


def test_a_pending_shadow_is_not_waited_for_for_ever(make_book: MakeBook, step: int) -> None:
    """Whatever its policy: there is a shadow, and the baseline must not answer in its place."""
    for fallback in (False, True):
        book = make_book(step=step, routes=[unready(fallback=fallback)])
        client = book.connect(book.inbound())
        client.send(keyed())
        book.pass_ticks(SETTINGS.hold_ticks - 1)
        assert client.got == b""
        book.pass_ticks(1)
        document = problem(client.new())
        assert (document["code"], document["status"]) == ("shadow-pending", 503)
        assert document["detail"] == "sandbox agent-42's shadow of shop/users did not get ready in time"
        assert document["sandbox"] == "agent-42"
        assert client.calls == []
        assert book.counters.inbound.timeouts == {"hold": 1}
        assert book.app.dialled == 0


def test_what_is_held_says_so_when_it_is_refused(make_book: MakeBook) -> None:
    book = make_book(routes=[unready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.pass_ticks(SETTINGS.hold_ticks)
    assert served_by(client.got) == ["shop/users;error=shadow-pending"]


@pytest.mark.parametrize(("fallback", "code"), [(False, 503), (True, 200)])
def test_a_pending_shadow_that_fails(make_book: MakeBook, fallback: bool, code: int) -> None:
    book = make_book(routes=[unready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.table.put(unready(state=State.FAILED, fallback=fallback))
    if fallback:
        book.app.accept().send(OK)
        assert served_by(client.got) == ["shop/users;baseline;reason=shadow-unreachable"]
    else:
        document = problem(client.got)
        assert (document["code"], document["detail"]) == (
            "shadow-unreachable", "sandbox agent-42's shadow of shop/users has failed",
        )  # fmt: skip
    assert client.got.startswith(b"HTTP/1.1 %d " % code)


def test_a_failed_shadow_is_not_dialled(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[unready("bad", State.FAILED), unready("meek", State.FAILED, fallback=True)])
    client = book.connect(book.inbound())
    client.send(keyed("bad"))
    assert problem(client.got)["code"] == "shadow-unreachable"
    assert served_by(client.new()) == ["shop/users;error=shadow-unreachable"]
    client.send(keyed("meek"))
    book.app.accept().send(OK)
    assert served_by(client.got) == ["shop/users;baseline;reason=shadow-unreachable"]


def test_a_route_that_goes_leaves_the_baseline(make_book: MakeBook) -> None:
    book = make_book(routes=[unready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    book.table.delete("agent-42")
    book.app.accept().send(OK)
    assert served_by(client.got) == ["shop/users;baseline"]


def test_a_change_that_is_about_others_changes_nothing(make_book: MakeBook) -> None:
    """Not even the deadline."""
    book = make_book(routes=[unready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    for _ in range(SETTINGS.hold_ticks - 1):
        book.pass_ticks(1)
        book.table.put(ready("other"))
        assert client.got == b""
    book.pass_ticks(1)
    assert problem(client.got)["code"] == "shadow-pending"


def test_before_the_first_table_keyed_requests_wait_and_others_do_not(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=None)
    side = book.inbound()
    client, other = book.connect(side), book.connect(side)
    client.send(keyed())
    other.send(get())
    book.app.accept().send(OK)
    assert (client.got, other.got) == (b"", OK)
    book.table.replace({"agent-42": ready()})
    book.shadow.accept().send(OK)
    assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]


def test_without_a_table_in_time_the_baseline_answers_and_says_so(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=None)
    client = book.connect(book.inbound())
    client.send(keyed())
    book.pass_ticks(SETTINGS.sync_ticks - 1)
    assert book.app.dialled == 0
    book.pass_ticks(1)
    book.app.accept().send(OK)
    assert served_by(client.got) == ["shop/users;baseline;reason=unsynced"]
    assert book.counters.inbound.timeouts == {"hold": 1}
    assert book.counters.inbound.requests["unsynced"][2] == 1


def test_when_waiting_for_a_table_was_given_up(make_book: MakeBook) -> None:
    """What is held goes on at once, what comes is not held."""
    book = make_book(routes=None)
    side = book.inbound()
    client = book.connect(side)
    client.send(keyed())
    book.gave_up = True
    side.table_changed()
    app = book.app.accept()
    app.send(OK)
    client.send(keyed("other"))
    app.send(OK)
    assert served_by(client.got[: client.got.index(b"ok")]) == ["shop/users;baseline;reason=unsynced"]
    assert client.got.count(b"shop/users;baseline;reason=unsynced") == 2


def test_a_first_table_in_which_the_shadow_is_pending(make_book: MakeBook) -> None:
    """From then on it is the shadow that is waited for, and for as long as one waits for shadows."""
    book = make_book(routes=None)
    client = book.connect(book.inbound())
    client.send(keyed())
    book.pass_ticks(SETTINGS.sync_ticks - 1)
    book.table.replace({"agent-42": unready()})
    book.pass_ticks(SETTINGS.hold_ticks - 1)
    assert client.got == b""
    book.pass_ticks(1)
    assert problem(client.got)["code"] == "shadow-pending"


def test_an_upload_is_held_with_its_head(make_book: MakeBook, step: int) -> None:
    """In bounds: what is more stays in the client."""
    book = make_book(step=step, routes=[unready()], settings=replace(SETTINGS, replay_bytes=4096))
    client = book.connect(book.inbound())
    body = b"x" * 9000
    client.send(keyed()[:-2] + b"content-length: 9000\r\n\r\n")
    for start in range(0, 9000, 500):
        client.send(body[start : start + 500])
    assert client.calls == ["pause_reading"]
    book.table.put(ready())
    shadow = book.shadow.accept()
    client.send()
    assert shadow.got.endswith(b"\r\n\r\n" + body)
    shadow.send(OK)
    assert client.got.endswith(b"\r\n\r\nok")


def test_a_pipeline_is_held_as_a_whole(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step, routes=[unready(), unready("slow")])
    client = book.connect(book.inbound())
    client.send(keyed() + keyed("slow") + get())
    book.table.put(ready())
    book.shadow.accept().send(OK)
    assert client.got.endswith(b"ok")
    assert client.exchange.side.waiters == {client.exchange}
    book.pass_ticks(SETTINGS.hold_ticks)
    book.app.accept().send(OK)
    assert client.got.endswith(OK)
    assert b"shadow-pending" in client.got


def test_many_held_requests_go_on_together(make_book: MakeBook) -> None:
    book = make_book(routes=[unready()])
    side = book.inbound()
    clients = [book.connect(side) for _ in range(50)]
    for client in clients:
        client.send(keyed())
    book.table.put(ready())
    assert book.shadow.dialled == 50
    for _ in clients:
        book.shadow.accept().send(OK)
    assert all(client.got.endswith(b"ok") for client in clients)
    assert not side.waiters


def test_a_client_that_goes_while_held_is_not_decided_on_again(make_book: MakeBook) -> None:
    book = make_book(routes=[unready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    client.vanish()
    book.table.put(ready())
    assert book.shadow.dialled == 0


def test_updates_do_not_disturb_what_is_in_flight(make_book: MakeBook) -> None:
    """Revision 3 finishes what it has begun; the next request meets revision 4."""
    book = make_book(routes=[ready()])
    client = book.connect(book.inbound())
    client.send(keyed())
    shadow = book.shadow.accept()
    book.table.put(ready(revision=4))
    shadow.send(OK)
    assert served_by(client.new()) == ["shop/users;sandbox=agent-42;rev=3"]
    client.send(keyed())
    shadow.send(OK)
    assert served_by(client.new()) == ["shop/users;sandbox=agent-42;rev=4"]


def test_a_shadow_that_sleeps_is_called_once_and_waited_for(make_book: MakeBook, step: int) -> None:
    asleep = unready()
    asleep.asleep = True
    book = make_book(step=step, routes=[asleep])
    called: list[str] = []
    book.table.callers.append(called.append)
    side = book.inbound()
    first, second = book.connect(side), book.connect(side)
    first.send(keyed())
    second.send(keyed())
    assert called == ["agent-42"]
    book.table.put(unready())
    assert (first.got, called) == (b"", ["agent-42"]), "it is being started"
    book.table.put(ready())
    for _ in range(2):
        book.shadow.accept().send(OK)
    for client in (first, second):
        assert served_by(client.got) == ["shop/users;sandbox=agent-42;rev=3"]
