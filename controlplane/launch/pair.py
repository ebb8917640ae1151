"""The two processes of one shadow, and the folder that belongs to them.

    FOLDER/record.json   what is needed to find both processes again; also the handle that the registry stores
    FOLDER/output.log    what both of them write, each line behind its time; the lines before in output.log.1

A keeper (`controlplane.process.keeper`) is the application's parent and reads what both write: it is what `app` is.

The record is written as soon as the first process exists. Between a process's birth and its record lies about a
millisecond: only a SIGKILL of the registry inside it leaves a process that nobody finds again.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from controlplane.launch.plan import CopyPorts
from controlplane.model.copy_log import ALWAYS, Window
from controlplane.process import stamped
from controlplane.process.child import KILL_SECONDS, Child, Kept, left_of, spawn
from controlplane.process.command import Command
from controlplane.process.identity import Identity, decode_identity
from controlplane.process.ports import why_busy
from controlplane.process.private import private_folder, write_private

RECORD = "record.json"
LOG = "output.log"

APP, SIDECAR = KINDS = ("app", "sidecar")

DRAIN_SECONDS = 35.0
"""For a sidecar to finish what is in flight. Its own limit is 30 s; what is left then is cut."""
GRACE_SECONDS = 5.0
"""For an application that nobody calls any more to end."""

_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,250}")


class Pair:
    """An application and its sidecar.

    id:      the name of the folder.
    command: the application's, as one would type it: its name in messages.
    build:   what the application was started from (`controlplane.launch.build`), as it stands in the handle.
    gone:    resolves when either of the two has ended: alone the other serves nobody.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        ports: CopyPorts,
        app: Child,
        sidecar: Child,
        build: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = folder.name
        self.command = command
        self.build = dict(build or {})
        self.ports = ports
        self.stopping = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.app = app
        self.sidecar = sidecar
        self._folder = folder
        self._stop = asyncio.Lock()
        if app.exited.done() or sidecar.exited.done():
            self._one_gone(None)
        for child in (app, sidecar):
            child.exited.add_done_callback(self._one_gone)

    def __repr__(self) -> str:
        return f"<Pair {self.id} app={self.app!r} sidecar={self.sidecar!r}>"

    @classmethod
    def spawn(
        cls,
        folder: Path,
        app: Command,
        sidecar: Command,
        ports: CopyPorts,
        build: Mapping[str, Any] | None = None,
        groups: tuple[str, ...] = (),
    ) -> Pair:
        """Start both. Raises SpawnError or OSError, with nothing left behind.

        groups: control groups that limit the application.
        """
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)  # pushed files may have been laid into it
        command = shlex.join(app.argv)
        started: list[Child] = []
        reader, writer = os.pipe()
        kept = Kept(reader, folder / LOG, groups)
        try:
            for each, kind in zip((app, sidecar), KINDS, strict=True):
                started.append(spawn(each, writer, _mark(folder, kind), kept if kind == APP else None))
                write_private(folder / RECORD, json.dumps(_record(folder.name, command, ports, started)))
        except BaseException:
            for child in started:
                child.kill()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            os.close(reader)
            os.close(writer)
        return cls(folder, command, ports, started[0], started[1], build)

    @classmethod
    def find(cls, state_dir: Path, handle: Mapping[str, Any]) -> Pair | None:
        """The pair behind a handle, or None when the handle makes no sense. Either process may be gone by now."""
        app, sidecar = decode_identity(handle.get("app")), decode_identity(handle.get("sidecar"))
        name, ports = handle.get("id"), _decode_ports(handle.get("ports"))
        if not isinstance(name, str) or not _ID.fullmatch(name) or app is None or ports is None:
            return None
        # A record made between the two starts names no sidecar: one that never lived is one that is gone.
        children = [
            Child(
                identity or Identity(app.pid, ""),
                ours=False,
                mark=_mark(state_dir / name, kind),
                left=left_of(state_dir / name / LOG) if kind == APP else None,
            )
            for identity, kind in zip((app, sidecar), KINDS, strict=True)
        ]
        told = handle.get("build")
        build = told if isinstance(told, Mapping) else None
        return cls(state_dir / name, str(handle.get("command", "")), ports, children[0], children[1], build)

    def handle(self) -> dict[str, Any]:
        record = _record(self.id, self.command, self.ports, [self.app, self.sidecar])
        return record | ({"build": self.build} if self.build else {})

    def how_it_ended(self) -> str:
        """One sentence without a full stop about the half that ended, "" while both run."""
        if self.app.exited.done():
            return f"`{self.command}` {self.app.how_it_ended()}"
        if self.sidecar.exited.done():
            return f"the sidecar of `{self.command}` {self.sidecar.how_it_ended()}"
        return ""

    def lost_a_port(self) -> bool:
        """One half has ended, and somebody else has the port that it should have listened on."""
        wanted: list[int] = []
        if self.app.exited.done():
            wanted.append(self.ports.app)
        if self.sidecar.exited.done():
            wanted += [self.ports.inbound, *self.ports.outbound]
        return any(why_busy(port) for port in wanted)

    def log(self, lines: int, window: Window = ALWAYS) -> str:
        """The last lines of its output that came in a window."""
        return "\n".join(stamped.within(self._folder / LOG, window.since, window.until, lines))

    async def stop(self) -> None:
        """Drain the sidecar, then end the application. The folder stays. A second caller waits for the first."""
        self.stopping = True
        async with self._stop:
            await self.sidecar.end(DRAIN_SECONDS)
            await self.app.end(GRACE_SECONDS)

    async def finish(self) -> None:
        """End what is left when one half has ended by itself: alone it serves nobody."""
        await asyncio.gather(self.sidecar.end(GRACE_SECONDS), self.app.end(GRACE_SECONDS))

    async def destroy(self) -> None:
        """End both at once and forget the folder. What matters is done before the first await."""
        self.stopping = True
        self.app.kill()
        self.sidecar.kill()
        self.remove_folder()
        await asyncio.wait([self.app.exited, self.sidecar.exited], timeout=KILL_SECONDS)

    def remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _one_gone(self, _: object) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


def read_records(state_dir: Path) -> list[dict[str, Any]]:
    """The record of every folder in `state_dir`; of a damaged one only the id."""
    records = []
    with suppress(OSError):
        for folder in sorted(path for path in state_dir.iterdir() if _ID.fullmatch(path.name)):
            record: object = None
            with suppress(OSError, ValueError):
                record = json.loads((folder / RECORD).read_text())
            records.append({**(record if isinstance(record, dict) else {}), "id": folder.name})
    return records


def _mark(folder: Path, kind: str) -> str:
    """By which the kin of one of the two is known."""
    return f"{folder}:{kind}"


def _record(name: str, command: str, ports: CopyPorts, children: list[Child]) -> dict[str, Any]:
    identities = {kind: child.identity.encode() for kind, child in zip(KINDS, children, strict=False)}
    return {
        "id": name,
        "command": command,
        "ports": list(ports.all()),
        **identities,
    }


def _decode_ports(document: object) -> CopyPorts | None:
    if not isinstance(document, list) or len(document) < 2 or not all(isinstance(port, int) for port in document):
        return None
    inbound, app, *outbound = document
    return CopyPorts(inbound, app, tuple(outbound))
