"""The watch against a real server that dies, restarts, lies and falls silent. The last good table stays."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from proxy import __version__
from proxy.base.access import SIDECAR, token_folder
from proxy.base.backoff import Backoff
from proxy.base.problems import ConfigurationError
from proxy.contract.watch import HEARTBEAT, MAX_EVENT_BYTES, Event
from proxy.feed.holder import FeedState
from proxy.feed.link import RegistryLink
from proxy.feed.registry import RegistryFeed
from proxy.routing.table import RouteTable
from tests.proxy.feed.documents import WORKLOAD, delete, put, route, snapshot, synced
from tests.proxy.feed.eventually import eventually, running
from tests.proxy.feed.registry_server import Registry, Watch


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Sidecar:
    """Table, state and feed, as the composition root makes them."""

    def __init__(
        self,
        registry: Registry,
        heartbeat: float = 15.0,
        token_file: Path | None = None,
        scheme: str = "http",
        home: str = "/nonexistent",
    ) -> None:
        self.clock = Clock()
        self.table = RouteTable(WORKLOAD)
        self.state = FeedState("registry", self.table, self.clock)
        self.backoff = Backoff(0.001, 0.002)
        self.link = RegistryLink(
            registry.url.replace("http", scheme),
            "users/0 one",
            token_file=token_file,
            environ={"HOME": home},
            backoff=self.backoff,
        )
        self.feed = RegistryFeed(self.link, self.table, self.state, heartbeat=heartbeat)

    async def run(self) -> None:
        try:
            await self.feed.run()
        finally:
            await self.link.close()

    @property
    def keys(self) -> set[str]:
        return {item.key for item in self.table.routes()}

    async def has(self, *keys: str) -> None:
        await eventually(lambda: self.table.synced and self.keys == set(keys))


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    await registry.start()
    yield registry
    await registry.stop()


@asynccontextmanager
async def in_sync(registry: Registry, heartbeat: float = 15.0) -> AsyncIterator[tuple[Sidecar, Watch]]:
    """A sidecar that follows, at revision 10 with the keys a and b."""
    sidecar = Sidecar(registry, heartbeat)
    async with running(sidecar.run()):
        watch = await registry.watch()
        await watch.send(snapshot(10, route("a"), route("b")), synced(10))
        await sidecar.has("a", "b")
        await eventually(lambda: registry.reports)
        yield sidecar, watch


async def test_asks_for_its_workload_by_its_name(registry: Registry) -> None:
    async with in_sync(registry) as (sidecar, watch):
        assert dict(watch.request.query) == {"workload": WORKLOAD, "sidecar": "users/0 one"}
        assert watch.last_event_id is None
        assert watch.request.headers["accept"] == "text/event-stream"
        assert "authorization" not in watch.request.headers
        assert sidecar.state.connected
        assert repr(sidecar.feed).startswith(f"<RegistryFeed {registry.url}/v1/watch/routes <FeedState registry")


async def test_changes_are_applied_and_reported(registry: Registry) -> None:
    async with in_sync(registry) as (sidecar, watch):
        await watch.send(put(11, "c"), delete(12, "a"))
        await sidecar.has("b", "c")
        await eventually(
            lambda: registry.reports[-1] == {"workload": WORKLOAD, "appliedRevision": 12, "version": __version__}
        )
        reporting = registry.requests[-1]
        assert (reporting.method, reporting.raw_path) == ("PUT", "/v1/sidecars/users%2F0%20one")


async def test_a_reconnect_resumes_where_it_was(registry: Registry) -> None:
    async with in_sync(registry) as (sidecar, watch):
        await watch.send(put(11, "c"))
        await sidecar.has("a", "b", "c")
        watch.close()
        again = await registry.watch()
        assert again.last_event_id == "11"
        assert sidecar.keys == {"a", "b", "c"}
        await again.send(put(12, "d"), synced(12))
        await sidecar.has("a", "b", "c", "d")
        await eventually(lambda: registry.reports[-1]["appliedRevision"] == 12)
        assert sidecar.state.failures == 1


async def test_the_registry_is_killed_and_comes_back_with_an_older_store(registry: Registry) -> None:
    async with in_sync(registry) as (sidecar, _):
        await registry.stop()
        await eventually(lambda: sidecar.state.failures > 3)
        assert (sidecar.keys, sidecar.state.connected) == ({"a", "b"}, False)
        assert sidecar.state.problem == "registry cannot be reached (Connection refused)"
        await registry.start()
        watch = await registry.watch()
        assert watch.last_event_id == "10"
        await watch.send(snapshot(3, route("old")))
        await watch.send(snapshot(3, route("older")), synced(3))
        await sidecar.has("old", "older")
        await eventually(lambda: not sidecar.state.problem)  # said when all that came with them is applied
        assert (sidecar.state.applied, sidecar.state.refused) == (3, 0)


async def test_https_where_http_is_spoken(registry: Registry) -> None:
    sidecar = Sidecar(registry, scheme="https")
    async with running(sidecar.run()):
        await eventually(lambda: sidecar.state.problem)
    assert sidecar.state.problem == (
        "registry cannot be reached (it does not speak TLS, say http:// instead of https://)"
    )


async def test_the_registry_is_down_at_the_start(registry: Registry) -> None:
    await registry.stop()
    sidecar = Sidecar(registry)
    async with running(sidecar.run()):
        await eventually(lambda: sidecar.state.failures > 3)
        assert not sidecar.table.synced
        await registry.start()
        watch = await registry.watch()
        await watch.send(synced(0))
        await sidecar.has()


async def test_half_a_snapshot_and_half_a_frame_change_nothing(registry: Registry) -> None:
    async with in_sync(registry) as (sidecar, watch):
        watch.cut()
        for part in (snapshot(20, route("x")), b"event: put\nid: 21\ndata: {", put(22, "y")):
            again = await registry.watch()
            await again.send(snapshot(20, route("x")), part)
            again.cut()
            await again.gone.wait()
            assert (sidecar.keys, sidecar.state.applied) == ({"a", "b"}, 10)
        assert sidecar.state.refused == 0
        assert (await registry.watch()).last_event_id == "10"


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param([Event("put", "{", "11")], id="not JSON"),
        pytest.param([put(11, "c", workload="shop/orders")], id="another workload"),
        pytest.param([Event("put", "7", "11")], id="a bad route"),
        pytest.param([snapshot(11, route("c"), {"key": "d"}), synced(11)], id="a bad route in a snapshot"),
        pytest.param([Event("put", "{}")], id="no id"),
        pytest.param([b"data: \xff\xfe\n\n"], id="not UTF-8"),
        pytest.param([b"x" * 100_000] * (MAX_EVENT_BYTES // 100_000 + 1), id="an endless line"),
        pytest.param([b"data: " + b"x" * 100_000 + b"\n"] * (MAX_EVENT_BYTES // 100_000 + 1), id="an endless event"),
        pytest.param([synced(9)], id="an older revision without a snapshot"),
    ],
)
async def test_nonsense_ends_the_connection_and_nothing_else(registry: Registry, nonsense: list[Event | bytes]) -> None:
    async with in_sync(registry) as (sidecar, watch):
        watch.cut()
        lying = await registry.watch()
        sending = asyncio.gather(*(lying.send(part) for part in nonsense), return_exceptions=True)
        again = await registry.watch()
        await sending
        lying.close()
        assert (sidecar.keys, sidecar.state.applied, sidecar.state.refused) == ({"a", "b"}, 10, 1)
        assert "talks nonsense" in sidecar.state.problem
        assert again.last_event_id is None  # it is asked for everything, and nothing of before is built upon
        await again.send(snapshot(30, route("c")), synced(30))
        await sidecar.has("c")


async def test_older_changes_are_skipped(registry: Registry) -> None:
    async with in_sync(registry) as (sidecar, watch):
        await watch.send(put(9, "old"), put(11, "c"))
        await sidecar.has("a", "b", "c")
        assert sidecar.state.ignored == 1


class TestAnswersThatAreNoWatch:
    async def test_each_kind_is_logged_once_until_it_works_again(
        self, registry: Registry, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def unauthorized(_: web.Request) -> web.Response:
            return web.Response(status=401)

        async def broken(_: web.Request) -> web.Response:
            return web.Response(status=500)

        def said() -> list[str]:
            return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

        caplog.set_level(logging.INFO, "skycap.feed")
        registry.answer = unauthorized
        sidecar = Sidecar(registry)
        async with running(sidecar.run()):
            await eventually(lambda: sidecar.state.failures >= 4)
            assert said() == ["registry answers 401 Unauthorized; there are no routes yet"]
            registry.answer = broken
            await eventually(lambda: len(said()) == 2)
            registry.answer = None
            watch = await registry.watch()
            await watch.send(snapshot(10, route("a")), synced(10))
            await sidecar.has("a")
            await eventually(lambda: sidecar.state.problem == "")
            assert "registry: 1 routes of shop/users in force" in caplog.text
            registry.answer = unauthorized
            watch.cut()
            await eventually(lambda: len(said()) == 4)
            assert said()[1] == "registry answers 500 Internal Server Error; there are no routes yet"
            assert said()[3] == "registry answers 401 Unauthorized; the last good routes stay in force"
            assert sidecar.state.refused == 0

    async def test_a_redirect_is_not_followed_with_the_token(self, registry: Registry, tmp_path: Path) -> None:
        async def elsewhere(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"location": f"{registry.url}/v1/watch/routes?stolen"})

        registry.answer = elsewhere
        (tmp_path / "token").write_text("secret")
        sidecar = Sidecar(registry, token_file=tmp_path / "token")
        async with running(sidecar.run()):
            await eventually(lambda: sidecar.state.failures >= 2)
        assert "answers 307" in sidecar.state.problem
        assert not [request for request in registry.requests if "stolen" in request.query_string]

    async def test_a_page_is_nonsense(self, registry: Registry) -> None:
        async def page(_: web.Request) -> web.Response:
            return web.Response(text="<html>", content_type="text/html")

        registry.answer = page
        sidecar = Sidecar(registry)
        async with running(sidecar.run()):
            await eventually(lambda: sidecar.state.refused >= 1)
        assert "content-type text/html" in sidecar.state.problem

    async def test_what_is_not_http_breaks_off(self) -> None:
        async def shout(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-what\r\n")
            writer.close()

        server = await asyncio.start_server(shout, "127.0.0.1", 0)
        registry = Registry()
        registry.port = server.sockets[0].getsockname()[1]
        sidecar = Sidecar(registry)
        async with server, running(sidecar.run()):
            await eventually(lambda: sidecar.state.failures >= 2)
        assert "broke off" in sidecar.state.problem


class TestSilence:
    async def test_a_peer_that_says_nothing_is_gone(self, registry: Registry) -> None:
        async with in_sync(registry, heartbeat=0.2) as (sidecar, watch):
            await registry.watch()
            assert "has said nothing for 0.6 s" in sidecar.state.problem
            assert sidecar.keys == {"a", "b"}
            await watch.gone.wait()

    async def test_an_answer_that_never_begins(self, registry: Registry) -> None:
        forever = asyncio.Event()

        async def hang(_: web.Request) -> web.Response:
            await forever.wait()
            return web.Response()

        registry.answer = hang
        sidecar = Sidecar(registry, heartbeat=0.01)
        async with running(sidecar.run()):
            await eventually(lambda: sidecar.state.failures >= 2)
        forever.set()
        assert "has said nothing" in sidecar.state.problem

    async def test_bytes_without_an_end_are_no_sign_of_life(self, registry: Registry) -> None:
        async with in_sync(registry, heartbeat=0.2) as (sidecar, watch):

            async def drip() -> None:
                with contextlib.suppress(ConnectionError):  # it is cut off before the block ends
                    while True:
                        await watch.send(b"x")
                        await asyncio.sleep(0.005)

            async with running(drip()):
                await eventually(lambda: "has said nothing" in sidecar.state.problem)

    async def test_heartbeats_keep_the_connection_and_the_table_fresh(self, registry: Registry) -> None:
        async with in_sync(registry) as (sidecar, watch):
            sidecar.clock.now = 100.0
            assert sidecar.state.age() == 100.0
            await watch.send(HEARTBEAT)
            await eventually(lambda: sidecar.state.age() == 0.0)

    async def test_a_heartbeat_before_synced_confirms_nothing(self, registry: Registry) -> None:
        async with in_sync(registry) as (sidecar, watch):
            watch.cut()
            again = await registry.watch()
            sidecar.clock.now = 100.0
            await again.send(HEARTBEAT, snapshot(11, route("c")), HEARTBEAT, put(11, "d"))
            await again.send(b"event: synced\nid: 11\n")
            again.cut()
            await registry.watch()
            assert sidecar.state.age() == 100.0


class TestReports:
    async def test_one_is_under_way_and_the_latest_wins(self, registry: Registry) -> None:
        async with in_sync(registry) as (sidecar, watch):
            arrived, answered = asyncio.Event(), asyncio.Event()

            async def slowly(_: web.Request) -> web.Response:
                arrived.set()
                await answered.wait()
                return web.Response()

            registry.report_answer = slowly
            await watch.send(put(11, "c"))
            await arrived.wait()
            for revision in range(12, 40):
                await watch.send(put(revision, "c"))
            await eventually(lambda: sidecar.state.applied == 39)
            answered.set()
            await eventually(lambda: registry.reports[-1]["appliedRevision"] == 39)
            assert [report["appliedRevision"] for report in registry.reports] == [10, 11, 39]

    async def test_one_that_was_lost_is_sent_again_with_the_next_heartbeat(self, registry: Registry) -> None:
        async with in_sync(registry) as (sidecar, watch):

            async def fail(request: web.Request) -> web.Response:
                assert request.transport is not None
                if len(registry.reports) > 2:
                    request.transport.abort()
                return web.Response(status=503)

            async def accept(_: web.Request) -> web.Response:
                accepted.set()
                return web.Response()

            accepted = asyncio.Event()
            registry.report_answer = fail
            await watch.send(put(11, "c"))
            await eventually(lambda: len(registry.reports) >= 2)
            await watch.send(HEARTBEAT)
            await eventually(lambda: len(registry.reports) >= 3)
            await watch.send(HEARTBEAT)
            await eventually(lambda: len(registry.reports) >= 4)
            registry.report_answer = accept
            await watch.send(HEARTBEAT)
            await accepted.wait()
            assert {report["appliedRevision"] for report in registry.reports[1:]} == {11}
            assert sidecar.state.failures == 0

    async def test_a_request_that_waits_for_a_shadow_is_told_until_it_is_heard(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.feed.report.WAITING_SECONDS", 0.01)
        async with in_sync(registry) as (sidecar, _):
            refusals = 2

            async def fail(_: web.Request) -> web.Response:
                nonlocal refusals
                refusals -= 1
                return web.Response(status=503 if refusals >= 0 else 204)

            registry.report_answer = fail
            sidecar.table.call("a")
            sidecar.table.call("b")
            told = {"workload": WORKLOAD, "appliedRevision": 10, "version": __version__, "waiting": ["a", "b"]}
            await eventually(lambda: registry.reports[1:] == [told] * 3)
            sidecar.table.call("c")
            await eventually(lambda: registry.reports[-1] == told | {"waiting": ["c"]})
            assert len(registry.reports) == 5, "what was heard is not told again"

    async def test_another_registry_is_told_again(self, registry: Registry) -> None:
        async with in_sync(registry) as (_, watch):
            watch.cut()
            again = await registry.watch()
            await again.send(synced(10))
            await eventually(lambda: len(registry.reports) == 2)
            assert registry.reports[0] == registry.reports[1]


class TestToken:
    async def test_is_read_at_every_connection(self, registry: Registry, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("first\n")
        sidecar = Sidecar(registry, token_file=token)
        await sidecar.feed.start()
        async with running(sidecar.run()):
            watch = await registry.watch()
            assert watch.request.headers["authorization"] == "Bearer first"
            token.write_text("second\n")
            watch.close()
            watch = await registry.watch()
            assert watch.request.headers["authorization"] == "Bearer second"
            await watch.send(synced(1))
            await eventually(lambda: registry.reports)
            assert registry.requests[-1].headers["authorization"] == "Bearer second"
            token.unlink()
            watch.close()
            await eventually(lambda: "needs a token" in sidecar.state.problem)
            token.write_text("third")
            assert (await registry.watch()).request.headers["authorization"] == "Bearer third"

    async def test_a_registry_of_our_own_user_has_written_one(self, registry: Registry, tmp_path: Path) -> None:
        """It is looked for at every connection: a registry that starts again writes a new one."""
        environ = {"HOME": str(tmp_path)}
        folder = token_folder("127.0.0.1", int(registry.url.rpartition(":")[2]), environ)
        sidecar = Sidecar(registry, home=str(tmp_path))
        async with running(sidecar.run()):
            watch = await registry.watch()
            assert "authorization" not in watch.request.headers
            folder.mkdir(parents=True)
            (folder / SIDECAR).write_text("ours")
            watch.close()
            watch = await registry.watch()
            assert watch.request.headers["authorization"] == "Bearer ours"
            await watch.send(synced(100))
            await eventually(lambda: registry.reports)
            assert registry.requests[-1].headers["authorization"] == "Bearer ours"

    async def test_a_feed_without_its_token_does_not_start(self, registry: Registry, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"token file .*none: No such file"):
            await Sidecar(registry, token_file=tmp_path / "none").feed.start()
        await Sidecar(registry).feed.start()


async def test_a_bug_behind_the_table_does_not_end_the_feed(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    async with in_sync(registry) as (sidecar, watch):

        def stumble() -> None:
            raise RuntimeError("boom")

        sidecar.table.watchers.append(stumble)
        await watch.send(put(11, "c"))
        again = await registry.watch()
        assert "RuntimeError('boom')" in sidecar.state.problem
        assert "internal error" in caplog.text
        sidecar.table.watchers.clear()
        await again.send(put(12, "d"), synced(12))
        await eventually(lambda: "d" in sidecar.keys)


async def test_a_long_life_starts_the_waits_anew(registry: Registry) -> None:
    sidecar = Sidecar(registry)
    backoff = Backoff(0.001, 0.02, uniform=lambda: 1.0)
    sidecar.link = RegistryLink(registry.url, "x", backoff=backoff)
    sidecar.feed = RegistryFeed(sidecar.link, sidecar.table, sidecar.state)
    async with running(sidecar.run()):
        for _ in range(4):
            (await registry.watch()).close()
        watch = await registry.watch()
        opened = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() > opened + 0.05)
        watch.close()
        await registry.watch()
    assert backoff.next() == 0.002
