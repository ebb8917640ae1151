"""The links that a gateway serves."""

from __future__ import annotations

from proxy.contract.previews import Link
from proxy.contract.routes import Endpoint
from proxy.routing.links import LinkTable


def link(hashed: str, revision: int = 1) -> Link:
    return Link(hashed, "web", "shop/frontend", Endpoint("127.0.0.1", 9301), "a", "a", revision, 1.0)


def test_links_come_change_and_go() -> None:
    table, told = LinkTable(), []
    table.watchers.append(lambda: told.append(len(table)))
    table.replace([link("a"), link("b")])
    table.change([link("b", 2), link("c")], ["a", "unknown"])
    assert (table.lookup("a"), table.lookup("b"), len(table)) == (None, link("b", 2), 2)
    assert told == [2, 2]
    assert repr(table) == "<LinkTable 2>"
