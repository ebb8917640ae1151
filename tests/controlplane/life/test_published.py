from __future__ import annotations

import json

from controlplane.life.published import PublishedRoutes, encoded, synced
from controlplane.model.routes import RouteChange, RouteEvent
from proxy.contract.routes import MAX_ENDPOINTS, Endpoint, Route, decode_route
from proxy.contract.watch import MAX_EVENT_BYTES, SNAPSHOT_ROUTES, Event, EventParser
from tests.controlplane.sandboxes import USERS


def route(key: str, workload: str = USERS, port: int = 1) -> Route:
    return Route(workload, key, (Endpoint("127.0.0.1", port),))


def put(key: str, workload: str = USERS, port: int = 1) -> RouteChange:
    return RouteChange(workload, key, route(key, workload, port))


def gone(key: str, workload: str = USERS) -> RouteChange:
    return RouteChange(workload, key, None)


def publish(published: PublishedRoutes, *changes: RouteChange) -> list[RouteEvent]:
    events = published.events_of(changes, published.revision)
    published.apply(changes, events)
    return events


def read(*chunks: bytes) -> list[Event]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_ids_grow_by_one_per_change() -> None:
    published = PublishedRoutes(100, 100)
    first = publish(published, put("a"), put("b", "shop/cart"))
    second = publish(published, gone("a"))
    assert [event.id for event in first + second] == [101, 102, 103]
    assert published.revision == 103
    assert len(published) == 1


def test_a_put_is_the_route_and_a_delete_its_name() -> None:
    published = PublishedRoutes(0, 0)
    events = publish(published, put("a"), gone("a"))
    one, two = read(b"".join(map(encoded, events)))
    assert (one.name, one.id) == ("put", "1")
    assert decode_route(json.loads(one.data)) == route("a")
    assert two == Event("delete", '{"workload":"shop/users","key":"a"}', "2")
    assert read(synced(2)) == [Event("synced", '{"keys":true}', "2")]


def test_looking_up() -> None:
    published = PublishedRoutes(0, 0)
    publish(published, put("a"))
    assert published.lookup(USERS, "a") == route("a")
    assert published.lookup(USERS, "b") is None
    assert published.lookup("shop/cart", "a") is None
    publish(published, gone("a"), gone("never"))
    assert published.lookup(USERS, "a") is None


def test_what_was_missed_is_told_by_workload() -> None:
    published = PublishedRoutes(100, 100)
    publish(published, put("a"), put("b", "shop/cart"), put("c"), gone("a"))

    def ids(workload: str, after: int) -> list[int] | None:
        missed = published.since(workload, after)
        return None if missed is None else [event.id for event in missed]

    assert ids(USERS, 100) == [101, 103, 104]
    assert ids(USERS, 101) == [103, 104]
    assert ids(USERS, 104) == []
    assert ids("shop/cart", 100) == [102]
    assert ids("shop/none", 100) == []


def test_what_is_too_old_or_not_ours_cannot_be_resumed() -> None:
    published = PublishedRoutes(100, 100)
    publish(published, put("a"))
    assert published.since(USERS, 99) is None
    assert published.since(USERS, 102) is None


def test_the_change_log_is_bounded() -> None:
    published = PublishedRoutes(0, 0, kept_events=3)
    for number in range(1, 11):
        publish(published, put("a", port=number), *([put("b", "shop/cart")] if number == 1 else []))
    assert published.floor == 8
    assert published.since(USERS, 7) is None
    assert published.since("shop/cart", 7) is None
    assert [event.id for event in published.since(USERS, 8) or ()] == [9, 10, 11]
    assert repr(published) == "<PublishedRoutes revision 11, 2 routes, 3 changes kept>"


def test_a_restored_table_goes_on_where_it_was() -> None:
    published = PublishedRoutes(0, 0)
    events = publish(published, put("a"), put("b"))
    again = PublishedRoutes(2, 0)
    again.restore([route("a"), route("b")], events)
    assert again.since(USERS, 1) == [events[1]]
    assert again.lookup(USERS, "b") == route("b")
    assert publish(again, put("c"))[0].id == 3


def test_a_snapshot_comes_in_pieces_that_a_reader_can_take() -> None:
    published = PublishedRoutes(7, 7)
    count = 2 * SNAPSHOT_ROUTES + 1
    publish(published, *(put(f"k{number}") for number in range(count)), put("k", "shop/cart"))
    pieces = list(published.snapshot(USERS))
    assert all(len(piece) < MAX_EVENT_BYTES for piece in pieces)
    events = read(*pieces)
    assert [event.name for event in events] == ["snapshot"] * 3
    assert {event.id for event in events} == {str(7 + count + 1)}
    routes = [decode_route(item) for event in events for item in json.loads(event.data)["routes"]]
    assert routes == [route(f"k{number}") for number in range(count)]


def test_a_snapshot_is_of_one_moment() -> None:
    published = PublishedRoutes(0, 0)
    publish(published, put("a"))
    pieces = published.snapshot(USERS)
    publish(published, gone("a"))
    (event,) = read(*pieces)
    assert [item["key"] for item in json.loads(event.data)["routes"]] == ["a"]
    assert event.id == "1"


def test_an_empty_table_is_one_empty_piece() -> None:
    assert read(*PublishedRoutes(3, 3).snapshot(USERS)) == [Event("snapshot", '{"routes":[]}', "3")]


def test_pieces_of_the_largest_legal_routes_fit_into_an_event() -> None:
    published = PublishedRoutes(0, 0)
    label = "a" * 63
    workload = f"{label}/{label}"
    endpoints = tuple(Endpoint(".".join(["h" * 63] * 3 + ["h" * 61]), 65535) for _ in range(MAX_ENDPOINTS))
    for number in range(100):
        large = Route(workload, f"{number:063d}", endpoints, label, 2**53 - 1)
        publish(published, RouteChange(workload, large.key, large))
    pieces = list(published.snapshot(workload))
    assert all(len(piece) < MAX_EVENT_BYTES / 2 for piece in pieces)
    assert sum(len(json.loads(event.data)["routes"]) for event in read(*pieces)) == 100
