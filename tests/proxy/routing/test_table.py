"""The routes of one workload: changed in place, swapped whole, and whoever depends on them is told."""

from __future__ import annotations

from proxy.contract.routes import Endpoint, Route
from proxy.contract.rules import Rule
from proxy.routing.table import RouteTable


def route(key: str, revision: int = 1) -> Route:
    return Route("shop/users", key, (Endpoint("127.0.0.1", 9102),), revision=revision)


class Watcher:
    """Notes what the table said each time it was told of a change."""

    def __init__(self, table: RouteTable) -> None:
        self.seen: list[str] = []
        self._table = table
        table.watchers.append(self)

    def __call__(self) -> None:
        self.seen.append(repr(self._table))


def test_new() -> None:
    table = RouteTable("shop/users")
    assert (table.workload, table.synced, len(table), table.routes()) == ("shop/users", False, 0, [])
    assert table.lookup("a") is None
    assert repr(table) == "<RouteTable shop/users 0 routes never synced>"


def test_put_and_delete() -> None:
    table = RouteTable("shop/users")
    first, second, newer = route("a"), route("b"), route("a", revision=2)
    table.put(first)
    table.put(second)
    assert table.lookup("a") is first
    assert table.lookup("A") is None
    table.put(newer)
    assert table.lookup("a") is newer
    assert table.routes() == [newer, second]
    table.delete("a")
    assert table.lookup("a") is None
    assert len(table) == 1
    assert not table.synced, "changes alone are no table"


def test_replace_is_the_whole_table() -> None:
    table = RouteTable("shop/users")
    table.put(route("old"))
    old = table.routes()
    new = route("new")
    assert list(table.replace({"new": new}).values()) == old
    assert table.synced
    assert table.lookup("old") is None
    assert table.routes() == [new]
    assert repr(table) == "<RouteTable shop/users 1 routes>"
    table.replace({})
    assert table.synced, "an empty table is one, too"
    assert len(table) == 0


def test_the_list_of_routes_is_a_copy() -> None:
    table = RouteTable("shop/users")
    table.put(route("a"))
    table.routes().clear()
    assert len(table) == 1


def test_who_has_a_key() -> None:
    table = RouteTable("shop/users")
    watcher = Watcher(table)
    table.put(route("a"))
    assert not table.nobody_has("x"), "nobody has told"
    table.change_keys(["x"], [])
    assert not table.nobody_has("y")
    table.replace_keys({"x"})
    assert [key for key in "axy" if table.nobody_has(key)] == ["y"]
    table.change_keys(["y"], ["x"])
    assert [key for key in "axy" if table.nobody_has(key)] == ["x"]
    told = len(watcher.seen)
    table.replace_keys({"y"})
    assert len(watcher.seen) == told, "nothing has changed"
    table.replace_keys(None)
    assert not table.nobody_has("x")
    assert len(watcher.seen) == 4


def test_watchers_are_told_after_each_change_and_only_then() -> None:
    table = RouteTable("shop/users")
    one, other = Watcher(table), Watcher(table)
    table.put(route("a"))
    table.replace({"a": route("a"), "b": route("b")})
    table.delete("a")
    table.delete("a")
    table.delete("never there")
    table.lookup("b")
    assert one.seen == [
        "<RouteTable shop/users 1 routes never synced>",
        "<RouteTable shop/users 2 routes>",
        "<RouteTable shop/users 1 routes>",
    ]
    assert other.seen == one.seen


def test_a_caller_is_told_of_a_key_that_a_request_waits_for() -> None:
    table = RouteTable("shop/users")
    table.call("nobody-listens")
    heard: list[str] = []
    table.callers.append(heard.append)
    table.call("a")
    assert heard == ["a"]


def test_rules_that_are_as_they_were_are_no_change() -> None:
    changes: list[int] = []
    table = RouteTable("shop/users")
    table.watchers.append(lambda: changes.append(table.rules.version))
    rule = Rule(name="a", effect="reset", workload="shop/users")
    table.put_rules("k", [rule])
    table.put_rules("k", [rule])
    table.replace_rules({"k": [rule]})
    table.replace_rules({})
    assert changes == [1, 2]
