"""Names: looked up without a thread, kept for their TTL, served on when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.base.tasks import Tasks
from proxy.net import resolve as module
from proxy.net.resolve import CaresLookup, Found, Resolver, UnresolvedError, interleaved
from tests.proxy.net.name_server import NameServer, name_server
from tests.proxy.net.rig import eventually, on_uvloop


class Servers:
    """Answers as told; `hold` keeps answers back."""

    def __init__(self) -> None:
        self.now = 0.0
        self.names: dict[str, Found] = {}
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.tasks = Tasks("test")
        self.resolver = Resolver(self.tasks, self.look_up, clock=lambda: self.now)

    async def look_up(self, host: str) -> Found:
        self.asked.append(host)
        await self.answers.wait()
        if host not in self.names:
            raise UnresolvedError("domain name not found")
        return self.names[host]


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    made = Servers()
    try:
        yield made
    finally:
        await made.tasks.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo"])
async def test_an_address_is_its_own(host: str) -> None:
    async with servers() as seen:
        assert await seen.resolver.resolve(host) == (host,)
        assert seen.asked == []


async def test_a_name_is_known_for_its_ttl() -> None:
    async with servers() as seen:
        seen.names["a"] = Found(("10.0.0.1",), 30.0)
        for now, asked in ((0.0, 1), (29.9, 1), (30.0, 2), (59.0, 2)):
            seen.now = now
            assert await seen.resolver.resolve("a") == ("10.0.0.1",)
            assert len(seen.asked) == asked
        assert repr(seen.resolver) == "<Resolver 1 names, 0 asked for>"


@pytest.mark.parametrize(("ttl", "known"), [(0.0, 1.0), (86400.0, 300.0)])
async def test_a_ttl_has_bounds(ttl: float, known: float) -> None:
    async with servers() as seen:
        seen.names["a"] = Found(("10.0.0.1",), ttl)
        for now, asked in ((0.0, 1), (known - 0.1, 1), (known, 2)):
            seen.now = now
            await seen.resolver.resolve("a")
            assert len(seen.asked) == asked


async def test_many_who_ask_at_once_cost_one_question() -> None:
    async with servers() as seen:
        seen.answers.clear()
        seen.names["a"] = Found(("10.0.0.1",), 30.0)
        asking = [seen.tasks.begin(seen.resolver.resolve("a"), str(number)) for number in range(5)]
        await eventually(lambda: seen.asked)
        asking.pop().cancel()  # who waits no more takes nobody's answer away
        seen.answers.set()
        assert {await one for one in asking} == {("10.0.0.1",)}
        assert seen.asked == ["a"]


async def test_one_deaf_name_stalls_no_other() -> None:
    async with servers() as seen:
        seen.answers.clear()
        deaf = [seen.tasks.begin(seen.resolver.resolve(f"deaf{number}"), "deaf") for number in range(50)]
        await eventually(lambda: len(seen.asked) == 50)
        seen.answers = asyncio.Event()
        seen.answers.set()
        seen.names["a"] = Found(("10.0.0.1",), 30.0)
        async with asyncio.timeout(5):
            assert await seen.resolver.resolve("a") == ("10.0.0.1",)
        assert not any(one.done() for one in deaf)


async def test_what_cannot_be_resolved_is_asked_again_soon() -> None:
    async with servers() as seen:
        for now, asked in ((0.0, 1), (0.9, 1), (1.0, 2)):
            seen.now = now
            with pytest.raises(UnresolvedError, match="the name cannot be resolved: domain name not found"):
                await seen.resolver.resolve("a")
            assert len(seen.asked) == asked
        seen.names["a"] = Found(("10.0.0.1",), 30.0)
        seen.now = 2.0
        assert await seen.resolver.resolve("a") == ("10.0.0.1",)


async def test_a_name_that_is_known_serves_on_while_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with servers() as seen:
        seen.names["a"] = Found(("10.0.0.1",), 30.0)
        await seen.resolver.resolve("a")
        del seen.names["a"]
        seen.now = 31.0
        assert await seen.resolver.resolve("a") == ("10.0.0.1",), "the servers say no"
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
        seen.answers.clear()
        async with asyncio.timeout(5):
            assert await seen.resolver.resolve("a") == ("10.0.0.1",), "the servers say nothing"
        seen.names["a"] = Found(("10.0.0.2",), 30.0)
        seen.answers.set()
        await eventually(lambda: repr(seen.resolver).endswith(" 0 asked for>"))
        assert await seen.resolver.resolve("a") == ("10.0.0.2",)
        del seen.names["a"]
        seen.now = 31.0 + 30.0 + 3600.0
        with pytest.raises(UnresolvedError):
            await seen.resolver.resolve("a")


async def test_a_look_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKUP_SECONDS", 0.01)
    async with servers() as seen:
        seen.answers.clear()
        with pytest.raises(UnresolvedError, match="the name cannot be resolved: no name server answers"):
            await seen.resolver.resolve("a")


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 3)
    async with servers() as seen:
        for number in range(10):
            seen.names[f"n{number}"] = Found(tuple(f"10.0.0.{n}" for n in range(200)), 300.0)
            assert len(await seen.resolver.resolve(f"n{number}")) == 16
        assert repr(seen.resolver) == "<Resolver 1 names, 0 asked for>"


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ([], []),
        (["10.0.0.1"], ["10.0.0.1"]),
        (["::1", "::2", "10.0.0.1", "10.0.0.2"], ["::1", "10.0.0.1", "::2", "10.0.0.2"]),
        (["10.0.0.1", "::1", "::2", "10.0.0.1"], ["10.0.0.1", "::1", "::2"]),
    ],
)
def test_families_take_turns(found: Sequence[str], tried: Sequence[str]) -> None:
    assert list(interleaved(found)) == list(tried)


class TestCares:
    """Real queries to a real server."""

    @staticmethod
    def lookup(server: NameServer) -> CaresLookup:
        return CaresLookup(servers=["127.0.0.1"], udp_port=server.port, timeout=0.2, tries=1)

    @on_uvloop
    async def test_both_families_and_the_shorter_ttl(self) -> None:
        async with name_server() as server:
            server.names["users.test"] = (("10.0.0.1", "10.0.0.2", "2001:db8::1"), 30)
            found = await self.lookup(server)("users.test")
            assert set(found.addresses) == {"10.0.0.1", "10.0.0.2", "2001:db8::1"}
            assert found.seconds == 30

    @on_uvloop
    async def test_a_name_that_does_not_exist(self) -> None:
        async with name_server() as server:
            with pytest.raises(UnresolvedError, match="domain name not found"):
                await self.lookup(server)("nobody.test")

    @on_uvloop
    async def test_a_deaf_server(self) -> None:
        async with name_server() as server:
            server.deaf = True
            with pytest.raises(UnresolvedError, match=r"timeout|contact"):
                await self.lookup(server)("users.test")

    @on_uvloop
    async def test_a_deaf_server_and_the_hosts_file(self) -> None:
        async with name_server() as server:
            server.deaf = True
            tasks = Tasks("test")
            lookup = self.lookup(server)
            waiting = [tasks.begin(lookup(f"deaf{number}.test"), "deaf") for number in range(20)]
            await eventually(lambda: len(server.asked) >= 20)
            found = await lookup("localhost")
            assert set(found.addresses) <= {"127.0.0.1", "::1"}
            assert found.addresses
            await asyncio.wait(waiting)
            assert all(isinstance(one.exception(), UnresolvedError) for one in waiting)
            await tasks.close()

    @on_uvloop
    async def test_another_resolv_conf(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "resolv.conf"
        monkeypatch.setattr(module, "_RESOLV_CONF", path)
        async with name_server() as server:
            server.names["users.test"] = (("10.0.0.1",), 30)
            lookup = self.lookup(server)
            seen = []
            for content in (None, "nameserver 127.0.0.1", "nameserver 127.0.0.2", "nameserver 127.0.0.2"):
                if content is not None and (not path.exists() or path.read_text() != content):
                    path.write_text(content)
                await lookup("users.test")
                seen.append(id(lookup._channel))
            assert seen[2] == seen[3]
            assert seen[1] != seen[2]
