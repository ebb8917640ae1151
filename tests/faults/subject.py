"""The sidecar under test: a process of its own, and what can be seen of it from outside.

Nothing is left behind is the claim of every test here, and `at_rest` is how it is judged: after the peers have gone
the process has no TCP connection and no more open files than before the first request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.acceptance.running import ROOT, free_port

DEADLINE_SECONDS = 40.0
"""For what must happen soon. Generous: only a failing test waits for it."""

POLL_SECONDS = 0.01

WORKLOAD = "shop/users"


async def until(condition: Callable[[], object], what: str, within: float = DEADLINE_SECONDS) -> None:
    """Return when `condition` holds. Raises AssertionError, naming `what`, when it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not in {within:g} s: {what}"
        await asyncio.sleep(POLL_SECONDS)


async def steady(value: Callable[[], int], seconds: float = 0.3, within: float = DEADLINE_SECONDS) -> int:
    """Return what `value` is when it has not changed for so many seconds."""
    deadline = time.monotonic() + within
    last, since = value(), time.monotonic()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, "it still changes"
        await asyncio.sleep(POLL_SECONDS)
        if (now := value()) != last:
            last, since = now, time.monotonic()
    return last


class Subject:
    """One running sidecar. inbound, outbound, admin: its ports; log: the file with what it says."""

    def __init__(self, process: subprocess.Popen[bytes], inbound: int, outbound: int, admin: int, log: Path) -> None:
        self.process = process
        self.inbound = inbound
        self.outbound = outbound
        self.admin = admin
        self._log = log
        self._seen = psutil.Process(process.pid)
        self.files = 0

    def __repr__(self) -> str:
        return f"<Subject {self.process.pid} files={self._seen.num_fds()} resident={self.resident >> 20} MiB>"

    def port(self, side: str) -> int:
        return self.inbound if side == "inbound" else self.outbound

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.inbound}"

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def resident(self) -> int:
        """Bytes."""
        return int(self._seen.memory_info().rss)

    @property
    def cpu_seconds(self) -> float:
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    def open_files(self) -> int:
        return int(self._seen.num_fds())

    def peers(self) -> list[Any]:
        """Its TCP connections; those that only the kernel remembers are not the process's any more."""
        with contextlib.suppress(FileNotFoundError):  # an entry of /proc that ended while it was read
            return [one for one in self._seen.net_connections("tcp") if one.status != psutil.CONN_LISTEN]
        return [None]

    async def at_rest(self) -> None:
        """Return when nothing is left of what was. Raises AssertionError."""
        await until(lambda: not self.peers(), "no connection is left")
        await until(lambda: self.open_files() <= self.files, f"no more than {self.files} open files")
        assert (await self.page("/connections"))["connections"] == []
        busy = await self.metric("skycap_upstream_connections", state="busy")
        assert busy == 0
        assert "Traceback" not in self.log, self.log

    async def get(self, path: str) -> bytes:
        """The body of a page of the admin listener, on a connection that ends with it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head, f"no answer to {path}"
        return body

    async def page(self, path: str) -> Any:
        return json.loads(await self.get(path))

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in (await self.get("/metrics")).decode().splitlines():
            if line.startswith((f"{name} ", f"{name}{{")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total

    async def reaches(self, count: float, name: str, within: float = DEADLINE_SECONDS, **labels: str) -> None:
        """Return when the metric is at least `count`."""
        deadline = time.monotonic() + within
        while (value := await self.metric(name, **labels)) < count:
            assert time.monotonic() < deadline, f"{name} {labels} is {value}, not {count}"
            await asyncio.sleep(POLL_SECONDS)


@contextlib.contextmanager
def running(
    app: int,
    folder: Path,
    *arguments: str,
    launcher: tuple[str, ...] = (sys.executable, "-m", "proxy"),
    prepare: Callable[[], None] | None = None,
    exit_code: int = 0,
) -> Iterator[Subject]:
    """A sidecar whose inbound and outbound sides both lead to `app`, listening when entered, drained when left."""
    inbound, outbound, admin = free_port(), free_port(), free_port()
    log = folder / f"sidecar-{inbound}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [
                *launcher, "--workload", WORKLOAD, "--inbound", f"127.0.0.1:{inbound}=127.0.0.1:{app}",
                "--outbound", f"127.0.0.1:{outbound}=127.0.0.1:{app}", "--admin", f"127.0.0.1:{admin}", *arguments,
            ],
            cwd=ROOT, stdout=said, stderr=said, preexec_fn=prepare,
        )  # fmt: skip
    try:
        subject = Subject(process, inbound, outbound, admin, log)
        _wait_for(subject)
        yield subject
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            code = process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code == exit_code, subject.log


def _wait_for(subject: Subject) -> None:
    """Until the admin listener, which is the last to start, has answered and its connection is gone."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        assert subject.process.poll() is None, subject.log
        assert time.monotonic() < deadline, f"it does not listen: {subject.log}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", subject.admin), 5) as probe:
            probe.settimeout(5)
            probe.sendall(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            while probe.recv(65536):
                pass
            break
        time.sleep(POLL_SECONDS)
    while any(one is None or one.laddr.port == subject.admin for one in subject.peers()):
        assert time.monotonic() < deadline, "the admin listener does not let go of its client"
        time.sleep(POLL_SECONDS)
    subject.files = subject.open_files()
