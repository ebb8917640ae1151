"""The route watch over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from controlplane.api import watch as watch_module
from controlplane.life import published as published_module
from controlplane.model.routes import RouteEvent
from controlplane.model.sidecar import SidecarReport
from proxy.base.tasks import Tasks
from proxy.contract.routes import decode_route
from proxy.contract.watch import Event, encode_event
from tests.controlplane.api.conftest import Watch
from tests.controlplane.api.served import USER_TOKEN, Served, Stream, served
from tests.controlplane.eventually import eventually
from tests.controlplane.life.launcher import Machine
from tests.controlplane.life.store import TroubledStore
from tests.controlplane.sandboxes import USERS, fork, sandbox

SIGNED = f"authorization: Bearer {USER_TOKEN}\r\n"


async def ready(api: Served, name: str, *forks: dict[str, object], **spec: str) -> None:
    await api.client.apply(sandbox(name, *forks, **spec))
    await api.client.wait(name)


async def test_an_empty_table_is_synced_at_once(api: Served, watch: Watch) -> None:
    stream = watch()
    await eventually(lambda: stream.synced)
    assert [(event.name, event.data, event.id) for event in stream.events] == [
        ("snapshot", '{"routes":[]}', "100"),
        ("synced", '{"keys":true}', "100"),
    ]


async def test_snapshot_then_changes(api: Served, watch: Watch) -> None:
    await ready(api, "a", onUnavailable="baseline")
    await ready(api, "b", fork("shop/cart", port=1))
    stream = watch()
    await eventually(lambda: stream.synced)
    (item,) = json.loads(stream.events[0].data)["routes"]
    assert str(decode_route(item)) == "<Route shop/users a -> 127.0.0.1:9102 rev=1 ready>"
    assert item["onUnavailable"] == "baseline"
    await ready(api, "a", fork(port=2))
    await api.client.delete("a")
    put, again, gone = await stream.until("put", "put", "delete")
    assert json.loads(put.data)["onUnavailable"] == "error"
    assert json.loads(again.data)["endpoints"] == ["127.0.0.1:2"]
    told = json.loads(gone.data)
    assert (told["workload"], told["key"], told["ended"]["why"]) == (USERS, "a", "it was deleted")
    ids = [int(event.id) for event in stream.events]
    assert ids == sorted(ids)
    assert ids[-1] == api.registry.published.revision


async def test_a_large_table_comes_in_pieces(api: Served, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_module, "SNAPSHOT_ROUTES", 20)
    count = 45
    await asyncio.gather(*(api.client.apply(sandbox(f"s{number}")) for number in range(count)))
    stream = watch()
    await eventually(lambda: stream.synced)
    pieces = [json.loads(event.data)["routes"] for event in stream.events if event.name == "snapshot"]
    assert [len(piece) for piece in pieces] == [20, 20, 5]
    assert {item["key"] for piece in pieces for item in piece} == {f"s{number}" for number in range(count)}


async def test_resuming_tells_only_what_was_missed(api: Served, watch: Watch) -> None:
    await ready(api, "a")
    stream = watch()
    await eventually(lambda: stream.synced)
    last = stream.last
    await ready(api, "b")
    await ready(api, "c", fork("shop/cart"))
    await api.client.delete("a")
    again = watch(last=last)
    await eventually(lambda: again.synced)
    assert again.names == ["put", "put", "delete", "synced"]
    assert again.last == str(api.registry.published.revision)
    nothing_missed = watch(last=again.last)
    await eventually(lambda: nothing_missed.synced)
    assert nothing_missed.names == ["synced"]


@pytest.mark.parametrize(
    "last", ["0", "1", "99", "101", "99999999999999999", "-100", "+100", "1e2", "abc", "100,101", "0x64"]
)
async def test_an_id_that_is_not_ours_gets_a_snapshot(api: Served, watch: Watch, last: str) -> None:
    stream = watch(last=last)
    await eventually(lambda: stream.synced)
    assert stream.names == ["snapshot", "synced"]


async def test_a_stream_resumes_after_a_restart_of_the_registry() -> None:
    store, machine = TroubledStore(), Machine()
    async with served(store=store, machine=machine) as api:
        await ready(api, "a")
        last = str(api.registry.published.revision)
        await ready(api, "b")
    async with served(store=store, machine=machine) as api:
        await api.registry.sandboxes.adopted()
        stream = Stream(api.client, USERS, last=last)
        tasks = Tasks("streams")
        tasks.spawn(stream.run(), "watch")
        await eventually(lambda: stream.synced)
        assert stream.names == ["put", "put", "synced"]
        assert {json.loads(event.data).get("key", "b") for event in stream.events} == {"b"}
        await tasks.close()


async def test_a_sidecar_is_connected_while_it_watches(api: Served, watch: Watch) -> None:
    tasks = Tasks("streams")
    stream = Stream(api.client, USERS, "users-1")
    task = tasks.spawn(stream.run(), "watch")
    await eventually(lambda: stream.synced)
    (shown,) = await api.client.sidecars()
    assert (shown.id, shown.workload, shown.connected, shown.in_sync) == ("users-1", USERS, True, False)
    await api.client.report("users-1", SidecarReport(workload=USERS, applied_revision=int(stream.last)))
    assert (await api.client.sidecars())[0].in_sync
    task.cancel()
    await eventually(lambda: not api.registry.sidecars.all()[0].connected)
    await tasks.close()


async def test_ready_means_that_the_watching_sidecars_have_acknowledged(api: Served, watch: Watch) -> None:
    stream = watch(sidecar="users-1")
    await eventually(lambda: stream.synced)
    await api.client.report("users-1", SidecarReport(workload=USERS, applied_revision=int(stream.last)))
    await api.client.apply(sandbox("a"))
    await stream.until("put", "put")
    explained = await api.client.explain("a", USERS)
    assert (explained.decision.value, explained.in_force) == ("shadow", False)
    sandbox_ = await api.client.sandbox("a")
    assert sandbox_.status is not None
    assert sandbox_.status.phase.value == "Pending"
    await api.client.report("users-1", SidecarReport(workload=USERS, applied_revision=int(stream.last)))
    sandbox_ = await api.client.wait("a", 10)
    assert sandbox_.status is not None
    assert sandbox_.status.phase.value == "Ready"
    assert (await api.client.explain("a", USERS)).in_force


async def test_the_second_stream_of_one_sidecar_replaces_the_first(api: Served, watch: Watch) -> None:
    first = watch(sidecar="users-1")
    await eventually(lambda: first.synced)
    second = watch(sidecar="users-1")
    await eventually(lambda: second.synced)
    await asyncio.wait_for(first.ended.wait(), 10)
    assert [shown.connected for shown in await api.client.sidecars()] == [True]


async def test_a_quiet_stream_has_a_heartbeat(api: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(f"GET /v1/watch/routes?workload={USERS} HTTP/1.1\r\nhost: localhost\r\n{SIGNED}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    assert b"text/event-stream" in head
    assert b"transfer-encoding: chunked" in head.lower()
    await reader.readuntil(b'event: synced\nid: 100\ndata: {"keys":true}\n\n\r\n')
    await eventually(lambda: len(api.registry.watchers) == 1)
    api.registry.watchers.beat()
    assert await reader.readexactly(19) == b"e\r\n: keep-alive\n\n\r\n"
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: len(api.registry.watchers) == 0)


async def test_http_1_0_cannot_watch(api: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(f"GET /v1/watch/routes?workload={USERS} HTTP/1.0\r\nhost: localhost\r\n{SIGNED}\r\n".encode())
    assert b" 505 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


@pytest.fixture
async def stuck(api: Served) -> AsyncIterator[socket.socket]:
    """A reader that has asked for the watch and takes nothing."""
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(stuck, ("127.0.0.1", api.port))
        request = f"GET /v1/watch/routes?workload={USERS}&sidecar=stuck HTTP/1.1\r\nhost: localhost\r\n{SIGNED}\r\n"
        await loop.sock_sendall(stuck, request.encode())
        yield stuck


async def test_a_reader_that_does_not_read_is_cut(api: Served, stuck: socket.socket) -> None:
    await eventually(lambda: len(api.registry.watchers) == 1)
    # The kernel takes a few megabytes for it, then our own buffer fills up.
    for number in range(1000):
        api.registry.watchers.tell([RouteEvent(101 + number, USERS, "a", "put", "x" * 65536)])
        if api.registry.watchers.cut:
            break
    assert number < 200
    assert len(api.registry.watchers) == 0
    await eventually(lambda: not api.registry.sidecars.all()[0].connected)


async def test_a_reader_that_does_not_take_its_table_is_cut(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.api.watch.STALLED_SECONDS", 0.05)
    piece = b"data: " + b"x" * (1 << 20) + b"\n\n"
    given = []

    def endless(*_: object) -> Iterator[bytes]:
        while True:
            given.append(len(piece))
            yield piece

    monkeypatch.setattr("controlplane.life.published.PublishedRoutes.snapshot", endless)
    cut = asyncio.Event()
    monkeypatch.setattr("controlplane.life.watchers.Watcher.cut", lambda _: cut.set())
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1024)
    writer.write(f"GET /v1/watch/routes?workload={USERS} HTTP/1.1\r\nhost: localhost\r\n{SIGNED}\r\n".encode())
    await asyncio.wait_for(cut.wait(), 20)
    assert sum(given) < 64 << 20
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert reader is not None


async def test_what_changes_while_a_table_is_written_is_neither_lost_nor_told_twice(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready(api, "a")
    begun = asyncio.Event()
    go_on = asyncio.Event()

    write = watch_module._write

    async def slow(response: object, data: bytes) -> None:
        await write(response, data)  # type: ignore[arg-type]
        if b"event: snapshot" in data:
            begun.set()
            await go_on.wait()

    monkeypatch.setattr(watch_module, "_write", slow)
    stream = Stream(api.client, USERS)
    tasks = Tasks("streams")
    tasks.spawn(stream.run(), "watch")
    await begun.wait()
    await ready(api, "b")
    await api.client.delete("a")
    go_on.set()
    await stream.until("put", "put", "delete")
    await ready(api, "c")
    await stream.until("put", "put", "delete", "put", "put")
    ids = [int(event.id) for event in stream.events[1:]]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    await tasks.close()


async def test_a_change_is_encoded_once_for_all_watchers(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks("streams")
    streams = [Stream(api.client, USERS) for _ in range(100)]
    for stream in streams:
        tasks.spawn(stream.run(), "watch")
    await eventually(lambda: len(api.registry.watchers) == 100, 30)
    encodings = []

    def counting(event: Event) -> bytes:
        encodings.append(event)
        return encode_event(event)

    monkeypatch.setattr(published_module, "encode_event", counting)
    await ready(api, "a")
    await asyncio.gather(*(stream.until("put", "put") for stream in streams))
    assert [event.name for event in encodings] == ["keys", "put", "put"]
    await tasks.close()
    await eventually(lambda: len(api.registry.watchers) == 0)


async def test_the_end_of_the_registry_ends_the_streams() -> None:
    tasks = Tasks("streams")
    async with served() as api:
        stream = Stream(api.client, USERS, "users-1")
        tasks.begin(stream.run(), "watch")
        await eventually(lambda: stream.synced)
        await api.registry.close(stop_shadows=False)
        await asyncio.wait_for(stream.ended.wait(), 10)
        assert (await api.ask("GET", "/ready"))[0] == 503
        assert (await api.ask("GET", "/live"))[0] == 200
        assert (await api.ask("GET", f"/v1/watch/routes?workload={USERS}"))[0] == 503
        status, problem, _ = await api.ask("DELETE", "/v1/sandboxes/a")
        assert (status, problem["code"]) == (503, "shutting-down")
    await asyncio.gather(tasks.finish(), return_exceptions=True)
