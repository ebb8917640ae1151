"""The registry's disk is full: it says so, nothing is half-written, and whoever reads or is routed does not notice.

Two real ways to be full: a file system of a few hundred KiB, which answers ENOSPC, and a limit of the size of files,
which answers EFBIG in the middle of a write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sqlite3
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from controlplane.client import Client, RegistryError
from tests.acceptance.running import free_port
from tests.controlplane.eventually import eventually
from tests.controlplane.running import SAID, RegistryProcess, environment
from tests.controlplane.sandboxes import document, fork
from tests.faults import peers, subject
from tests.faults.peers import Origin, Peer, connect, ok, request
from tests.faults.subject import WORKLOAD, Subject
from tests.faults.watching import watching
from tests.tools import require

MANY = 400
"""Attempts to fill what is left; each stores a few KiB."""


LONG = "x" * 50

MOUNT = 'mount -t tmpfs -o size=512k tmpfs "$1" && echo made && read _'
"""Until it is told to end: its mount namespace, and the file system with it, ends when nobody is in it."""


class Disk(Protocol):
    """Where the registry's file is. status, code: how the registry says no when there is no space."""

    status: int
    code: str

    @property
    def store(self) -> Path:
        """As the registry names it."""
        ...

    @property
    def seen(self) -> Path:
        """The same file, as this process can open it."""
        ...

    @property
    def launcher(self) -> tuple[str, ...]: ...

    def fill(self, registry: RegistryProcess) -> None: ...
    def free(self, registry: RegistryProcess) -> None: ...


class SmallFileSystem:
    """A tmpfs in a mount namespace of its own, which lasts as long as its keeper."""

    status, code = 507, "store-full"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", MOUNT, "-", folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != "made\n":
            _, said = self._keeper.communicate()
            pytest.skip(f"a file system cannot be mounted here: {said.strip()}")

    @property
    def store(self) -> Path:
        return self._folder / "registry.db"

    @property
    def seen(self) -> Path:
        return Path(f"/proc/{self._keeper.pid}/root{self.store}")

    @property
    def launcher(self) -> tuple[str, ...]:
        return ("nsenter", "--mount", "--target", str(self._keeper.pid), f"--wdns={Path.cwd()}")

    def fill(self, registry: RegistryProcess) -> None:
        with contextlib.suppress(OSError), self.seen.with_name("ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))

    def free(self, registry: RegistryProcess) -> None:
        self.seen.with_name("ballast").unlink()

    def end(self) -> None:
        self._keeper.communicate("\n")


class SmallFiles:
    """RLIMIT_FSIZE of the running process. SQLite tells only that the write failed, not why."""

    status, code = 503, "store-unavailable"
    launcher: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.store = self.seen = folder / "registry.db"

    def fill(self, registry: RegistryProcess) -> None:
        """The log may have three more pages: of a transaction of more than that, the first are written."""
        log = self.store.with_name(f"{self.store.name}-wal")
        self._limit(registry, log.stat().st_size + 3 * 4096 + 1000)

    def free(self, registry: RegistryProcess) -> None:
        self._limit(registry, resource.RLIM_INFINITY)

    def _limit(self, registry: RegistryProcess, size: int) -> None:
        resource.prlimit(registry.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture(params=["file system", "file size"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "file size":
        yield SmallFiles(folder)
        return
    require("unshare", "nsenter", "mount")
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system")
    small = SmallFileSystem(folder)
    try:
        yield small
    finally:
        small.end()


async def start(disk: Disk, home: Path, port: int) -> RegistryProcess:
    process = await asyncio.create_subprocess_exec(
        *disk.launcher, sys.executable, "-m", "controlplane", "--listen", f"127.0.0.1:{port}", "--store", disk.store,
        stdout=PIPE, stderr=PIPE, env=environment(home),
    )  # fmt: skip
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line.startswith(SAID):
        raise AssertionError((await process.communicate())[1].decode())
    return RegistryProcess(process, line.removeprefix(SAID).decode().strip(), environment(home))


@pytest_asyncio.fixture
async def shadow() -> AsyncIterator[int]:
    async def script(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await peer.head():
                await peer.send(ok(b"shadow"))

    with peers.listening_socket() as listening:
        async with peers.serving(listening) as serving:
            serving.script = script
            yield listening.getsockname()[1]


class Agents:
    """They create, update and delete, and keep book of what they were told.

    told: name to revision, of every sandbox that was accepted; refused: what was not.
    """

    def __init__(self, registry: Client, shadow: int) -> None:
        self._registry = registry
        self._shadow = shadow
        self.told: dict[str, int] = {}
        self.refused: list[RegistryError] = []

    async def put(self, name: str, port: int | None = None, forks: int = 1) -> bool:
        """True when it was accepted."""
        others = [fork(f"shop/{number}-{LONG}", number + 1) for number in range(forks - 1)]
        try:
            made = await self._registry.apply(document(name, fork(WORKLOAD, port or self._shadow), *others))
        except RegistryError as error:
            self.refused.append(error)
            return False
        assert made.status is not None
        self.told[name] = made.status.revision
        return True

    async def delete(self, name: str) -> None:
        try:
            await self._registry.delete(name, 10)
        except RegistryError as error:
            self.refused.append(error)
        else:
            del self.told[name]

    async def found(self) -> dict[str, int]:
        listed = await self._registry.sandboxes()
        return {one.name: one.status.revision for one in listed if one.status is not None}


async def served_by(sidecar: Subject, key: str) -> bytes:
    client = await connect(sidecar.inbound)
    await client.send(request(b"/", b"baggage: routing-key=" + key.encode()))
    _, body = await client.message()
    client.close()
    return body


async def test_a_full_disk(disk: Disk, application: socket.socket, origin: Origin, shadow: int, tmp_path: Path) -> None:
    port = free_port()
    registry = await start(disk, tmp_path, port)
    try:
        with subject.running(
            application.getsockname()[1], tmp_path, "--registry", registry.url, "--token-file", registry.token_file
        ) as sidecar:
            await sidecar.reaches(1, "skycap_feed_connected")
            async with (
                Client(registry.url, timeout=30, environ=registry.environ) as client,
                watching(client, WORKLOAD) as heard,
            ):
                agents = Agents(client, shadow)
                assert await agents.put("before")
                assert await agents.put("deleted")
                for name in agents.told:  # that a shadow answers is stored as well
                    await client.wait(name, 30)
                assert await served_by(sidecar, "before") == b"shadow"

                disk.fill(registry)
                for number in range(MANY):
                    if not await agents.put(f"crowd-{number}", forks=1 + number % 7):
                        break
                assert agents.refused, "it is full"
                await agents.put("before", port=1)
                await agents.put("large", forks=20)
                await agents.delete("deleted")
                for error in agents.refused:
                    assert (error.status, error.code) == (disk.status, disk.code)
                    assert "nothing was changed" in str(error)

                # Whoever reads, and whoever is routed, does not notice.
                assert await agents.found() == agents.told
                assert await client.ready()
                assert not heard.ended
                if agents.told["before"] == 1:
                    assert await served_by(sidecar, "before") == b"shadow"
                assert await served_by(sidecar, "nobody") == b"0"
                assert await sidecar.metric("skycap_feed_connected") == 1

                disk.free(registry)
                assert await agents.put("before")
                assert await agents.put("after")
                await eventually(lambda: "after" in heard.keys)
                assert heard.keys == set(agents.told), "nobody heard of what was not stored"
                await sidecar.reaches(len(agents.told), "skycap_routes")
                assert await served_by(sidecar, "after") == b"shadow"

                # Full once more, and killed in the middle of being refused.
                disk.fill(registry)
                while await agents.put("large-2", forks=20):
                    pass
                await registry.kill()
            if isinstance(disk, SmallFileSystem):
                await restarts_or_says_why(disk, tmp_path, port, agents.told)
                disk.free(registry)
            integrity(disk.seen)
            registry = await start(disk, tmp_path, port)
            async with Client(registry.url, timeout=30, environ=registry.environ) as client:
                again = Agents(client, shadow)
                assert await again.found() == agents.told
                assert await again.put("last")
            await sidecar.reaches(len(agents.told) + 1, "skycap_routes")
            assert await served_by(sidecar, "last") == b"shadow"
            await peers.hang_up()
    finally:
        await registry.end()
        await peers.hang_up()


async def restarts_or_says_why(disk: Disk, home: Path, port: int, told: dict[str, int]) -> None:
    """While the disk is full. What is left of it decides which of the two."""
    try:
        registry = await start(disk, home, port)
    except AssertionError as error:
        (line,) = str(error).splitlines()
        assert str(disk.store) in line
        assert "full" in line
        return
    async with Client(registry.url, timeout=30, environ=registry.environ) as client:
        assert await Agents(client, 1).found() == told
    await registry.kill()


def integrity(store: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
