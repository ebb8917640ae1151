"""The rings, in memory and in a real Redis: bounded, read from the newest back, followed without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from controlplane.hops.port import Kept, Line
from proxy.contract.hops import INBOUND, Hop, encode_hop
from tests.controlplane.hops.conftest import Make


def line(number: int, trace: str = "t", parent: int = 0) -> Line:
    cause = f"{parent:016x}" if parent else ""
    hop = Hop(f"{number:016x}", "a", "shop/users", INBOUND, trace=trace, parent=cause, status=200)
    return Line(hop.id, hop.parent, hop.trace, encode_hop(hop))


def numbers(kept: list[Kept]) -> list[int]:
    return [int(item.hop.id, 16) for item in kept]


async def _later(work: Awaitable[None]) -> None:
    """When a reader waits already, which takes Redis some turns of the loop."""
    await asyncio.sleep(0.2)
    await work


async def test_the_newest_come_first_and_pages_go_back(make: Make) -> None:
    store = make()
    await store.add("a", [line(number) for number in range(1, 8)])
    first = await store.newest("a", 3)
    assert numbers(first) == [7, 6, 5]
    assert numbers(await store.newest("a", 3, before=first[-1].position)) == [4, 3, 2]
    assert numbers(await store.newest("a", 9, before=2)) == [1]
    assert await store.newest("a", 9, before=1) == []
    assert await store.newest("nobody", 9) == []


async def test_the_ring_is_bounded_in_hops_and_in_bytes(make: Make) -> None:
    store = make(kept_hops=3)
    await store.add("a", [line(number) for number in range(1, 6)])
    assert numbers(await store.newest("a", 9)) == [5, 4, 3]
    assert await store.last("a") == 5
    size = len(line(1).text)
    store = make(kept_bytes=2 * size)
    await store.add("b", [line(number) for number in range(1, 6)])
    assert numbers(await store.newest("b", 9)) == [5, 4]


async def test_a_trace_is_found_among_others(make: Make) -> None:
    store = make()
    await store.add("a", [line(1, "x"), line(2, "y"), line(3, "x")])
    assert [hop.id[-1] for hop in await store.trace("a", "x")] == ["1", "3"]
    assert await store.trace("a", "z") == []
    assert await store.trace("nobody", "x") == []


async def test_causes_hold_a_chain_together_whose_trace_was_begun_anew(make: Make) -> None:
    store = make()
    chain = [line(1, "x"), line(2, "x", parent=1), line(3, "y", parent=2), line(4, "y", parent=3), line(5, "z")]
    await store.add("a", chain)
    for trace in ("x", "y"):
        assert [hop.id[-1] for hop in await store.trace("a", trace)] == ["1", "2", "3", "4"]
    assert [hop.id[-1] for hop in await store.trace("a", "z")] == ["5"]


async def test_a_key_that_has_ended_is_forgotten(make: Make) -> None:
    store = make()
    await store.add("a", [line(1)])
    await store.forget("a")
    await store.forget("a")
    assert await store.newest("a", 9) == []
    assert await store.last("a") == 0


async def test_a_reader_gets_what_is_kept_then_what_comes(make: Make) -> None:
    store = make()
    await store.add("a", [line(number) for number in range(1, 451)])
    seen: list[int] = []
    while len(seen) < 449:
        piece = await store.newer("a", seen[-1] if seen else 1, 60)
        assert piece
        seen += numbers(piece)
    assert seen == list(range(2, 451))
    first, second, _ = await asyncio.gather(
        store.newer("a", 450, 60), store.newer("a", 450, 60), store.add("a", [line(451), line(452)])
    )
    assert first is not None
    assert first == second
    assert numbers(first) == [451, 452]


async def test_a_reader_waits_no_longer_than_it_wants(make: Make) -> None:
    store = make()
    assert await store.newer("a", 0, 0.001) == []


async def test_a_reader_is_told_that_the_key_has_ended(make: Make) -> None:
    store = make()
    await store.add("a", [line(1)])
    told, _ = await asyncio.gather(store.newer("a", 1, 60), _later(store.forget("a")))
    assert told is None


async def test_so_is_one_of_a_key_that_nothing_was_kept_of(make: Make) -> None:
    store = make()
    told, _ = await asyncio.gather(store.newer("a", 0, 60), _later(store.forget("a")))
    assert told is None


async def test_a_store_that_closes_lets_its_readers_go(make: Make) -> None:
    store = make()
    told, _ = await asyncio.gather(store.newer("a", 0, 60), _later(store.close()))
    assert told is None
    assert await store.newer("b", 0, 60) is None


async def test_a_reader_that_is_overtaken_goes_on_with_what_is_left(make: Make) -> None:
    store = make(kept_hops=2)
    await store.add("a", [line(number) for number in range(1, 6)])
    left = await store.newer("a", 0, 0)
    assert left is not None
    assert numbers(left) == [4, 5]
