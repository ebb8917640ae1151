"""Bodies of a GiB and a thousand idle connections, in little memory."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession, ClientTimeout, web

from tests.acceptance.running import free_port, naming, serving, sidecar

GIB = 1 << 30
PIECE = b"x" * (1 << 20)
RESIDENT_LIMIT = 80 << 20
FOREVER = ClientTimeout(total=None)


@contextlib.asynccontextmanager
async def peak_memory(pid: int) -> AsyncIterator[list[int]]:
    """The largest resident size seen while inside, looked at fifty times a second, as the one element of a list."""
    process = psutil.Process(pid)
    peak = [0]

    async def look() -> None:
        while True:
            peak[0] = max(peak[0], process.memory_info().rss)
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(look())
        yield peak
        looking.cancel()


@pytest.mark.timeout(180)
async def test_a_gib_down_and_a_gib_up_in_less_than_80_mb() -> None:
    async def download(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": str(GIB)})
        await response.prepare(request)
        for _ in range(GIB // len(PIECE)):
            await response.write(PIECE)
        return response

    application = web.Application()
    application.router.add_get("/", download)
    application.add_subapp("/up", naming("app"))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(GIB // len(PIECE)):
            yield PIECE

    port = free_port()
    async with serving(application) as app, ClientSession(timeout=FOREVER) as session:
        arguments = ("--workload", "a/b", "--inbound", f"127.0.0.1:{port}=127.0.0.1:{app}")
        async with sidecar(*arguments, port=port) as process, peak_memory(process.pid) as peak:
            size = 0
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                async for piece in answer.content.iter_any():
                    size += len(piece)
            assert size == GIB
            async with session.post(f"http://127.0.0.1:{port}/up/", data=pieces()) as answer:
                assert (await answer.json())["size"] == GIB
            length = {"content-length": str(GIB)}
            async with session.put(f"http://127.0.0.1:{port}/up/", data=pieces(), headers=length) as answer:
                assert (await answer.json())["size"] == GIB
    assert 0 < peak[0] < RESIDENT_LIMIT


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the thresholds are those of glibc")
async def test_large_answers_do_not_make_the_kernel_hand_out_memory_again_and_again() -> None:
    """Counted in page faults: 256 of them are one MiB of fresh memory."""

    async def download(request: web.Request) -> web.Response:
        return web.Response(body=PIECE)

    application = web.Application()
    application.router.add_get("/", download)
    port = free_port()
    async with serving(application) as app, ClientSession(timeout=FOREVER) as session:
        arguments = ("--workload", "a/b", "--inbound", f"127.0.0.1:{port}=127.0.0.1:{app}")
        async with sidecar(*arguments, port=port) as process:

            async def several(count: int) -> None:
                for _ in range(count):
                    async with session.get(f"http://127.0.0.1:{port}/", headers={"baggage": "routing-key=a"}) as answer:
                        assert len(await answer.read()) == len(PIECE)

            async def all_at_once(count: int) -> int:
                before = page_faults(process.pid)
                await asyncio.gather(*(several(count) for _ in range(8)))
                return page_faults(process.pid) - before

            await all_at_once(3)
            assert (faults := await all_at_once(10) / 80) < 10, f"{faults} page faults per MiB"


def page_faults(pid: int) -> int:
    """Pages that the kernel has given a process since its start, without reading them from a disk."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


async def test_a_thousand_idle_connections_are_held() -> None:
    port = free_port()
    async with serving(naming("app")) as app:
        arguments = ("--workload", "a/b", "--inbound", f"127.0.0.1:{port}=127.0.0.1:{app}")
        async with sidecar(*arguments, port=port):
            request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
            connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1000)]
            for _ in range(2):
                for _, writer in connections:
                    writer.write(request)
                for reader, _ in connections:
                    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
                    await reader.readuntil(b"}")
            for _, writer in connections:
                writer.close()
