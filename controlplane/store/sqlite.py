"""State in one SQLite file: the embedded default.

Rules:

* Write-ahead log and `synchronous=FULL`: what `write` has returned for survives kill -9 and a power cut.
* One process per file. The connection takes the file's exclusive lock at `load` and keeps it, so that a second
  registry on the same file is a clear error instead of two that overwrite each other.
* The application id and the schema version are in the file's head. A file of somebody else, or of a newer
  Skycap, is refused and left as it is.
* Ids of events only grow, *also when the file is deleted*: a new file begins to count at `first_revision`, the
  milliseconds since 1970. Otherwise a sidecar could resume an old stream in the middle of a new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import aiosqlite
from pydantic import BaseModel, ValidationError

from controlplane.model.group import GroupRecord
from controlplane.model.handoff import Handoff
from controlplane.model.record import Record
from controlplane.model.routes import RouteEvent
from controlplane.model.workload import Workload
from controlplane.store.port import KEPT_EVENTS, Contents, Entry, Kind, StoreError

APPLICATION_ID = 0x736B7963  # "skyc"
SCHEMA_VERSION = 2

LOCK_SECONDS = 1.0
"""How long to wait for a predecessor that is still ending."""

_TABLES: dict[Kind, str] = {
    "sandbox": "sandboxes", "workload": "workloads", "handoff": "handoffs", "group": "route_groups",
}  # fmt: skip

_BEGIN_ANEW = "move it away to begin without sandboxes"

_Document = TypeVar("_Document", bound=BaseModel)

_SCHEMA = """
CREATE TABLE registry (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), revision INTEGER NOT NULL, floor INTEGER NOT NULL);
CREATE TABLE sandboxes (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE workloads (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE events (id INTEGER PRIMARY KEY, workload TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, data TEXT NOT NULL);
"""  # noqa: E501

_LATER = (
    "CREATE TABLE IF NOT EXISTS handoffs (name TEXT PRIMARY KEY, document TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS route_groups (name TEXT PRIMARY KEY, document TEXT NOT NULL)",
)
"""A table that files of this schema may lack, and that who does not know it leaves alone."""


class SqliteStore:
    """A store in the file at `path`, made when there is none. Its folder must exist."""

    def __init__(self, path: Path, first_revision: int, kept_events: int = KEPT_EVENTS) -> None:
        self._path = path
        self._first = first_revision
        self._kept = kept_events
        self._open: aiosqlite.Connection | None = None

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path} {'open' if self._open else 'closed'}>"

    async def load(self) -> Contents:
        try:
            database = await self._connect()
            await self._prepare(database)
            return await self._contents(database)
        except (sqlite3.Error, OSError) as error:
            await self.close()
            raise self._opening(error) from error
        except StoreError:
            await self.close()
            raise

    async def write(self, entries: Sequence[Entry]) -> Sequence[StoreError | None]:
        """All of them in one transaction: one flush of the disk for a hundred changes."""
        database = self._database
        try:
            await database.execute("BEGIN IMMEDIATE")
            for entry in entries:
                await self._put(database, entry)
            events = [event for entry in entries for event in entry.events]
            if events:
                await self._log(database, events)
            await database.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):  # some errors have ended the transaction already
                await database.execute("ROLLBACK")
            return [_writing(error)] * len(entries)
        return [None] * len(entries)

    async def close(self) -> None:
        if self._open is not None:
            database, self._open = self._open, None
            await database.close()

    @property
    def _database(self) -> aiosqlite.Connection:
        assert self._open is not None, "load() comes first"
        return self._open

    async def _connect(self) -> aiosqlite.Connection:
        # The file holds environment variables, among which people put secrets: for its owner only. SQLite gives
        # the log beside it the same mode.
        self._path.touch(mode=0o600, exist_ok=True)
        self._open = await aiosqlite.connect(self._path, isolation_level=None, timeout=LOCK_SECONDS)
        return self._open

    async def _prepare(self, database: aiosqlite.Connection) -> None:
        await database.execute("PRAGMA locking_mode=EXCLUSIVE")
        application, version = await _number(database, "application_id"), await _number(database, "user_version")
        tables = await _row(database, "SELECT count(*) FROM sqlite_master")
        new = (application, version, tables[0]) == (0, 0, 0)
        if not new and application != APPLICATION_ID:
            raise StoreError(f"{self._path} is a database of another program")
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._path} has schema {version}, made by a newer skycap; this one knows {SCHEMA_VERSION}"
            )
        if not new and version < SCHEMA_VERSION:
            raise StoreError(
                f"{self._path} has schema {version}, made by an older skycap before its first release; "
                f"this one knows {SCHEMA_VERSION}: move the file away, and apply the sandboxes again"
            )
        await database.execute("PRAGMA journal_mode=WAL")
        await database.execute("PRAGMA synchronous=FULL")
        # The lock is taken with the first write and then kept.
        await database.execute("BEGIN IMMEDIATE")
        if new:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                await database.execute(statement)
            await database.execute("INSERT INTO registry VALUES (1, ?, ?)", (self._first, self._first))
            await database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            await database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        for statement in _LATER:
            await database.execute(statement)
        await database.execute("UPDATE registry SET revision = revision")
        await database.execute("COMMIT")

    async def _contents(self, database: aiosqlite.Connection) -> Contents:
        revision, floor = await _row(database, "SELECT revision, floor FROM registry")
        sandboxes = await self._documents(database, "sandboxes", Record)
        workloads = await self._documents(database, "workloads", Workload)
        async with database.execute("SELECT id, workload, key, name, data FROM events ORDER BY id") as cursor:
            events = [RouteEvent(*row) for row in await cursor.fetchall()]
        handoffs = await self._documents(database, "handoffs", Handoff)
        groups = await self._documents(database, "route_groups", GroupRecord)
        return Contents(revision, floor, sandboxes, workloads, events, handoffs, groups)

    async def _documents(self, database: aiosqlite.Connection, table: str, kind: type[_Document]) -> list[_Document]:
        found = []
        async with database.execute(f"SELECT name, document FROM {table} ORDER BY name") as cursor:  # noqa: S608
            async for name, document in cursor:
                try:
                    found.append(kind.model_validate_json(document))
                except ValidationError as error:
                    what = f"{self._path}: {table} {name!r} cannot be read: {error.error_count()} problems"
                    raise StoreError(f"{what}: {_BEGIN_ANEW}") from error
        return found

    async def _put(self, database: aiosqlite.Connection, entry: Entry) -> None:
        table = _TABLES[entry.kind]
        if entry.document is None:
            await database.execute(f"DELETE FROM {table} WHERE name = ?", (entry.name,))  # noqa: S608
        else:
            row = (entry.name, entry.document.model_dump_json(by_alias=True))
            await database.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", row)  # noqa: S608

    async def _log(self, database: aiosqlite.Connection, events: Sequence[RouteEvent]) -> None:
        rows = [(event.id, event.workload, event.key, event.name, event.data) for event in events]
        await database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
        # Ids grow nearly always by one, so the oldest that may stay follows from the newest.
        revision = events[-1].id
        await database.execute("DELETE FROM events WHERE id <= ?", (revision - self._kept,))
        await database.execute(
            "UPDATE registry SET revision = ?, floor = max(floor, ?)", (revision, revision - self._kept)
        )

    def _opening(self, error: Exception) -> StoreError:
        if isinstance(error, sqlite3.OperationalError) and _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError(f"{self._path} is in use by another process")
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        damaged = isinstance(error, sqlite3.Error) and _code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
        advice = f": {_BEGIN_ANEW}" if damaged else ""
        return StoreError(f"{self._path} cannot be opened: {said}{advice}")


def _writing(error: sqlite3.Error) -> StoreError:
    if _code(error) == sqlite3.SQLITE_FULL:
        return StoreError("the registry's store is full: nothing was changed", full=True)
    return StoreError(f"the registry's store cannot be written: {error}: nothing was changed")


def _code(error: sqlite3.Error) -> int:
    """The primary result code: extended ones have it in their lowest byte."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


async def _row(database: aiosqlite.Connection, query: str) -> tuple[int, ...]:
    async with database.execute(query) as cursor:
        row = await cursor.fetchone()
    assert row is not None
    return tuple(row)


async def _number(database: aiosqlite.Connection, pragma: str) -> int:
    return (await _row(database, f"PRAGMA {pragma}"))[0]
