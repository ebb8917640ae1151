"""Callers that are known by their process: real processes, real sockets."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.net.listener import FixedEntrance, Listener, bind
from proxy.net.peers import MAX_RECENT, Peers
from proxy.net.silence import Opening
from proxy.wire.h2.frames import END_STREAM, PREFACE, header_frames
from proxy.wire.h2.hpack import literal
from proxy.wire.h2.settings import SETTINGS_ACK, settings_frame
from tests.proxy.net.rig import Net, Origin, client, eventually, net, on_uvloop, origin

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this system has no /proc/net/tcp")

CALL = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=30)
for _ in range(2):
    connection.request("GET", "/x")
    connection.getresponse().read()
"""
CALLER = (sys.executable, "-c", CALL)
CLEARED = (
    sys.executable, "-c", "import subprocess, sys; subprocess.run(['env', '-i', *sys.argv[1:]], check=True)", *CALLER
)  # fmt: skip
"""It calls by a child that does not have its environment."""

STREAMS = """
import socket, sys
preface = bytes.fromhex(sys.argv[1])
with socket.create_connection((sys.argv[2], int(sys.argv[3])), 30) as connection:
    connection.sendall(preface)
    while connection.recv(65536):
        pass
"""

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Calls:
    """A listener for calls to an origin."""

    def __init__(self, parts: Net, listener: Listener, app: Origin, address: tuple[str, int]) -> None:
        self.parts = parts
        self.listener = listener
        self.app = app
        self.address = address

    async def heads(self, command: tuple[str, ...], **environ: str) -> list[bytes]:
        """What the origin reads from a process that calls twice on one connection."""
        host, port = self.address
        process = await asyncio.create_subprocess_exec(*command, host, str(port), env={**os.environ, **environ})
        heads = []
        line = await self.app.line(0)
        for _ in range(2):
            await line.until(lambda: line.got.endswith(b"\r\n\r\n"))
            heads.append(line.got)
            line.got = b""
            line.send(OK)
        assert await process.wait() == 0
        return heads


@asynccontextmanager
async def calls(host: str = "127.0.0.1", *, forward: bool = False) -> AsyncIterator[Calls]:
    """forward: it is a forward proxy."""
    async with net() as parts, origin() as app:
        opening = Opening(peers=Peers(parts.tasks))
        entrance = FixedEntrance(parts.outbound(None if forward else app.endpoint), opening)
        sockets = bind(host, 0)
        listener = Listener(entrance, sockets, parts.descriptors)
        await listener.start()
        try:
            yield Calls(parts, listener, app, sockets[0].getsockname()[:2])
        finally:
            listener.stop_accepting()
            listener.abort()
            await listener.emptied()
            for pool in parts.pools:
                pool.close_idle()


@on_uvloop
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_call_gets_the_key_of_the_process_that_makes_it(host: str) -> None:
    async with calls(host) as place:
        for key in ("agent-42", "agent-7"):
            for head in await place.heads(CALLER, SKYCAP_ROUTING_KEY=key):
                assert f"\r\nbaggage: routing-key={key}\r\n".encode() in head.lower()


@on_uvloop
async def test_a_child_that_has_cleared_its_environment_is_its_parents() -> None:
    async with calls() as place:
        for head in await place.heads(CLEARED, SKYCAP_ROUTING_KEY="agent-42"):
            assert b"\r\nbaggage: routing-key=agent-42\r\n" in head.lower()


@on_uvloop
@pytest.mark.parametrize("key", ["", "what is no key"])
async def test_others_have_none(key: str) -> None:
    async with calls() as place:
        for head in await place.heads(CALLER, SKYCAP_ROUTING_KEY=key):
            assert b"baggage" not in head.lower()


@on_uvloop
@pytest.mark.parametrize("forward", [False, True], ids=["target", "forward proxy"])
async def test_streams_get_it_as_well(forward: bool) -> None:
    async with calls(forward=forward) as place:
        head = b"\x82\x86\x84" + literal(b":authority", str(place.app.endpoint).encode())
        said = PREFACE + settings_frame(()) + SETTINGS_ACK + header_frames(1, END_STREAM, head)
        host, port = place.address
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STREAMS, said.hex(), host, str(port),
            env={**os.environ, "SKYCAP_ROUTING_KEY": "agent-42"},
        )  # fmt: skip
        line = await place.app.line(0)
        await line.until(lambda: literal(b"baggage", b"routing-key=agent-42") in line.got)
        process.kill()
        await process.wait()


@on_uvloop
async def test_a_forward_proxy_of_http1_knows_its_callers() -> None:
    async with calls(forward=True) as place:
        call = CALL.replace('"/x"', f'"http://{place.app.endpoint}/x"')
        for head in await place.heads((sys.executable, "-c", call), SKYCAP_ROUTING_KEY="agent-42"):
            assert b"\r\nbaggage: routing-key=agent-42\r\n" in head.lower()


@on_uvloop
async def test_a_client_that_leaves_at_once_costs_nothing() -> None:
    async with calls() as place:
        async with client(place.address):
            pass
        await eventually(lambda: not place.listener.connections and not len(place.parts.tasks))
        assert place.app.lines == []


@on_uvloop
async def test_processes_that_called_last_are_looked_at_first() -> None:
    async with net() as parts, origin() as app:
        peers = Peers(parts.tasks)
        peers._recent = dict.fromkeys(range(-MAX_RECENT, 0))
        told: list[str] = []
        async with client((app.endpoint.host, app.endpoint.port)):
            line = await app.line()
            assert line.transport is not None
            peers._recent[os.getpid()] = None
            peers.ask(line.transport, told.append)
            await eventually(lambda: told)
        assert next(reversed(peers._recent)) == os.getpid()
        assert len(peers._recent) <= MAX_RECENT
    assert told == [os.environ.get("SKYCAP_ROUTING_KEY", "")]
