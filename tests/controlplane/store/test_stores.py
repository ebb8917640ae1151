"""What every store does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.model.record import Record, created
from controlplane.model.routes import RouteEvent
from controlplane.model.workload import Workload
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Entry, Store
from controlplane.store.sqlite import SqliteStore
from tests.controlplane.sandboxes import USERS, sandbox

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FIRST = 1000
KEPT = 5

Open = Callable[[], Store]


@pytest.fixture(params=["sqlite", "memory"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Gives the store, and then again the store as its successor finds it."""
    memory = MemoryStore(FIRST, KEPT)
    opened: list[Store] = []

    def make() -> Store:
        opened.append(SqliteStore(tmp_path / "registry.db", FIRST, KEPT) if request.param == "sqlite" else memory)
        return opened[-1]

    yield make
    for store in opened:
        await store.close()


def record(name: str, port: int = 1) -> Record:
    made = sandbox(name, {"workload": USERS, "endpoints": [f"127.0.0.1:{port}"]})
    return created(name, made.spec, NOW, 60)


def sandbox_entry(name: str, port: int = 1, events: Sequence[RouteEvent] = ()) -> Entry:
    return Entry("sandbox", name, record(name, port), events)


def event(number: int) -> RouteEvent:
    return RouteEvent(FIRST + number, USERS, "k", "put", f'{{"n":{number}}}')


async def test_a_new_store_is_empty_and_begins_to_count_where_it_is_told(reopen: Open) -> None:
    contents = await reopen().load()
    assert (contents.revision, contents.floor) == (FIRST, FIRST)
    assert (contents.sandboxes, contents.workloads, contents.events) == ([], [], [])


async def test_what_was_written_is_there_again(reopen: Open) -> None:
    store = reopen()
    await store.load()
    users = Workload(workload=USERS, address="127.0.0.1:1", command=("x",), env={"A": "ä"})
    entries = [sandbox_entry("b"), sandbox_entry("a", events=[event(1), event(2)]), Entry("workload", USERS, users)]
    assert await store.write(entries) == [None, None, None]
    assert await store.write([sandbox_entry("b", port=2)]) == [None]
    await store.close()
    contents = await reopen().load()
    assert {one.name: one for one in contents.sandboxes} == {"a": record("a"), "b": record("b", port=2)}
    assert contents.workloads == [users]
    assert contents.events == [event(1), event(2)]
    assert (contents.revision, contents.floor) == (FIRST + 2, FIRST)


async def test_what_was_forgotten_is_gone(reopen: Open) -> None:
    store = reopen()
    await store.load()
    users = Workload(workload=USERS, address="127.0.0.1:1")
    await store.write([sandbox_entry("a"), Entry("workload", USERS, users)])
    await store.write([Entry("sandbox", name, None) for name in ("a", "never")])
    await store.write([Entry("workload", name, None) for name in (USERS, "shop/never")])
    await store.close()
    contents = await reopen().load()
    assert (contents.sandboxes, contents.workloads) == ([], [])


async def test_the_change_log_is_trimmed_and_says_from_where_it_is_whole(reopen: Open) -> None:
    store = reopen()
    await store.load()
    for number in range(1, 8):
        await store.write([sandbox_entry("a", events=[event(number)])])
    await store.close()
    contents = await reopen().load()
    assert contents.events == [event(number) for number in range(3, 8)]
    assert (contents.revision, contents.floor) == (FIRST + 7, FIRST + 2)


async def test_a_batch_longer_than_the_log_leaves_its_end(reopen: Open) -> None:
    store = reopen()
    await store.load()
    await store.write([sandbox_entry("a", events=[event(number)]) for number in range(1, 21)])
    await store.close()
    contents = await reopen().load()
    assert contents.events == [event(number) for number in range(16, 21)]
    assert (contents.revision, contents.floor) == (FIRST + 20, FIRST + 15)
