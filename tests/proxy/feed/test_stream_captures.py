"""`capture` events: of which keys other messages are kept than of most."""

from __future__ import annotations

import json

import pytest

from proxy.contract.watch import CAPTURE, KEYS_IN_EVENT, Event
from proxy.errors import ContractError
from proxy.routing.captures import ALL, ERRORS, NONE
from tests.proxy.feed.documents import route, snapshot, synced
from tests.proxy.feed.test_stream import Side


def capture(**keys: object) -> Event:
    return Event(CAPTURE, json.dumps(keys))


async def test_they_are_in_force_at_synced_and_are_changes_after_it() -> None:
    side = Side()
    captures = side.table.captures
    stream = side.connect()
    await stream.apply(snapshot(10, route("a", 1)))
    assert not await stream.apply(capture(all=["a", "b"], none=["c"]))
    assert not captures.special
    await stream.apply(synced(10))
    assert [captures.floor(key) for key in "abcd"] == [ALL, ALL, NONE, ERRORS]
    await stream.apply(capture(errors=["a"], all=["d"], later=["x"]))
    assert [captures.floor(key) for key in "abcd"] == [ERRORS, ALL, NONE, ALL]
    assert (captures.special, repr(captures)) == (True, "<Captures 3>")


async def test_a_registry_that_tells_of_none_has_none() -> None:
    """One that is older, too."""
    side = Side()
    side.table.captures.change(["a"], ALL)
    stream = side.connect()
    await stream.apply(snapshot(10))
    await stream.apply(synced(10))
    assert not side.table.captures.special


@pytest.mark.parametrize("wrong", [{"all": "a"}, {"none": ["a b"]}, {"all": [1]}, {"all": ["a"] * (KEYS_IN_EVENT + 1)}])
async def test_nonsense(wrong: dict[str, object]) -> None:
    with pytest.raises(ContractError, match="capture"):
        await Side().connect().apply(capture(**wrong))
    assert not await Side().connect().apply(Event(CAPTURE, "[]"))
