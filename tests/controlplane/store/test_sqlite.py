from __future__ import annotations

import asyncio
import signal
import sqlite3
import stat
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.model.record import Record, created
from controlplane.model.routes import RouteEvent
from controlplane.store.port import Entry, StoreError
from controlplane.store.sqlite import SCHEMA_VERSION, SqliteStore
from tests.controlplane.sandboxes import USERS, sandbox

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, first_revision=0)
    await store.load()
    yield store
    await store.close()


def record(name: str, size: int = 0) -> Record:
    made = sandbox(name, {"workload": USERS, "command": ["x" * 1000] * (size // 1000 or 1)})
    return created(name, made.spec, NOW, 60)


async def refused(path: Path) -> str:
    store = SqliteStore(path, first_revision=0)
    with pytest.raises(StoreError) as raised:
        await store.load()
    assert repr(store).endswith("closed>")
    return str(raised.value)


async def test_the_file_is_for_its_owner_only(store: SqliteStore, path: Path) -> None:
    await store.write([Entry("sandbox", "a", record("a"))])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(modes, 0o600)
    assert "registry.db" in modes


async def test_it_flushes_to_the_disk_with_every_write(store: SqliteStore) -> None:
    async with store._database.execute("PRAGMA synchronous") as cursor:
        assert await cursor.fetchone() == (2,)  # FULL
    async with store._database.execute("PRAGMA journal_mode") as cursor:
        assert await cursor.fetchone() == ("wal",)


async def test_a_second_registry_on_the_same_file_is_refused(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.store.sqlite.LOCK_SECONDS", 0.05)
    assert await refused(path) == f"{path} is in use by another process"
    await store.write([Entry("sandbox", "a", record("a"))])


async def test_a_full_disk_stores_nothing_of_a_batch_and_everything_again_when_there_is_space(
    store: SqliteStore, path: Path
) -> None:
    await store.write([Entry("sandbox", "a", record("a"))])
    async with store._database.execute("PRAGMA page_count") as cursor:
        row = await cursor.fetchone()
    assert row is not None
    # SQLite's own way to be full: SQLITE_FULL, as when the file system says ENOSPC.
    await store._database.execute(f"PRAGMA max_page_count={row[0]}")
    event = RouteEvent(1, USERS, "k", "put", "{}")
    outcomes = await store.write([Entry("sandbox", "a", None), Entry("sandbox", "b", record("b", 200_000), [event])])
    assert [str(outcome) for outcome in outcomes] == ["the registry's store is full: nothing was changed"] * 2
    assert all(outcome is not None and outcome.full for outcome in outcomes)
    await store._database.execute("PRAGMA max_page_count=1000000")
    await store.write([Entry("sandbox", "c", record("c"))])
    await store.close()
    again = SqliteStore(path, first_revision=0)
    contents = await again.load()
    await again.close()
    assert [one.name for one in contents.sandboxes] == ["a", "c"]
    assert (contents.revision, contents.events) == (0, [])


async def test_a_store_that_cannot_be_written_says_so(store: SqliteStore) -> None:
    await store._database.execute("PRAGMA query_only=1")
    (outcome,) = await store.write([Entry("sandbox", "a", record("a"))])
    assert outcome is not None
    assert "cannot be written" in str(outcome)
    assert not outcome.full


ANEW = "move it away to begin without sandboxes"


@pytest.fixture
def letter(path: Path) -> Iterator[Path]:
    text = "To whom it may concern: " * 100
    path.write_text(text)
    yield path
    assert path.read_text() == text


async def test_a_file_that_is_no_database_is_left_as_it_is(letter: Path) -> None:
    assert await refused(letter) == f"{letter} cannot be opened: file is not a database: {ANEW}"


async def test_a_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()
    assert await refused(path) == f"{path} is a database of another program"
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    database.close()


async def test_a_store_of_a_newer_version_is_refused(store: SqliteStore, path: Path) -> None:
    await store._database.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    await store.close()
    assert await refused(path) == (
        f"{path} has schema {SCHEMA_VERSION + 1}, made by a newer skycap; this one knows {SCHEMA_VERSION}"
    )


async def test_a_store_of_an_older_version_is_refused_with_what_to_do(store: SqliteStore, path: Path) -> None:
    await store._database.execute("PRAGMA user_version=1")
    await store.close()
    assert await refused(path) == (
        f"{path} has schema 1, made by an older skycap before its first release; this one knows {SCHEMA_VERSION}: "
        "move the file away, and apply the sandboxes again"
    )


async def test_a_record_that_cannot_be_read_is_named(store: SqliteStore, path: Path) -> None:
    await store.write([Entry("sandbox", "a", record("a"))])
    await store._database.execute("UPDATE sandboxes SET document = '{}'")
    await store.close()
    assert await refused(path) == f"{path}: sandboxes 'a' cannot be read: 3 problems: {ANEW}"


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "registry.db"
    assert await refused(path) == f"{path} cannot be opened: No such file or directory"


WRITER = """
import asyncio, sys
from pathlib import Path
from controlplane.model.routes import RouteEvent
from controlplane.store.port import Entry, StoreError
from controlplane.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]), first_revision=0)
    await store.load()
    number = 0
    while True:
        number += 1
        await store.write([Entry("workload", "a/b", None, [RouteEvent(number, "a/b", "k", "put", "{}")])])
        print(number, flush=True)

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(WRITER), str(path), stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout is not None
    try:
        told = [int(await writer.stdout.readline()) for _ in range(20)]
    finally:
        writer.send_signal(signal.SIGKILL)
        rest = await writer.stdout.read()
        await writer.wait()
    told += [int(line) for line in rest.split(b"\n")[:-1]]
    store = SqliteStore(path, first_revision=0)
    contents = await store.load()
    await store.close()
    # The last write may be stored although the writer was killed before it could say so.
    assert contents.revision in (told[-1], told[-1] + 1)
    assert [event.id for event in contents.events] == list(range(1, contents.revision + 1))
