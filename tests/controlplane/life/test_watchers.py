from __future__ import annotations

from controlplane.life.watchers import MAX_UNREAD, Watcher, Watchers, framed
from controlplane.model.routes import RouteEvent
from tests.controlplane.life.registry import Wire
from tests.controlplane.sandboxes import USERS


def event(ident: int, workload: str = USERS) -> RouteEvent:
    return RouteEvent(ident, workload, "k", "put", f'{{"n":{ident}}}')


def watching(watchers: Watchers, workload: str = USERS) -> tuple[Watcher, Wire]:
    wire = Wire()
    watcher = Watcher(workload, "", wire)
    watchers.add(watcher)
    return watcher, wire


def test_framing_is_that_of_chunked() -> None:
    assert framed(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_a_change_reaches_those_whom_it_concerns_in_one_write() -> None:
    watchers = Watchers()
    (one, wire), (other, idle) = watching(watchers), watching(watchers, "shop/cart")
    watchers.tell([event(1), event(2), event(3, "shop/none")])
    assert (wire.writes, idle.writes) == (1, 0)
    assert wire.data == framed(b'event: put\nid: 1\ndata: {"n":1}\n\nevent: put\nid: 2\ndata: {"n":2}\n\n')
    assert (one.sent, other.sent) == (2, 0)


def test_everybody_gets_the_heartbeat() -> None:
    watchers = Watchers()
    wires = [watching(watchers)[1], watching(watchers, "shop/cart")[1]]
    watchers.beat()
    assert [wire.data for wire in wires] == [framed(b": keep-alive\n\n")] * 2


def test_a_slow_reader_is_cut_and_forgotten() -> None:
    watchers = Watchers()
    (_, slow), (_, quick) = watching(watchers), watching(watchers)
    slow.unread = MAX_UNREAD
    watchers.tell([event(1)])
    assert len(watchers) == 2
    slow.unread = MAX_UNREAD + 1
    watchers.tell([event(2)])
    assert slow.closed
    assert not quick.closed
    assert (len(watchers), watchers.cut) == (1, 1)
    writes = slow.writes
    watchers.tell([event(3)])
    assert slow.writes == writes


def test_a_reader_that_has_gone_is_not_called_slow() -> None:
    watchers = Watchers()
    _, wire = watching(watchers)
    wire.closed = True
    watchers.tell([event(1)])
    assert (len(watchers), watchers.cut, wire.writes) == (0, 0, 0)


def test_removing_twice_is_no_error() -> None:
    watchers = Watchers()
    watcher, _ = watching(watchers)
    watchers.remove(watcher)
    watchers.remove(watcher)
    assert repr(watchers) == "<Watchers 0 of 0 workloads>"


def test_closing_cuts_everybody() -> None:
    watchers = Watchers()
    wires = [watching(watchers)[1], watching(watchers, "shop/cart")[1]]
    watchers.close()
    assert all(wire.closed for wire in wires)
