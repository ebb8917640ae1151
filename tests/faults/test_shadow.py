"""A shadow that is killed under load: the baseline's traffic never notices, and keyed requests get what was agreed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.running import ROOT, accepts, free_port
from tests.faults import peers, subject
from tests.faults.peers import Peer, connect, error_code, ok, request
from tests.faults.subject import WORKLOAD, Subject, until

KEYED = b"baggage: routing-key=agent-42"
WORKERS = 8


class Load:
    """Requests on keep-alive connections, half of them keyed, until told to stop; what was answered, counted."""

    def __init__(self, sidecar: Subject) -> None:
        self._sidecar = sidecar
        self.done = asyncio.Event()
        self.unkeyed: Counter[str] = Counter()
        self.keyed: Counter[str] = Counter()

    async def work(self, worker: int) -> None:
        keyed = worker % 2 == 1
        client: Peer | None = None
        while not self.done.is_set():
            client = client or await connect(self._sidecar.inbound)
            await client.send(request(b"/", *([KEYED] if keyed else [])))
            head, body = await client.message()
            name = error_code(head).decode() or body.decode()
            if b"reason=shadow-unreachable" in head:
                name += " instead"
            (self.keyed if keyed else self.unkeyed)[name] += 1
            if b"\r\nconnection: close\r\n" in head.lower():
                client.close()
                client = None
        if client is not None:
            client.close()


async def shadow_at(port: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests/acceptance/app.py"),
        env={**os.environ, "PORT": str(port), "ANSWER": "shadow"},
        stderr=asyncio.subprocess.DEVNULL,
    )
    await accepts(port, process)
    return process


async def baseline(peer: Peer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while await peer.head():
            await peer.send(ok(b"baseline"))


@pytest.mark.parametrize("policy", ["error", "baseline"])
async def test_killed_under_load(application: socket.socket, tmp_path: Path, policy: str) -> None:
    shadow_port = free_port()
    routes = tmp_path / "routes.yaml"
    routes.write_text(
        f"routes:\n- {{workload: {WORKLOAD}, key: agent-42, endpoints: ['127.0.0.1:{shadow_port}'],"
        f" onUnavailable: {policy}}}\n"
    )
    shadow = await shadow_at(shadow_port)
    try:
        with subject.running(application.getsockname()[1], tmp_path, "--routes", str(routes)) as sidecar:
            async with peers.serving(application) as origin:
                origin.script = baseline
                load = Load(sidecar)
                async with asyncio.TaskGroup() as tasks:
                    for worker in range(WORKERS):
                        tasks.create_task(load.work(worker))
                    await until(lambda: load.keyed["shadow"] > 200, "the shadow serves")
                    before = load.keyed.copy()
                    shadow.kill()
                    await shadow.wait()
                    failed = "shadow-unreachable" if policy == "error" else "baseline instead"
                    await until(lambda: load.keyed[failed] > 200, "it is missed")
                    shadow = await shadow_at(shadow_port)
                    served = load.keyed["shadow"]
                    await until(lambda: load.keyed["shadow"] > served + 200, "it serves again")
                    load.done.set()
                shadow.kill()
                await shadow.wait()
            await sidecar.at_rest()
    finally:
        if shadow.returncode is None:
            shadow.kill()
            await shadow.wait()
    assert set(before) == {"shadow"}
    assert set(load.unkeyed) == {"baseline"}
    assert load.unkeyed["baseline"] > 200
    # What the shadow was killed in the middle of is neither its answer nor anybody else's.
    assert load.keyed["upstream-reset"] <= WORKERS
    assert set(load.keyed) <= {"shadow", failed, "upstream-reset"}
