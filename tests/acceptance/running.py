"""Sidecars, registries and plain HTTP servers as processes and listeners of a test, on free loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

ROOT = Path(__file__).parents[2]
READY_SECONDS = 20.0


_given: set[int] = set()


def free_port() -> int:
    """A port that was free a moment ago and that this process has not given out before.

    It lies below the range from which the kernel takes ports by itself (ip(7), ip_local_port_range): one from there
    may become the source of somebody's connection, or the next one that is asked for.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_768)  # not `random`, which Hypothesis seeds
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


async def accepts(port: int, process: asyncio.subprocess.Process, seconds: float = READY_SECONDS) -> None:
    """Return when something listens on the port. Raises AssertionError when the process ends or time is over."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        assert process.returncode is None, f"process ended with {process.returncode}"
        assert time.monotonic() < deadline, f"nobody listens on {port}"
        await asyncio.sleep(0.01)


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """`python ARGUMENTS` in the project's folder."""
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT)


async def stop(process: asyncio.subprocess.Process) -> int:
    """Ask a process to end and wait for it. Returns its exit code."""
    if process.returncode is None:
        process.terminate()
    return await process.wait()


@contextlib.asynccontextmanager
async def sidecar(*arguments: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m proxy ARGUMENTS`, listening on `port` when entered, drained when left."""
    process = await start("-m", "proxy", *arguments)
    try:
        await accepts(port, process)
        yield process
    finally:
        assert await stop(process) == 0


@contextlib.asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[int]:
    """An aiohttp application in this process; yields its port."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def naming(name: str) -> web.Application:
    """Answers every request with its own name and what it got."""

    async def answer(request: web.Request) -> web.Response:
        size = 0
        async for piece in request.content.iter_chunked(1 << 16):
            size += len(piece)
        return web.json_response({"name": name, "path": request.path_qs, "size": size})

    application = web.Application(client_max_size=2 << 30)
    application.router.add_route("*", "/{path:.*}", answer)
    return application
