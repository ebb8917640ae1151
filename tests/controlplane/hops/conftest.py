"""Both stores of hops; Redis is the real one, on a free port and in memory only."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

from controlplane.hops.memory import MemoryHops
from controlplane.hops.port import KEPT_BYTES, KEPT_HOPS, HopStore
from controlplane.hops.redis import RedisHops
from tests.acceptance.running import free_port
from tests.tools import require


class Make(Protocol):
    def __call__(self, kept_hops: int = KEPT_HOPS, kept_bytes: int = KEPT_BYTES) -> HopStore: ...


class RedisServer:
    """A redis-server that keeps nothing. It can be stopped for a while (SIGSTOP) and ended."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
        raise AssertionError("redis-server did not start")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require("redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.end()


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    made: list[HopStore] = []

    def make(kept_hops: int = KEPT_HOPS, kept_bytes: int = KEPT_BYTES) -> HopStore:
        if request.param == "memory":
            made.append(MemoryHops(kept_hops, kept_bytes))
        else:
            url = request.getfixturevalue("redis_server").url
            made.append(RedisHops(url, kept_hops, kept_bytes))
        return made[-1]

    yield make
    for store in made:
        for key in ("a", "b", "nobody"):
            await store.forget(key)
        await store.close()
