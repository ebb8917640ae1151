"""Large bodies and tunnels through real sockets, moved by the kernel: whole, in order, and with every fault between."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange.settings import ExchangeSettings
from proxy.net.listener import FixedEntrance, Listener, bind
from proxy.net.pipes import Pipes
from proxy.net.silence import Opening
from proxy.telemetry.counters import SideCounters
from tests.proxy.net.rig import Line, Net, client, eventually, net, on_uvloop, origin
from tests.proxy.net.test_listener import GET, OK, address, listener

MIB = 1 << 20
SIZE = 8 * MIB
PATIENCE = 30.0


def some(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


BODY = some(SIZE)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE
UPLOAD = b"PUT /file HTTP/1.1\r\nhost: users\r\ncontent-length: %d\r\n\r\n" % SIZE


@dataclass
class Scene:
    """A sidecar's parts, a client and the application. line: the application's end, once there is a request."""

    parts: Net
    listening: Listener
    caller: Line
    line: Line

    @property
    def figures(self) -> SideCounters:
        return self.parts.counters.inbound

    @property
    def moving(self) -> bool:
        return "under way=0" not in repr(self.parts.splicer)

    async def moves(self) -> None:
        """Return when a body is moved by the kernel."""
        await eventually(lambda: self.figures.spliced_bytes)

    async def stalls(self) -> None:
        """Return when nothing moves any more."""
        before, still = -1, 0
        while still < 50:
            still = still + 1 if before == self.figures.spliced_bytes else 0
            before = self.figures.spliced_bytes
            await asyncio.sleep(0)


@asynccontextmanager
async def scene(
    request: bytes, settings: ExchangeSettings | None = None, pipes: Pipes | None = None
) -> AsyncIterator[Scene]:
    """After a client has sent `request` and the application has received it."""
    async with (
        net(settings=settings, pipes=pipes) as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(request)
        line = await app.line()
        await line.receives(request)
        yield Scene(parts, listening, caller, line)


# -- whole --------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_an_answer_and_the_next_request_on_the_same_connections() -> None:
    async with scene(GET) as there:
        for _ in range(2):
            there.line.send(ANSWER + BODY)
            await there.caller.receives(ANSWER + BODY)
            await eventually(lambda: not there.moving)
            there.caller.send(GET)
            await there.line.receives(GET)
        there.line.send(OK)
        await there.caller.receives(OK)
        assert there.figures.upstream_dials == 1
        assert there.figures.spliced_bytes > 2 * SIZE - 2 * MIB


@on_uvloop
async def test_an_upload_and_a_request_behind_it() -> None:
    """Pipelined: its bytes lie behind the body, in the same socket."""
    async with scene(UPLOAD) as there:
        there.caller.send(BODY + GET)
        await there.line.until(lambda: len(there.line.got) >= SIZE)
        await there.line.receives(BODY)
        there.line.send(OK)
        await there.caller.receives(OK)
        await there.line.receives(GET)
        there.line.send(OK)
        await there.caller.receives(OK)
        assert there.figures.spliced_bytes > SIZE - MIB


@on_uvloop
async def test_without_pipes_bodies_pass_as_before() -> None:
    async with scene(UPLOAD, pipes=Pipes(limit=0)) as there:
        there.caller.send(BODY)
        await there.line.receives(BODY)
        there.line.send(ANSWER + BODY)
        await there.caller.receives(ANSWER + BODY)
        assert there.figures.spliced_bytes == 0


@on_uvloop
async def test_both_bodies_at_once() -> None:
    """The answer begins before the request has ended, and both are large."""
    async with scene(UPLOAD) as there:
        there.caller.send(BODY[:MIB])
        await there.line.until(lambda: there.line.got)
        there.line.send(ANSWER + BODY[: SIZE // 2])
        await there.caller.until(lambda: there.caller.got)
        there.caller.send(BODY[MIB:])
        await there.line.until(lambda: len(there.line.got) == SIZE)
        assert there.line.got == BODY
        there.line.send(BODY[SIZE // 2 :])
        await there.caller.until(lambda: there.caller.got.endswith(BODY))


@on_uvloop
async def test_many_at_once_beside_small_ones() -> None:
    """Downloads and uploads of random size, readers that stop and go on; every body by its digest, and small requests
    that are answered meanwhile."""
    dice = random.Random(3)

    async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """GET /SIZE/SEED answers with that body, PUT with the digest of what came."""
        while head := await _head(reader):
            method, target, _ = head.split(b" ", 2)
            if method == b"GET":
                size, seed = map(int, target[1:].split(b"/"))
                body = some(size, seed)
            else:
                length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
                body = hashlib.sha256(await reader.readexactly(length)).hexdigest().encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    async def one(number: int, where: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*where, limit=1 << 16)
        for turn in range(3):
            size, seed = dice.randrange(1, 2 * MIB), number * 100 + turn
            body = some(size, seed)
            if dice.random() < 0.5:
                writer.write(b"GET /%d/%d HTTP/1.1\r\nhost: users\r\n\r\n" % (size, seed))
                expected = body
            else:
                writer.write(b"PUT / HTTP/1.1\r\nhost: users\r\ncontent-length: %d\r\n\r\n" % size + body)
                expected = hashlib.sha256(body).hexdigest().encode()
            assert (await _head(reader)).startswith(b"HTTP/1.1 200")
            got = b""
            while len(got) < len(expected):
                got += await reader.read(min(dice.randrange(1, 1 << 17), len(expected) - len(got)))
                for _ in range(dice.randrange(3)):
                    await asyncio.sleep(0)
            assert hashlib.sha256(got).digest() == hashlib.sha256(expected).digest()
            writer.write(b"GET /2/1 HTTP/1.1\r\nhost: users\r\n\r\n")
            assert (await _head(reader)).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2) == some(2, 1)
        writer.close()

    server = await asyncio.start_server(application, "127.0.0.1", 0, limit=1 << 16)
    host, port = server.sockets[0].getsockname()[:2]
    async with net() as parts, AsyncExitStack() as stack:
        stack.callback(server.close)
        listening = await stack.enter_async_context(listener(parts.inbound(Endpoint(host, port))))
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for number in range(24):
                tasks.create_task(one(number, address(listening)))
        assert parts.counters.inbound.spliced_bytes > MIB
        assert parts.counters.inbound.requests["baseline"][2] == 24 * 3 * 2


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


@on_uvloop
async def test_small_requests_have_their_turn() -> None:
    """While eight connections move what they can, a small request waits for a few of their turns and no more."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * MIB)
    async with AsyncExitStack() as stack:
        parts, app = await stack.enter_async_context(net()), await stack.enter_async_context(origin())
        listening = await stack.enter_async_context(listener(parts.inbound(app.endpoint)))
        for number in range(8):
            caller = await stack.enter_async_context(client(address(listening)))
            caller.send(GET)
            (await app.line(number)).send(head + bytes(4 * MIB))
        small = await stack.enter_async_context(client(address(listening)))
        for _ in range(5):
            before = parts.counters.inbound.spliced_bytes
            small.send(GET)
            line = await app.line(8)
            await line.receives(GET)
            line.send(OK)
            await small.receives(OK)
            assert parts.counters.inbound.spliced_bytes - before < 32 * MIB


# -- faults, in every phase -----------------------------------------------------------------------------------------


async def begun_download(there: Scene, *, stalled: bool) -> None:
    if stalled:
        there.caller.wire.pause_reading()
    there.line.send(ANSWER + BODY[: SIZE - 1 if stalled else 2 * MIB])
    await there.moves()
    if stalled:
        await there.stalls()


async def begun_upload(there: Scene, *, stalled: bool) -> None:
    if stalled:
        there.line.wire.pause_reading()
    there.caller.send(BODY[: SIZE - 1 if stalled else 2 * MIB])
    await there.moves()
    if stalled:
        await there.stalls()


def half_close(line: Line) -> None:
    line.wire.write_eof()


def close(line: Line) -> None:
    line.wire.close()


@pytest.mark.parametrize("stalled", [False, True], ids=["flowing", "stalled"])
@pytest.mark.parametrize("how", [Line.reset, close, half_close], ids=["reset", "closed", "half-closed"])
def test_an_application_that_ends_within_its_answer(how: Callable[[Line], None], stalled: bool) -> None:
    @on_uvloop
    async def ended() -> None:
        async with scene(GET) as there:
            await begun_download(there, stalled=stalled)
            how(there.line)
            there.caller.wire.resume_reading()
            await there.caller.until(lambda: there.caller.lost)
            assert isinstance(there.caller.error, ConnectionResetError), "nobody may take this for the whole"
            assert there.figures.failures["answer-truncated"] == 1
            assert there.figures.requests["error"][2] == 1

    ended()


@pytest.mark.parametrize("stalled", [False, True], ids=["flowing", "stalled"])
@pytest.mark.parametrize("how", [Line.reset, close], ids=["reset", "closed"])
def test_a_client_that_goes_within_its_answer(how: Callable[[Line], None], stalled: bool) -> None:
    @on_uvloop
    async def gone() -> None:
        async with scene(GET) as there:
            await begun_download(there, stalled=stalled)
            how(there.caller)
            if not stalled:
                there.line.send(BODY[2 * MIB :])  # closed for good, or for sending only? that shows when it is sent to
            await there.line.until(lambda: there.line.lost)
            assert isinstance(there.line.error, (ConnectionResetError, BrokenPipeError))
            await eventually(lambda: there.figures.connections_open == 0)

    gone()


@pytest.mark.parametrize("stalled", [False, True], ids=["flowing", "stalled"])
@pytest.mark.parametrize("how", [Line.reset, close, half_close], ids=["reset", "closed", "half-closed"])
def test_a_client_that_ends_within_its_upload(how: Callable[[Line], None], stalled: bool) -> None:
    @on_uvloop
    async def ended() -> None:
        async with scene(UPLOAD) as there:
            await begun_upload(there, stalled=stalled)
            how(there.caller)
            there.line.wire.resume_reading()
            await there.line.until(lambda: there.line.lost)
            assert isinstance(there.line.error, ConnectionResetError)
            await eventually(lambda: there.figures.connections_open == 0)
            assert there.figures.requests["error"][0] == 1

    ended()


@pytest.mark.parametrize("stalled", [False, True], ids=["flowing", "stalled"])
@pytest.mark.parametrize("how", [Line.reset, close], ids=["reset", "closed"])
def test_an_application_that_goes_within_an_upload(how: Callable[[Line], None], stalled: bool) -> None:
    @on_uvloop
    async def gone() -> None:
        async with scene(UPLOAD) as there:
            await begun_upload(there, stalled=stalled)
            how(there.line)
            await there.caller.until(lambda: b"\r\n\r\n" in there.caller.got)
            assert there.caller.got.startswith(b"HTTP/1.1 502 ")
            assert b"skycap-error: upstream-reset" in there.caller.got

    gone()


@pytest.mark.parametrize("stalled", [False, True], ids=["flowing", "stalled"])
def test_an_application_that_refuses_an_upload_and_hangs_up(stalled: bool) -> None:
    """What it said before is read, although its end is a reset: it has not read all that came."""
    refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

    @on_uvloop
    async def refused() -> None:
        async with scene(UPLOAD) as there:
            await begun_upload(there, stalled=stalled)
            there.line.send(refusal)
            there.line.wire.close()
            await there.caller.receives(refusal)

    refused()


SHORT = ExchangeSettings(stream_ticks=20)


@pytest.mark.parametrize("stalled", [False, True], ids=["silent source", "full sink"])
def test_an_answer_that_stalls_has_its_time(stalled: bool) -> None:
    @on_uvloop
    async def stalls() -> None:
        async with scene(GET, SHORT) as there:
            await begun_download(there, stalled=stalled)
            await there.stalls()
            there.parts.pass_ticks(19)
            assert there.figures.timeouts["body"] == 0
            there.parts.pass_ticks(2)
            assert not there.moving
            there.caller.wire.resume_reading()
            await there.caller.until(lambda: there.caller.lost)
            await there.line.until(lambda: there.line.lost)
            assert there.figures.timeouts["body"] == 1

    stalls()


@pytest.mark.parametrize("stalled", [False, True], ids=["silent source", "full sink"])
def test_an_upload_that_stalls_has_its_time(stalled: bool) -> None:
    @on_uvloop
    async def stalls() -> None:
        async with scene(UPLOAD, SHORT) as there:
            await begun_upload(there, stalled=stalled)
            await there.stalls()
            there.parts.pass_ticks(21)
            assert not there.moving
            await there.caller.until(lambda: b"content-timeout" in there.caller.got)
            there.line.wire.resume_reading()
            await there.line.until(lambda: there.line.lost)

    stalls()


@on_uvloop
async def test_a_piece_now_and_then_is_enough() -> None:
    async with scene(GET, SHORT) as there:
        await begun_download(there, stalled=False)
        for piece in range(3):
            await there.stalls()
            there.parts.pass_ticks(15)
            there.line.send(BODY[(2 + piece) * MIB : (3 + piece) * MIB])
        there.line.send(BODY[5 * MIB :])
        await there.caller.receives(ANSWER + BODY)


@on_uvloop
async def test_a_drain_in_the_middle_lets_it_finish() -> None:
    async with scene(GET) as there:
        await begun_download(there, stalled=False)
        there.listening.stop_accepting()
        there.listening.drain(last_call=True)
        there.line.send(BODY[2 * MIB :])
        await there.caller.receives(ANSWER + BODY)
        await eventually(lambda: not there.moving)
        there.listening.drain(last_call=True)
        await there.caller.is_told()


@pytest.mark.parametrize("stalled", [False, True], ids=["flowing", "stalled"])
@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_the_end_of_a_drain_cuts_it(up: bool, stalled: bool) -> None:
    @on_uvloop
    async def cut() -> None:
        async with scene(UPLOAD if up else GET) as there:
            await (begun_upload if up else begun_download)(there, stalled=stalled)
            there.listening.stop_accepting()
            assert there.listening.abort() == 1
            async with asyncio.timeout(PATIENCE):
                await there.listening.emptied()
            for line in (there.caller, there.line):
                line.wire.resume_reading()
                await line.until(lambda line=line: line.lost)  # type: ignore[misc]
                assert isinstance(line.error, (ConnectionResetError, BrokenPipeError))

    cut()


# -- tunnels ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def tunnel(kind: str, settings: ExchangeSettings | None = None) -> AsyncIterator[Scene]:
    """A CONNECT, or a connection that was declared opaque; both ends have said something."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(net(settings=settings))
        app = await stack.enter_async_context(origin())
        side = parts.outbound(None) if kind == "connect" else parts.inbound(app.endpoint)
        opening = Opening(declared=kind == "opaque")
        listening = Listener(FixedEntrance(side, opening), bind("127.0.0.1", 0), parts.descriptors)
        await listening.start()
        stack.push_async_callback(listening.emptied)
        stack.callback(listening.abort)
        stack.callback(listening.stop_accepting)
        caller = await stack.enter_async_context(client(address(listening)))
        if kind == "connect":
            caller.send(f"CONNECT {app.endpoint} HTTP/1.1\r\nhost: {app.endpoint}\r\n\r\n".encode())
            await caller.receives(b"HTTP/1.1 200 OK\r\n\r\n")
        line = await app.line()
        caller.send(b"\x01hello")
        await line.receives(b"\x01hello")
        there = Scene(parts, listening, caller, line)
        if kind == "connect":
            there.parts.counters.inbound = there.parts.counters.outbound
        yield there


@pytest.fixture(params=["connect", "opaque"])
def kind(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def test_bulk_in_a_tunnel_is_moved_both_ways(kind: str) -> None:
    @on_uvloop
    async def moved() -> None:
        async with tunnel(kind) as there:
            for source, sink in ((there.caller, there.line), (there.line, there.caller)):
                before = there.figures.spliced_bytes
                source.send(BODY)
                await sink.receives(BODY)
                assert there.figures.spliced_bytes > before
                source.send(b"a word")
                await sink.receives(b"a word")
            there.caller.wire.write_eof()
            await there.line.is_told()
            there.line.send(b"bye")
            await there.caller.receives(b"bye")
            there.line.wire.write_eof()
            await there.caller.is_told()

    moved()


def test_messages_in_a_tunnel_are_not(kind: str) -> None:
    @on_uvloop
    async def passed() -> None:
        async with tunnel(kind) as there:
            for _ in range(50):
                there.caller.send(bytes(1000))
                await there.line.receives(bytes(1000))
            assert there.figures.spliced_bytes == 0

    passed()


@pytest.mark.parametrize("who", ["client", "application"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_reset_is_passed_on(kind: str, way: str, who: str) -> None:
    """Whichever end it is, and whichever way the bytes went. CONNECT ends either way with an end."""

    @on_uvloop
    async def passed() -> None:
        async with tunnel(kind) as there:
            source, sink = (there.caller, there.line) if way == "up" else (there.line, there.caller)
            sink.wire.pause_reading()
            source.send(BODY + BODY)
            await there.moves()
            await there.stalls()
            resets, told = (there.caller, there.line) if who == "client" else (there.line, there.caller)
            resets.reset()
            told.wire.resume_reading()
            await told.is_told()
            if kind == "opaque":
                await told.until(lambda: told.lost)
                assert isinstance(told.error, (ConnectionResetError, BrokenPipeError))
            await eventually(lambda: there.figures.connections_open == 0)

    passed()


def test_an_end_does_not_overtake_what_was_sent_before_it(kind: str) -> None:
    @on_uvloop
    async def ended() -> None:
        async with tunnel(kind) as there:
            there.line.wire.pause_reading()
            there.caller.send(BODY)
            await there.moves()
            await there.stalls()
            there.caller.wire.write_eof()
            there.line.wire.resume_reading()
            await there.line.until(lambda: there.line.ended)
            assert there.line.got == BODY
            there.line.send(b"thanks")
            await there.caller.receives(b"thanks")

    ended()


def test_a_tunnel_that_stalls_has_its_time(kind: str) -> None:
    @on_uvloop
    async def stalls() -> None:
        async with tunnel(kind, SHORT) as there:
            there.line.wire.pause_reading()
            there.caller.send(BODY + BODY)
            await there.moves()
            await there.stalls()
            there.parts.pass_ticks(21)
            assert not there.moving
            assert there.figures.timeouts["tunnel"] == 1
            await there.caller.is_told()
            there.line.wire.resume_reading()
            await there.line.is_told()

    stalls()
