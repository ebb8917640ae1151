"""The events of one connection: when the table changes, and what is nonsense. Events in, table out."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.contract.previews import LINKS_IN_EVENT, PREVIEWS
from proxy.contract.routes import State
from proxy.contract.rules import Rule, encode_rule
from proxy.contract.watch import Event
from proxy.errors import ContractError
from proxy.feed import snapshot as pieces
from proxy.feed import stream as stream_of_events
from proxy.feed.holder import FeedState
from proxy.feed.snapshot import Snapshot, discard
from proxy.feed.stream import WatchStream
from proxy.routing.links import LinkTable
from proxy.routing.table import RouteTable
from tests.proxy.feed.documents import WORKLOAD, delete, ended, keys, put, route, snapshot, synced
from tests.proxy.feed.eventually import running


class Side:
    """A sidecar's table and state, and the streams that fed them."""

    def __init__(self) -> None:
        self.table = RouteTable(WORKLOAD)
        self.state = FeedState("registry", self.table)

    def connect(self, resumed: bool = False) -> WatchStream:
        return WatchStream(self.table, self.state, resumed)

    @property
    def routes(self) -> dict[str, int]:
        return {item.key: item.endpoints[0].port for item in self.table.routes()}


@pytest.fixture
async def side() -> Side:
    """In sync at revision 10 with two routes."""
    side = Side()
    stream = side.connect()
    await stream.apply(snapshot(10, route("a", 1), route("b", 2)))
    await stream.apply(synced(10))
    return side


async def test_a_snapshot_is_in_force_at_synced_and_not_before() -> None:
    side = Side()
    stream = side.connect()
    assert not await stream.apply(snapshot(10, route("a", 1)))
    assert not await stream.apply(snapshot(10, route("b", 2)))
    assert (side.routes, side.table.synced, stream.synced) == ({}, False, False)
    assert await stream.apply(synced(10))
    assert (side.routes, side.table.synced, stream.synced) == ({"a": 1, "b": 2}, True, True)
    assert side.state.applied == 10
    assert side.state.age() is not None


async def test_a_new_snapshot_replaces_everything(side: Side) -> None:
    stream = side.connect()
    await stream.apply(snapshot(12, route("c", 3)))
    assert side.routes == {"a": 1, "b": 2}
    await stream.apply(synced(12))
    assert side.routes == {"c": 3}


async def test_a_registry_with_an_older_store_wins_at_synced(side: Side) -> None:
    stream = side.connect(resumed=True)
    await stream.apply(snapshot(4, route("old", 3)))
    assert (side.routes, side.state.applied) == ({"a": 1, "b": 2}, 10)
    await stream.apply(synced(4))
    assert (side.routes, side.state.applied) == ({"old": 3}, 4)
    await stream.apply(put(5, "new", 4))
    assert (side.routes, side.state.ignored) == ({"old": 3, "new": 4}, 0)


async def test_synced_alone_on_a_fresh_connection_means_no_routes() -> None:
    side = Side()
    assert await side.connect().apply(synced(0))
    assert (side.routes, side.table.synced) == ({}, True)


async def test_synced_alone_confirms_a_resumed_table(side: Side) -> None:
    stream = side.connect(resumed=True)
    await stream.apply(synced(12))
    assert (side.routes, side.state.applied) == ({"a": 1, "b": 2}, 12)


async def test_an_empty_snapshot_on_a_resumed_connection_empties_the_table(side: Side) -> None:
    stream = side.connect(resumed=True)
    await stream.apply(snapshot(3))
    await stream.apply(synced(3))
    assert (side.routes, side.state.applied) == ({}, 3)


async def test_changes_are_in_force_at_once(side: Side) -> None:
    stream = side.connect(resumed=True)
    await stream.apply(synced(10))
    assert await stream.apply(put(11, "c", 3))
    assert await stream.apply(put(11, "a", 9))  # one revision may change several routes
    assert await stream.apply(delete(12, "b"))
    assert await stream.apply(delete(13, "never-there"))
    assert (side.routes, side.state.applied) == ({"a": 9, "c": 3}, 13)


async def test_missed_changes_do_not_wait_for_synced(side: Side) -> None:
    stream = side.connect(resumed=True)
    assert await stream.apply(put(11, "c", 3))
    assert (side.routes, stream.synced) == ({"a": 1, "b": 2, "c": 3}, False)


async def test_older_changes_are_skipped_and_counted(side: Side) -> None:
    stream = side.connect(resumed=True)
    assert not await stream.apply(put(9, "a", 99))
    assert not await stream.apply(delete(9, "a"))
    assert (side.routes, side.state.ignored, side.state.applied) == ({"a": 1, "b": 2}, 2, 10)


async def test_changes_between_the_pieces_belong_to_the_snapshot(side: Side) -> None:
    stream = side.connect()
    await stream.apply(snapshot(20, route("c", 3), route("d", 4)))
    assert not await stream.apply(put(21, "e", 5))
    assert not await stream.apply(delete(21, "d"))
    assert not await stream.apply(put(19, "c", 99))
    assert side.routes == {"a": 1, "b": 2}
    await stream.apply(synced(21))
    assert (side.routes, side.state.ignored) == ({"c": 3, "e": 5}, 1)


async def test_a_second_snapshot_on_one_stream(side: Side) -> None:
    stream = side.connect(resumed=True)
    await stream.apply(synced(10))
    await stream.apply(snapshot(11, route("c", 3)))
    await stream.apply(synced(11))
    assert side.routes == {"c": 3}


async def test_events_of_other_names_are_for_newer_readers(side: Side) -> None:
    assert not await side.connect(resumed=True).apply(Event("hello", "what ever"))
    assert side.routes == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Event("put", "{", "11"), "not JSON"),
        (Event("put", "[" * 100_000, "11"), "nested too deeply"),
        (Event("put", '{"revision": 1' + "0" * 5000 + "}", "11"), "not JSON"),
        (Event("put", "[]", "11"), "must be an object"),
        (put(11, "c", state=7), "state"),
        (Event("delete", '{"workload":"shop/users","key":"a","ended":7}', "11"), "ended: must be an object"),
        (ended(11, "a", of="b"), r"ended\.key: is not that of the route, a"),
        (ended(11, "a", workload="shop/orders"), "a route of shop/orders"),
        (Event("snapshot", '{"routes":[],"ended":{}}', "11"), "a snapshot is an object"),
        (Event("snapshot", '{"routes":[],"ended":[7]}', "11"), r"ended\[0\]: must be an object"),
        (keys(add=["a b"]), "keys with one that is no legal key"),
        (keys(remove=[7]), "keys with one that is no legal key"),
        (Event("keys", '{"add":"a"}', "11"), "keys are an object"),
        (keys(add=[f"k{n}" for n in range(2001)]), "up to 2000 names"),
        (put(11, "c", workload="shop/orders"), "a route of shop/orders"),
        (Event("put", "{}", ""), "put without a whole number as id"),
        (Event("put", "{}", "-1"), "put without a whole number as id"),
        (Event("put", "{}", "9" * 17), "put without a whole number as id"),
        (Event("synced", "{}", "x"), "synced without a whole number as id"),
        (synced(9), "synced at 9 without a snapshot, after 10"),
        (delete(11, "a", workload="shop/orders"), "not of shop/users"),
        (delete(11, "a b"), "without a legal key"),
        (Event("delete", '{"workload":"shop/users","key":["a"]}', "11"), "without a legal key"),
        (Event("delete", "7", "11"), "not of shop/users"),
        (Event("snapshot", "[]", "11"), "a snapshot is an object"),
        (Event("snapshot", '{"routes":{}}', "11"), "a snapshot is an object"),
        (snapshot(11, *(route(f"k{n}") for n in range(201))), "up to 200"),
        (snapshot(11, route("c"), route("d", workload="shop/orders")), r"routes\[1\]: a route of shop/orders"),
        (snapshot(11, route("c"), {"key": "x"}), r"routes\[1\]\.workload: is required"),
    ],
)
async def test_nonsense_is_an_error_and_what_was_in_force_stays(side: Side, event: Event, why: str) -> None:
    stream = side.connect(resumed=True)
    with pytest.raises(ContractError, match=why):
        await stream.apply(event)
    assert (side.routes, side.state.applied, side.table.synced) == ({"a": 1, "b": 2}, 10, True)


class TestNewer:
    """What a registry of a later version may say."""

    async def test_unknown_fields_events_and_states(self, side: Side) -> None:
        stream = side.connect(resumed=True)
        await stream.apply(put(11, "c", 3, weight=7))
        await stream.apply(put(12, "d", 4, state="paused"))
        assert not await stream.apply(Event("weights", '{"weights":[]}', "13"))
        await stream.apply(Event("synced", '{"more":1}', "13"))
        assert side.routes == {"a": 1, "b": 2, "c": 3, "d": 4}
        paused = side.table.lookup("d")
        assert paused is not None
        assert paused.state is State.PENDING

    async def test_a_snapshot_with_more_in_it(self) -> None:
        side = Side()
        stream = side.connect()
        more = {"routes": [route("a", 1, weight=7)], "workloads": ["shop/users"]}
        await stream.apply(Event("snapshot", json.dumps(more), "10"))
        await stream.apply(synced(10))
        assert side.routes == {"a": 1}


class TestTombstones:
    async def test_a_delete_may_leave_one(self, side: Side) -> None:
        stream = side.connect(resumed=True)
        assert await stream.apply(ended(11, "a", why="it was deleted"))
        gone = side.table.lookup("a")
        assert gone is not None
        assert (gone.state, gone.endpoints, gone.why) == (State.ENDED, (), "it was deleted")
        assert side.state.applied == 11
        assert await stream.apply(delete(12, "a")), "and a plain one takes it away"
        assert side.table.lookup("a") is None

    async def test_a_snapshot_has_them_beside_the_routes(self) -> None:
        side = Side()
        stream = side.connect()
        both = {
            "routes": [route("a", 1)],
            "ended": [{"workload": WORKLOAD, "key": "b", "since": "2026-01-31T12:00:00Z"}],
        }
        await stream.apply(Event("snapshot", json.dumps(both), "10"))
        await stream.apply(synced(10))
        gone = side.table.lookup("b")
        assert gone is not None
        assert (gone.state, gone.since) == (State.ENDED, "2026-01-31T12:00:00Z")

    async def test_a_sandbox_that_comes_again_takes_its_place(self, side: Side) -> None:
        stream = side.connect(resumed=True)
        await stream.apply(ended(11, "a"))
        await stream.apply(put(12, "a", 7))
        assert side.routes == {"a": 7, "b": 2}


class TestKeys:
    async def test_nobody_knows_until_they_are_told(self, side: Side) -> None:
        assert not side.table.nobody_has("x")

    async def test_they_are_in_force_at_synced(self) -> None:
        side = Side()
        stream = side.connect()
        assert not await stream.apply(keys(add=["x", "y"]))
        await stream.apply(snapshot(10, route("a", 1)))
        await stream.apply(keys(add=["z"], remove=["y"]))
        assert not side.table.nobody_has("y")
        await stream.apply(Event("synced", '{"keys":true}', "10"))
        assert [key for key in "axyz" if side.table.nobody_has(key)] == ["y"]

    async def test_then_they_change_and_are_not_acknowledged(self, side: Side) -> None:
        stream = side.connect(resumed=True)
        await stream.apply(Event("synced", '{"keys":true}', "10"))
        assert side.table.nobody_has("x")
        assert not await stream.apply(keys(add=["x"]))
        assert not side.table.nobody_has("x")
        assert not await stream.apply(keys(remove=["x"]))
        assert side.table.nobody_has("x")
        assert side.state.applied == 10

    async def test_each_connection_tells_all_of_them(self, side: Side) -> None:
        for told in ("x", "y"):
            stream = side.connect(resumed=True)
            await stream.apply(keys(add=[told]))
            await stream.apply(Event("synced", '{"keys":true}', "10"))
        assert (side.table.nobody_has("x"), side.table.nobody_has("y")) == (True, False)

    async def test_a_registry_that_does_not_tell_them_takes_the_knowledge_back(self, side: Side) -> None:
        await side.connect(resumed=True).apply(Event("synced", '{"keys":true}', "10"))
        assert side.table.nobody_has("x")
        await side.connect(resumed=True).apply(synced(10))
        assert not side.table.nobody_has("x")

    async def test_they_have_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pieces, "MAX_ROUTES", 2)
        with pytest.raises(ContractError, match="more than 2"):
            await Side().connect().apply(keys(add=["x", "y", "z"]))


async def test_a_table_has_a_limit(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_ROUTES", 3)
    stream = side.connect(resumed=True)
    await stream.apply(put(11, "c"))
    with pytest.raises(ContractError, match="more than 3 routes"):
        await stream.apply(put(12, "d"))
    stream = side.connect()
    await stream.apply(snapshot(13, *map(route, "abc")))
    with pytest.raises(ContractError, match="more than 3 routes"):
        await stream.apply(snapshot(13, route("d")))


class TestManyRoutes:
    """What a hundred thousand need is seen with a few thousand: slices, and no work for the collector."""

    @pytest.fixture(autouse=True)
    def thawed(self) -> Iterator[None]:
        yield
        gc.unfreeze()

    async def fill(self, table: RouteTable, count: int) -> None:
        whole = Snapshot(table)
        for start in range(0, count, 200):
            await whole.add(snapshot(1, *(route(f"k{n}") for n in range(start, start + 200))).data)
        assert len(whole) == count
        await discard(whole.swap())

    async def test_the_old_table_is_freed_in_slices(self) -> None:
        table = RouteTable(WORKLOAD)
        await self.fill(table, 4000)
        old = Snapshot(table).swap()
        assert (len(table), len(old)) == (0, 4000)
        left = []

        async def look() -> None:
            while True:
                left.append(len(old))
                await asyncio.sleep(0)

        async with running(look()):
            await discard(old)
        assert old == {}
        assert max(map(int.__sub__, [4000, *left], [*left, 0])) == pieces.FREE_ROUTES

    async def test_routes_are_kept_from_the_collector(self) -> None:
        gc.freeze()  # all that is there, so that only the routes are counted
        before = gc.get_freeze_count()
        table = RouteTable(WORKLOAD)
        await self.fill(table, 3000)
        frozen = gc.get_freeze_count() - before
        assert frozen >= 3 * 3000  # a route, its endpoints, an endpoint
        table.replace({})
        assert gc.get_freeze_count() - before <= frozen - 3 * 3000  # freed by reference count all the same

    async def test_a_small_table_freezes_nothing(self) -> None:
        gc.unfreeze()  # what others froze may be freed meanwhile
        await self.fill(RouteTable(WORKLOAD), 200)
        assert gc.get_freeze_count() == 0

    async def test_a_piece_is_decoded_in_slices(self) -> None:
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        whole = Snapshot(RouteTable(WORKLOAD))
        async with running(count_turns()):
            await whole.add(snapshot(1, *(route(f"k{n}") for n in range(200))).data)
        assert turns >= 200 // pieces.DECODE_ROUTES

    async def test_a_route_that_has_not_changed_is_kept(self) -> None:
        table = RouteTable(WORKLOAD)
        await self.fill(table, 200)
        before = {item.key: item for item in table.routes()}
        whole = Snapshot(table)
        await whole.add(snapshot(2, *(route(f"k{n}", port=9102 if n else 1) for n in range(200))).data)
        await discard(whole.swap())
        assert [key for key, item in before.items() if table.lookup(key) is not item] == ["k0"]

    async def test_strings_that_repeat_are_shared(self) -> None:
        table = RouteTable(WORKLOAD)
        await self.fill(table, 200)
        assert len({id(item.workload) for item in table.routes()}) == 1
        assert all(item.sandbox is item.key for item in table.routes())


# -- links of previews ------------------------------------------------------------------------------------------


def link(hashed: str, **more: Any) -> dict[str, Any]:
    return {
        "hash": hashed * 64, "preview": "web", "workload": "shop/frontend", "target": "127.0.0.1:1", "sandbox": "a",
        "key": "a", "revision": 1, "expires": 1.0, **more,
    }  # fmt: skip


def previews(**changes: Any) -> Event:
    return Event(PREVIEWS, json.dumps(changes))


WHOLE = Event("synced", '{"keys":true,"previews":true}', "10")


async def gateway(*events: Event) -> tuple[WatchStream, LinkTable]:
    table, links = RouteTable(WORKLOAD), LinkTable()
    stream = WatchStream(table, FeedState("registry", table), False, links)
    for event in events:
        await stream.apply(event)
    return stream, links


async def test_links_are_in_force_at_synced_and_change_afterwards() -> None:
    before = previews(put=[link("a"), link("b"), link("c")]), previews(remove=["b" * 64, "d" * 64])
    stream, links = await gateway(*before)
    assert len(links) == 0
    await stream.apply(WHOLE)
    assert (links.lookup("b" * 64), len(links)) == (None, 2)
    assert not await stream.apply(previews(put=[link("a", revision=2)], remove=["c" * 64]))
    found = links.lookup("a" * 64)
    assert found is not None
    assert (found.revision, len(links)) == (2, 1)


async def test_links_that_nobody_vouches_for_are_none() -> None:
    """An older registry takes over, which does not tell them."""
    stream, links = await gateway(previews(put=[link("a")]), WHOLE)
    assert len(links) == 1
    await stream.apply(synced(11))
    assert len(links) == 0


async def test_who_is_no_gateway_reads_no_links(side: Side) -> None:
    assert not await side.connect(resumed=True).apply(previews(put="nonsense"))


@pytest.mark.parametrize(
    "event",
    [
        previews(put="x"), previews(remove={}), previews(remove=["x"]), previews(put=[{}]),
        previews(put=[link("a")] * (LINKS_IN_EVENT + 1)), Event(PREVIEWS, "[1"),
    ],
)  # fmt: skip
async def test_links_that_are_nonsense(event: Event) -> None:
    with pytest.raises(ContractError):
        await gateway(event)


async def test_links_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_of_events, "MAX_LINKS", 1)
    with pytest.raises(ContractError):
        await gateway(previews(put=[link("a"), link("b")]))


class TestRules:
    """Rules of keys, beside the routes."""

    RULE = Rule(name="a", effect="reset", workload="shop/users")

    def event(self, key: str, *rules: Rule, **more: object) -> Event:
        return Event("rules", json.dumps({"key": key, "rules": [encode_rule(rule) for rule in rules], **more}))

    async def test_they_are_collected_until_synced_and_changes_after_it(self) -> None:
        side = Side()
        stream = side.connect()
        side.table.put_rules("old", [self.RULE])
        assert not await stream.apply(self.event("a", self.RULE, later=1))
        assert side.table.rules.of_workload("a") is None
        await stream.apply(Event("snapshot", '{"routes":[]}', "10"))
        await stream.apply(synced(10))
        assert side.table.rules.of_workload("a") is not None
        assert side.table.rules.of_workload("old") is None
        await stream.apply(self.event("b", self.RULE))
        await stream.apply(self.event("a"))
        assert side.table.rules.of_workload("b") is not None
        assert side.table.rules.of_workload("a") is None

    async def test_what_a_later_version_may_say_is_passed_over_and_nonsense_is_not(self) -> None:
        stream = Side().connect()
        assert not await stream.apply(Event("rules", '{"later":[]}'))
        with pytest.raises(ContractError):
            await stream.apply(Event("rules", '{"key":"a b","rules":[]}'))
