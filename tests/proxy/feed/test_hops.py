"""Hops on their way to a real server: in batches, whatever it answers, and nothing waits."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.contract.hops import HOPS_PATH, HOPS_TYPE, MAX_BATCH_BYTES, MAX_BATCH_HOPS, decode_hop
from proxy.feed.hop_lines import SECRET_FIELDS
from proxy.feed.hops import SENT_BYTES, HopReport
from proxy.feed.link import RegistryLink
from proxy.telemetry.hops import HOP_COUNTS, HOP_ID, Capture
from tests.proxy.feed.eventually import eventually, running

FIXED = b'"key":"a","workload":"shop/users","side":"inbound"'


class Server:
    """Takes batches, or answers with `status`. hold: answers nothing before it is set."""

    def __init__(self) -> None:
        self.hold: asyncio.Event | None = None
        self.status = 204
        self.batches: list[bytes] = []
        self.types: list[str] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.types.append(request.content_type)
        self.batches.append(await request.read())
        if self.hold is not None:
            await self.hold.wait()
        return web.Response(status=self.status)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application(client_max_size=MAX_BATCH_BYTES)
    app.router.add_post(HOPS_PATH, server.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


def leave(report: HopReport, count: int = 1, capture: Capture | None = None) -> None:
    for _ in range(count):
        ident = HOP_ID % (report.ring.prefix, next(report.ring.ids) & HOP_COUNTS)
        size = len(capture) if capture is not None else 0
        report.ring.put((FIXED, ident, b"", 1.0, b"", b"GET", b"/", 200, "", 0.0, 0.0, size, size, b"", capture))


@pytest.fixture
async def report(server: Server) -> AsyncIterator[HopReport]:
    link = RegistryLink(server.url, "users-1")
    report = HopReport(link, "0000abcd", SECRET_FIELDS)
    async with running(report.run()):
        yield report
    await link.close()


async def test_what_comes_together_is_one_batch(server: Server, report: HopReport) -> None:
    leave(report, 3)
    await eventually(lambda: report.sent == 3)
    assert [decode_hop(line).id[-1] for line in server.batches[0].splitlines()] == ["1", "2", "3"]
    assert server.types == [HOPS_TYPE]
    leave(report)
    await eventually(lambda: report.sent == 4)
    assert len(server.batches) == 2
    assert repr(report) == "<HopReport sent=4 lost=0>"


async def test_a_batch_holds_so_many_and_no_more(server: Server, report: HopReport) -> None:
    leave(report, MAX_BATCH_HOPS + 20)
    await eventually(lambda: report.sent == MAX_BATCH_HOPS + 20)
    assert [batch.count(b"\n") for batch in server.batches] == [MAX_BATCH_HOPS, 20]


async def test_large_hops_make_more_batches(server: Server, report: HopReport) -> None:
    body = b"\x01" * 16_000  # six times as long as JSON writes it
    head = b"HTTP/1.1 500 x\r\n\r\n"
    leave(report, 60, Capture(b"GET / HTTP/1.1\r\n\r\n" + body, 18, head + body, len(head)))
    await eventually(lambda: report.sent == 60)
    assert len(server.batches) > 1
    assert max(map(len, server.batches)) <= SENT_BYTES


async def test_a_batch_that_is_refused_is_lost_said_once_and_followed_by_others(
    server: Server, report: HopReport, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 500
    with caplog.at_level(logging.WARNING, "skycap.feed"):
        for _ in range(2):
            leave(report)
            lost = report.lost
            await eventually(lambda lost=lost: report.lost == lost + 1)  # type: ignore[misc]
        assert len(caplog.records) == 1
        assert "it answers 500" in caplog.text
        server.status = 204
        leave(report)
        await eventually(lambda: report.sent == 1)
    assert report.lost == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_a_batch_that_the_registry_cannot_take_now_is_told_again(
    server: Server, report: HopReport, status: int
) -> None:
    server.status = status
    leave(report, 2)
    await eventually(lambda: server.batches)
    server.status = 204
    await eventually(lambda: report.sent == 2)
    assert set(server.batches) == {server.batches[0]}
    assert report.lost == 0


async def test_what_waits_when_the_sidecar_ends_is_told_and_so_is_what_was_under_way(server: Server) -> None:
    link = RegistryLink(server.url, "users-1")
    report = HopReport(link, "0000abcd", SECRET_FIELDS)
    server.hold = asyncio.Event()
    async with running(report.run()):
        leave(report)
        await eventually(lambda: server.batches)
    leave(report)
    server.hold.set()
    await report.finish()
    assert (report.sent, report.lost, len(report.ring)) == (2, 0, 0)
    await link.close()


async def test_the_end_does_not_wait_for_a_registry_that_is_gone(server: Server) -> None:
    link = RegistryLink("http://127.0.0.1:9", "users-1")
    report = HopReport(link, "0000abcd", SECRET_FIELDS)
    leave(report)
    leave(report)
    await report.finish()
    assert report.lost == 2
    await link.close()


async def test_a_registry_that_is_gone_for_a_while_is_told_what_was_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    app = web.Application()
    app.router.add_post(HOPS_PATH, server.take)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # nobody listens: it refuses
        link = RegistryLink(f"http://127.0.0.1:{sock.getsockname()[1]}", "users-1")
        report = HopReport(link, "0000abcd", SECRET_FIELDS)
        async with running(report.run()):
            leave(report)
            with caplog.at_level(logging.WARNING, "skycap.feed"):
                await eventually(lambda: "Connect call failed" in caplog.text)
            leave(report)
            await web.SockSite(runner, sock).start()
            await eventually(lambda: report.sent == 2)
        await runner.cleanup()
    assert report.lost == 0
    await link.close()


async def test_nothing_is_asked_while_nothing_is_left(server: Server, report: HopReport) -> None:
    await asyncio.sleep(0)
    assert server.batches == []
