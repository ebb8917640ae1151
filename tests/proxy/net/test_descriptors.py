"""When accepting stops for want of descriptors, when it goes on, and what is said of it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from contextlib import AsyncExitStack, ExitStack
from functools import partial

import pytest

from proxy.net.descriptors import RESERVE, SAY_SECONDS, Descriptors
from proxy.net.downstream import Downstream
from proxy.telemetry.counters import Counters
from tests.proxy.net.rig import client, eventually, net, on_uvloop, origin
from tests.proxy.net.test_listener import address, listener


def lowest_free() -> int:
    with socket.socket() as probe:
        return probe.fileno()


def _grown(descriptors: Descriptors, connections: set[Downstream], before: int) -> bool:
    return descriptors.paused or len(connections) > before


def narrow(room: int) -> Descriptors:
    """As if this process could have only so many more connections."""
    limit = 0
    while limit - limit // RESERVE < lowest_free() + room:
        limit += 1
    return Descriptors(Counters(), limit)


@on_uvloop
async def test_who_comes_waits_until_somebody_goes() -> None:
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(net())
        app = await stack.enter_async_context(origin())
        descriptors = narrow(20)
        listening = await stack.enter_async_context(listener(parts.inbound(app.endpoint), descriptors=descriptors))
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(descriptors.watch())
            async with AsyncExitStack() as crowd:
                open_ = listening.connections
                while not descriptors.paused:
                    before = len(open_)
                    await crowd.enter_async_context(client(address(listening)))
                    await eventually(partial(_grown, descriptors, open_, before))
                await eventually(lambda: not listening._servers)
                accepted = len(listening.connections)
                waiting = await stack.enter_async_context(client(address(listening)))
                assert waiting.transport is not None, "the kernel has it"
                assert len(listening.connections) == accepted
                assert repr(descriptors).endswith(" paused>")
            await eventually(lambda: len(listening.connections) == 1)
            await eventually(lambda: not descriptors.paused)
            watching.cancel()
        assert descriptors._counters.accepting_paused >= 1


class Looked(socket.socket):
    """A listening socket that counts how often somebody looks for the number of a new descriptor."""

    times = 0

    def fileno(self) -> int:
        self.times += 1
        return super().fileno()


def test_nobody_looks_at_every_connection_while_there_is_room() -> None:
    descriptors = Descriptors(Counters(), limit=100_000)
    with Looked() as listening:
        for _ in range(10_000):
            descriptors.accepted(listening)
        assert listening.times == 1


@on_uvloop
async def test_a_burst_whose_connections_all_dial_leaves_the_last_quarter_alone() -> None:
    """Eight at a time are accepted before one of them is counted, as in one turn of the loop; then they all dial."""
    with ExitStack() as opened:
        listening = opened.enter_context(Looked())
        descriptors = narrow(60)
        watching = asyncio.ensure_future(descriptors.watch())  # noqa: TID251 (the test owns it)
        await asyncio.sleep(0)
        watching.cancel()  # it has seen what others have open
        highest = 0
        accepted = 0
        while not descriptors.paused:
            for _ in range(8):
                descriptors.accepted(listening)
                highest = max(highest, opened.enter_context(socket.socket()).fileno())
            accepted += 8
            descriptors._counters.inbound.connections_open = accepted
            for _ in range(8):
                descriptors.dialling(object())
                highest = max(highest, opened.enter_context(socket.socket()).fileno())
        assert highest <= descriptors.usable + 16, "those who were accepted in the turn in which it paused, and dialled"
        assert accepted >= 24
        assert listening.times < accepted / 2


@on_uvloop
async def test_a_listener_that_has_ended_stays_so() -> None:
    async with net() as parts, origin() as app, listener(parts.inbound(app.endpoint)) as listening:
        where = address(listening)
        listening.stop_accepting()
        await listening.resume()
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection(*where)


@on_uvloop
async def test_the_log_says_it_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    times = iter((0.0, SAY_SECONDS - 0.1, SAY_SECONDS))
    descriptors = Descriptors(Counters(), limit=8, clock=lambda: next(times))
    lacking = OSError(errno.EMFILE, "Too many open files")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert descriptors.dial_failed(lacking)
    assert len(caplog.messages) == 2
    assert "limit 8" in caplog.messages[0]


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OSError(errno.EMFILE, ""), True),
        (OSError(errno.ENFILE, ""), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), False),
        (socket.gaierror(socket.EAI_AGAIN, ""), False),
    ],
)
def test_whose_fault_a_failed_dial_is(error: OSError, ours: bool) -> None:
    assert Descriptors(Counters()).dial_failed(error) is ours


def test_a_name_that_could_not_be_looked_up_without_descriptors() -> None:
    assert Descriptors(Counters(), limit=lowest_free()).dial_failed(socket.gaierror(socket.EAI_AGAIN, ""))


def test_a_quarter_is_kept() -> None:
    assert repr(Descriptors(Counters(), 64)) == "<Descriptors usable=48/64 accepting>"
    assert Descriptors(Counters()).limit >= os.sysconf("SC_OPEN_MAX")
