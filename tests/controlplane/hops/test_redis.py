"""What is peculiar to Redis: replicas that share it, and a Redis that is gone, slow or wrong."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.hops import redis
from controlplane.hops.intake import Intake
from controlplane.hops.port import HopsUnavailableError
from controlplane.hops.redis import RedisHops, shown
from proxy.contract.hops import INBOUND, Hop, encode_hop
from tests.controlplane.hops.conftest import RedisServer
from tests.controlplane.hops.test_stores import line, numbers
from tests.tools import require


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    require("redis-server")
    server = RedisServer(tmp_path)
    yield server
    server.end()


async def test_replicas_share_positions_and_what_is_forgotten(server: RedisServer) -> None:
    one, other = RedisHops(server.url), RedisHops(server.url)
    await asyncio.gather(*(store.add("a", [line(at), line(at + 1)]) for at, store in ((1, one), (3, other), (5, one))))
    kept = await other.newest("a", 9)
    assert [item.position for item in kept] == [6, 5, 4, 3, 2, 1]
    assert sorted(numbers(kept)) == [1, 2, 3, 4, 5, 6]
    following = asyncio.gather(one.newer("a", 6, 30), asyncio.sleep(0))
    assert await other.add("a", [line(7)]) == 1
    told, _ = await following
    assert told is not None
    assert numbers(told) == [7]

    async def forget() -> None:
        await asyncio.sleep(0.2)  # until the reader waits
        await other.forget("a")

    told, _ = await asyncio.gather(one.newer("a", 7, 30), forget())
    assert told is None
    await one.close()
    await other.close()


async def test_what_nobody_forgets_is_gone_some_day(server: RedisServer) -> None:
    store = RedisHops(server.url)
    await store.add("a", [line(1)])
    for name in ("skycap:hops:{a}", "skycap:hops:{a}:index", "skycap:hops:{a}:state"):
        assert redis.KEPT_SECONDS - 60 < await store._redis.ttl(name) <= redis.KEPT_SECONDS
    await store.close()


async def test_a_redis_that_is_gone_costs_hops_and_nothing_else(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "PAUSE_SECONDS", 0.0)
    store = RedisHops(server.url)

    async def unserved(_: set[str]) -> None:
        raise AssertionError

    intake = Intake(store, lambda _: True, unserved)
    batch = encode_hop(Hop("1" * 16, "a", "shop/users", INBOUND)) * 3
    await intake.take(batch)
    server.end()
    with caplog.at_level(logging.WARNING):
        await intake.take(batch)
        await intake.take(batch)
        await store.forget("a")
    assert (intake.kept, intake.dropped) == (3, 6)
    assert caplog.text.count("hops are dropped") == 1
    for ask in (store.newest("a", 1), store.trace("a", "t"), store.last("a"), store.newer("a", 0, 1)):
        with pytest.raises(HopsUnavailableError, match=f"Redis at redis://127.0.0.1:{server.port} "):
            await ask
    await store.close()


async def test_a_redis_that_hangs_is_waited_for_once(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "ADD_SECONDS", 1.0)  # a hundred times that is more than a test may take
    monkeypatch.setattr(redis, "PAUSE_SECONDS", 600.0)
    store = RedisHops(server.url)
    assert await store.add("a", [line(1)]) == 1
    server.process.send_signal(signal.SIGSTOP)
    assert [await store.add("a", [line(number)]) for number in range(100)] == [0] * 100
    server.process.send_signal(signal.SIGCONT)
    monkeypatch.setattr(store, "_not_before", 0.0)
    assert await store.add("a", [line(2)]) == 1
    await store.close()


def test_no_password_is_shown() -> None:
    assert shown("redis://user:secret@host:6379/2") == "redis://host:6379/2"
    assert "secret" not in repr(RedisHops("redis://:secret@127.0.0.1:1/0"))
