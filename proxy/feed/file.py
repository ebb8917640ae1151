"""A routes file: read at the start, read again when it changes.

A change is seen by `stat` once a second: no watch descriptor survives an atomic rename, a Kubernetes ConfigMap
(whose `..data` link is swapped) and a network file system alike, and a second is soon enough for a file that
somebody edits. A file is read when two looks in a row see the same, so that a writer in the middle of its work is
left alone; if the file changes while it is read, the reading does not count.

A bad file is refused whole: the last good table stays, one line says every problem, and the age of the table
grows until the file is good again. At the start there is no good table. With a file that is bad or not there yet, the
application is served as if there were no routes, `/ready` says no, and the log says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from proxy.base.problems import ConfigurationError
from proxy.base.programs import PACKAGES
from proxy.contract.watch import SNAPSHOT, SYNCED, EventParser
from proxy.errors import ContractError
from proxy.feed.holder import FeedState
from proxy.feed.snapshot import Snapshot, discard
from proxy.routing.table import RouteTable

log = logging.getLogger("skycap.feed")

LOOK_SECONDS = 1.0
"""Between two looks at the file."""

SETTLE_SECONDS = 0.1
"""Between the look that sees a change and the one that must see the same."""

SMALL_BYTES = 4096
"""Up to here, about 50 routes and 3 ms of YAML, a thread reads the file: a process takes 100 ms to start."""

READ_SECONDS = 120.0
"""For one reading; 64 MiB of YAML take a minute."""

START_READINGS = 10
"""Attempts at the start while the file changes under the reader."""

Identity = tuple[int, ...]


def identity(path: Path) -> Identity:
    """Changes with every write and every rename; links are followed. Raises OSError."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class FileFeed:
    """Keeps a table as the file at `path` says. look, settle: seconds."""

    def __init__(
        self,
        path: Path,
        table: RouteTable,
        state: FeedState,
        *,
        look: float = LOOK_SECONDS,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        self._path = path.absolute()
        self._shown = path
        self._table = table
        self._state = state
        self._look = look
        self._settle = settle
        self._look_now = asyncio.Event()
        self._judged: Identity | None = None
        """The file that was last read to its verdict."""
        self._said = ""

    def __repr__(self) -> str:
        return f"<FileFeed {self._shown} {self._state!r}>"

    async def check(self) -> None:
        """Read it and judge it. Raises ConfigurationError with every problem of the file."""
        try:
            await self._first()
        except ContractError as error:
            raise ConfigurationError([_line(self._shown, *problem) for problem in error.problems]) from None

    async def start(self) -> None:
        """The first reading, before the first request. A bad file harms nobody."""
        try:
            await self._first()
        except ContractError as error:
            self._refuse(error)

    async def _first(self) -> None:
        for _ in range(START_READINGS):
            if await self._read():
                return
        raise ContractError([("", f"changed {START_READINGS} times while it was read")])

    def reload(self) -> None:
        """Read the file now, whether it looks changed or not."""
        self._judged = None
        self._look_now.set()

    async def run(self) -> None:
        """Until cancelled. Never raises anything else."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look):
                    await self._look_now.wait()
            self._look_now.clear()
            try:
                await self._check()
            except ContractError as error:
                self._refuse(error)
            except Exception as error:
                log.exception("routes file: internal error")  # a bug here must not end the feed
                self._state.problem = f"{self._shown} could not be read: {error!r}"

    async def _check(self) -> None:
        """One look; a reading when something new has come to rest. Raises ContractError."""
        seen = await self._identity()
        if seen == self._judged:
            if not self._state.problem:
                self._state.confirm()
            return
        while True:
            await asyncio.sleep(self._settle)
            before, seen = seen, await self._identity()
            if seen == before:
                break
        await self._read()

    async def _identity(self) -> Identity:
        try:
            # In a thread: a file system that hangs must not hang the requests.
            return await asyncio.to_thread(identity, self._path)
        except OSError as error:
            self._judged = None
            self._state.connected = False
            raise ContractError([("", f"cannot be read: {error.strerror}")]) from None

    async def _read(self) -> bool:
        """False when the file changed meanwhile, so that nothing is known. Raises ContractError."""
        seen = await self._identity()
        chunks = self._in_a_thread() if seen[2] <= SMALL_BYTES else self._in_a_process()
        try:
            async with asyncio.timeout(READ_SECONDS), contextlib.aclosing(chunks):
                snapshot, total = await self._collect(chunks)
        except TimeoutError:
            raise ContractError([("", f"cannot be read within {READ_SECONDS:g} s")]) from None
        except ContractError:
            if await self._identity() == seen:
                self._judged = seen
                raise
            return False
        if await self._identity() != seen:
            return False
        self._judged = seen
        old = snapshot.swap()
        self._state.applied += 1
        self._state.connected = True
        self._state.problem = self._said = ""
        self._state.confirm()
        others = total - len(self._table)
        more = f", {others} of other workloads" if others else ""
        log.info("%s: %d routes of %s in force%s", self._shown, len(self._table), self._table.workload, more)
        await discard(old)
        return True

    async def _collect(self, chunks: AsyncGenerator[bytes, None]) -> tuple[Snapshot, int]:
        parser = EventParser()
        snapshot = Snapshot(self._table)
        async for chunk in chunks:
            for event in parser.feed(chunk):
                if event.name == SNAPSHOT:
                    await snapshot.add(event.data)
                elif event.name == SYNCED:
                    return snapshot, json.loads(event.data)["total"]
                else:
                    raise ContractError([(path, message) for path, message in json.loads(event.data)["problems"]])
        raise ContractError([("", "cannot be read: the reading process died, perhaps for want of memory")])

    async def _in_a_thread(self) -> AsyncGenerator[bytes, None]:
        def read() -> bytes:
            from proxy.feed.document import events  # PyYAML: 1.4 MB that only a small file needs here

            return b"".join(events(self._path, self._table.workload))

        yield await asyncio.to_thread(read)

    async def _in_a_process(self) -> AsyncGenerator[bytes, None]:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "proxy.feed.document", os.fspath(self._path), self._table.workload,
                cwd=PACKAGES, env={**os.environ, "PYTHONSAFEPATH": ""},  # the reader that stands beside this
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise ContractError([("", f"cannot be read: no process can be started ({error.strerror})")]) from None
        assert process.stdout is not None
        try:
            while chunk := await process.stdout.read(1 << 16):
                yield chunk
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()

    def _refuse(self, error: ContractError) -> None:
        problem = "; ".join(_line(self._shown, *problem) for problem in error.problems)
        self._state.problem = problem
        if problem != self._said or self._judged is not None:
            self._said = problem
            self._state.refused += 1
            without = "there are no routes yet, and every request gets the baseline"
            log.error("%s; %s", problem, "the last good routes stay in force" if self._table.synced else without)


_PLACE = re.compile(r"line ([0-9]+)(?:, column ([0-9]+))?: ")


def _line(file: Path, path: str, message: str) -> str:
    """FILE: FIELD: WHAT, or FILE:LINE:COLUMN: WHAT, the form that editors and terminals know how to open."""
    if place := _PLACE.match(message):
        at = ":".join(filter(None, place.groups()))
        return f"{file}:{at}: {message[place.end() :]}"
    return f"{file}: {path}: {message}" if path else f"{file}: {message}"
