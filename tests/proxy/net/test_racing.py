"""Addresses of one name, raced: RFC 8305."""

from __future__ import annotations

import asyncio

import pytest

from proxy.net.racing import first_connected


class Addresses:
    """What becomes of each attempt: `quiet` never ends, `refused` fails at once, anything else connects at once."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.cancelled: list[str] = []
        self.closed: list[str] = []

    async def attempt(self, address: str) -> str:
        self.tried.append(address)
        if address.startswith("quiet"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(address)
                raise
        await asyncio.sleep(0)
        if address.startswith("refused"):
            raise ConnectionRefusedError(address)
        return address

    async def race(self, *addresses: str, delay: float = 0.001) -> str:
        return await first_connected(addresses, self.attempt, self.closed.append, delay)


async def test_the_first_that_answers_is_the_only_one() -> None:
    seen = Addresses()
    assert await seen.race("a", "b", "c", delay=60) == "a"
    assert (seen.tried, seen.closed) == (["a"], [])


async def test_one_that_swallows_packets_is_overtaken() -> None:
    seen = Addresses()
    async with asyncio.timeout(10):
        assert await seen.race("quiet 1", "quiet 2", "b") == "b"
    assert seen.tried == ["quiet 1", "quiet 2", "b"]
    assert seen.cancelled == ["quiet 1", "quiet 2"]


async def test_one_that_refuses_is_not_waited_for() -> None:
    seen = Addresses()
    async with asyncio.timeout(10):
        assert await seen.race("refused", "b", delay=60) == "b"


async def test_all_fail_and_the_first_is_told() -> None:
    with pytest.raises(ConnectionRefusedError, match="refused 1"):
        await Addresses().race("refused 1", "refused 2", "refused 3", delay=60)


async def test_a_single_one_costs_no_task() -> None:
    seen = Addresses()
    before = len(asyncio.all_tasks())

    async def attempt(address: str) -> str:
        assert len(asyncio.all_tasks()) == before
        return address

    assert await first_connected(["a"], attempt, seen.closed.append) == "a"


async def test_what_was_connected_beside_the_winner_is_closed() -> None:
    seen = Addresses()
    together = asyncio.Event()

    async def attempt(address: str) -> str:
        if address == "b":
            together.set()
        await together.wait()
        return address

    assert await first_connected(["a", "b"], attempt, seen.closed.append, 0.001) == "a"
    assert seen.closed == ["b"]


async def test_a_race_that_is_given_up_leaves_nothing() -> None:
    seen = Addresses()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await seen.race("quiet 1", "quiet 2")
    assert seen.cancelled == seen.tried
    assert len(asyncio.all_tasks()) == 1
