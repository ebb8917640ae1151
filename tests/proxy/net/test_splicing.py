"""Bytes that the kernel moves between two connections: all of them, in order, and every way in which that can end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import hashlib
import os
import random
import select
import socket
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from proxy.exchange.ports import Stream
from proxy.net.pipes import KEPT_PIPES, PIPE_BYTES, Pipes
from proxy.net.splicing import LEAN_TURNS, TURN_BYTES, Splice, Splicer
from proxy.net.tuning import HIGH_WATER, LOW_WATER, set_water_marks
from tests.proxy.net.rig import Line, client, eventually, on_uvloop

MIB = 1 << 20
ENDLESS = 1 << 60


class Near(Line):
    """The sidecar's end of a connection, which tells a splice when it has sent all."""

    def __init__(self) -> None:
        super().__init__()
        self.splice: Splice | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        set_water_marks(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.splice is not None:
            self.splice.cancel()

    def resume_writing(self) -> None:
        if self.splice is not None:
            self.splice.sink_drained()


class Owner:
    """Who has bytes moved, and writes down what happens."""

    def __init__(self) -> None:
        self.moved = 0
        self.pieces: list[int] = []
        self.end = ""
        self.behind = False
        self.full = 0
        self.on_end: Callable[[], None] = lambda: None

    def splice_moved(self, count: int, /) -> None:
        assert not self.end
        self.moved += count
        self.pieces.append(count)

    def splice_full(self) -> None:
        assert not self.end
        self.full += 1

    def splice_done(self, left: int, /, *, behind: bool) -> None:
        self.behind = behind
        self._ended(f"done {left}")

    def splice_source_failed(self) -> None:
        self._ended("source failed")

    def splice_sink_failed(self) -> None:
        self._ended("sink failed")

    def _ended(self, how: str) -> None:
        assert not self.end, "told twice"
        self.end = how
        self.on_end()


class Way:
    """Two connections: `feeder` sends to `source`; what is written to `sink` arrives at `reader`."""

    def __init__(self, splicer: Splicer, feeder: Line, source: Near, sink: Near, reader: Line) -> None:
        self.splicer = splicer
        self.feeder, self.source, self.sink, self.reader = feeder, source, sink, reader
        self.owner = Owner()

    def begin(self, count: int) -> Splice:
        self.source.wire.pause_reading()
        splice = self.splicer.splice(self.source.wire, self.sink.wire, count, self.owner)
        assert splice is not None
        self.sink.splice = self.source.splice = splice
        return splice

    async def ends(self, how: str) -> None:
        await eventually(lambda: self.owner.end)
        assert self.owner.end == how
        assert f"{self.splicer!r}".startswith("<Splicer under way=0 <Pipes lent=0 ")

    async def stalls(self) -> None:
        """Return when nothing moves any more, with bytes on their way."""
        await eventually(lambda: self.owner.moved)
        before, still = -1, 0
        while still < 50:
            still = still + 1 if before == self.owner.moved else 0
            before = self.owner.moved
            await asyncio.sleep(0)
        assert self.sink.splice is not None
        assert " held=0>" not in repr(self.sink.splice)

    def cut(self, line: Line) -> None:
        """Closed with a reset."""
        line.reset()


async def _pair(stack: AsyncExitStack) -> tuple[Line, Near]:
    """A far end, and ours."""
    accepted: list[Near] = []

    def accept() -> Near:
        accepted.append(Near())
        return accepted[0]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    stack.callback(server.close)
    far = await stack.enter_async_context(client(server.sockets[0].getsockname()[:2]))
    await eventually(lambda: accepted and accepted[0].transport is not None)
    stack.push_async_callback(accepted[0].gone)
    return far, accepted[0]


@asynccontextmanager
async def splicing(pipes: Pipes | None = None) -> AsyncIterator[Splicer]:
    splicer = Splicer(pipes or Pipes())
    try:
        yield splicer
    finally:
        splicer.close()


@asynccontextmanager
async def way(shared: Splicer | None = None) -> AsyncIterator[Way]:
    async with AsyncExitStack() as stack:
        splicer = Splicer(Pipes()) if shared is None else shared
        if shared is None:
            stack.callback(splicer.close)
        feeder, source = await _pair(stack)
        reader, sink = await _pair(stack)
        yield Way(splicer, feeder, source, sink, reader)


def unread(line: Line) -> int:
    """Bytes that its socket has received and nobody has read."""
    return int.from_bytes(
        fcntl.ioctl(line.wire.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4)), sys.byteorder
    )


def some(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


# -- whole --------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_all_of_it_and_nothing_behind_it() -> None:
    """What comes behind the body is the next request: the transport reads it."""
    body = some(3 * MIB + 17)
    async with way() as there:
        there.begin(len(body))
        there.feeder.send(body + b"GET /next")
        await there.ends("done 0")
        assert there.owner.moved == len(body)
        await there.reader.receives(body)
        assert there.source.got == b""
        there.source.wire.resume_reading()
        await there.source.receives(b"GET /next")
        there.sink.send(b"next")
        await there.reader.receives(b"next")


@on_uvloop
@pytest.mark.parametrize("extra", [0, 1])
async def test_whether_there_is_more_behind_it(extra: int) -> None:
    """An answer with bytes behind it must not give its connection back to the pool."""
    async with way() as there:
        there.source.wire.pause_reading()
        there.feeder.send(bytes(100 + extra))
        await eventually(lambda: unread(there.source) == 100 + extra)
        there.begin(100)
        await there.ends("done 0")
        assert there.owner.behind is bool(extra)


@on_uvloop
async def test_what_was_written_before_goes_before() -> None:
    """More than the kernel takes, to a reader that does not read yet."""
    head, body = some(8 * MIB, 1), some(MIB, 2)
    async with way() as there:
        there.reader.wire.pause_reading()
        there.sink.send(head)
        splice = there.begin(len(body))
        there.feeder.send(body)
        await eventually(lambda: there.sink.wire.get_write_buffer_limits() == (0, 0))
        assert repr(splice) == f"<Splice left={len(body)} waiting>"
        assert there.owner.moved == 0
        there.reader.wire.resume_reading()
        await there.ends("done 0")
        await there.reader.receives(head + body)
        assert there.sink.wire.get_write_buffer_limits() == (LOW_WATER, HIGH_WATER)


@on_uvloop
async def test_a_head_that_was_just_written_goes_before() -> None:
    async with way() as there:
        there.feeder.send(b"body")
        await eventually(lambda: there.source.got)
        there.feeder.send(b"more")
        there.sink.send(b"head ")
        there.begin(4)
        await there.ends("done 0")
        await there.reader.receives(b"head more")


@on_uvloop
async def test_a_slow_reader_stops_the_sender() -> None:
    size = 32 * MIB  # more than the buffers of two connections take
    async with way() as there:
        there.reader.wire.pause_reading()
        there.begin(size)
        there.feeder.send(bytes(size))
        await there.stalls()
        assert there.feeder.wire.get_write_buffer_size() > 0
        assert there.owner.full > 0
        there.reader.wire.resume_reading()
        await there.ends("done 0")
        await there.reader.until(lambda: len(there.reader.got) == size)


@on_uvloop
async def test_small_packets_fill_a_pipe_before_its_bytes_do() -> None:
    """A pipe has an entry per packet: full, it still has room for bytes, and its source is not empty."""
    async with way() as there:
        there.feeder.wire.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there.source.wire.pause_reading()
        body = some(3000 * 40, 3)
        for start in range(0, len(body), 40):
            there.feeder.send(body[start : start + 40])
            await asyncio.sleep(0)  # a packet of its own
        there.begin(len(body))
        await there.ends("done 0")
        await there.reader.receives(body)


@on_uvloop
async def test_both_ways_at_once() -> None:
    """A tunnel: each connection is the source of one splice and the sink of the other."""
    up, down = some(5 * MIB, 4), some(7 * MIB, 5)
    async with way() as there:
        back = Way(there.splicer, there.reader, there.sink, there.source, there.feeder)
        there.begin(len(up))
        back.begin(len(down))
        there.feeder.send(up)
        there.reader.send(down)
        await eventually(lambda: there.owner.end and back.owner.end)
        assert (there.owner.end, back.owner.end) == ("done 0", "done 0")
        await there.reader.until(lambda: there.reader.got == up)
        await there.feeder.until(lambda: there.feeder.got == down)
        await there.ends("done 0")


@on_uvloop
async def test_many_at_once_with_slow_readers() -> None:
    """Every byte of every body, checked by its digest, while readers stop and go on."""
    dice = random.Random(11)
    async with splicing() as splicer, AsyncExitStack() as stack:

        async def one(number: int) -> None:
            there = await stack.enter_async_context(way(splicer))
            for turn in range(2):
                body = some(dice.randrange(1, 2 * MIB), number * 10 + turn)
                there.owner = Owner()
                there.begin(len(body))
                there.feeder.send(body)
                while len(there.reader.got) < len(body):
                    there.reader.wire.pause_reading()
                    for _ in range(dice.randrange(3)):
                        await asyncio.sleep(0)
                    there.reader.wire.resume_reading()
                    before = len(there.reader.got)
                    await there.reader.until(lambda before=before: len(there.reader.got) > before)  # type: ignore[misc]
                assert hashlib.sha256(there.reader.got).digest() == hashlib.sha256(body).digest()
                there.reader.got = b""
                await eventually(lambda: there.owner.end)
                assert there.owner.end == "done 0"
                assert there.owner.moved == len(body)
                there.source.wire.resume_reading()

        async with asyncio.TaskGroup() as tasks:
            for number in range(16):
                tasks.create_task(one(number))
        assert repr(splicer).startswith("<Splicer under way=0 <Pipes lent=0 ")


@on_uvloop
async def test_others_have_their_turn_in_between() -> None:
    """Two turns of the loop lie between two turns of one splice at most, however much there is to move."""
    size = 12 * MIB
    async with way() as there:
        turns: list[int] = []

        def count() -> None:
            turns.append(there.owner.moved)
            if not there.owner.end:
                asyncio.get_running_loop().call_soon(count)

        there.begin(size)
        there.feeder.send(bytes(size))
        count()
        await there.ends("done 0")
        assert max(there.owner.pieces) < TURN_BYTES + PIPE_BYTES
        steps = [after - before for before, after in pairwise(turns)]
        assert max(steps) < 3 * (TURN_BYTES + PIPE_BYTES)
        await there.reader.until(lambda: len(there.reader.got) == size)


# -- ends ---------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_source_that_ends_early() -> None:
    """What came before the end is delivered; the end is told by the source's own transport."""
    async with way() as there:
        there.begin(10 * MIB)
        there.feeder.send(some(MIB))
        there.feeder.wire.write_eof()
        await there.ends(f"done {9 * MIB}")
        await there.reader.receives(some(MIB))
        assert not there.source.ended
        there.source.wire.resume_reading()
        await there.source.until(lambda: there.source.ended)


@on_uvloop
async def test_a_source_that_ends_while_the_reader_sleeps() -> None:
    """Its end must not overtake what is in the pipe."""
    body = some(6 * MIB)
    async with way() as there:
        there.reader.wire.pause_reading()
        there.begin(ENDLESS)
        there.feeder.send(body)
        there.feeder.wire.write_eof()
        await eventually(lambda: there.owner.moved)
        assert not there.owner.end
        there.reader.wire.resume_reading()
        await there.ends(f"done {ENDLESS - len(body)}")
        await there.reader.receives(body)


@on_uvloop
@pytest.mark.parametrize("sent", [0, 1, MIB])
async def test_a_source_that_is_reset(sent: int) -> None:
    async with way() as there:
        there.begin(10 * MIB)
        there.feeder.send(some(sent))
        await eventually(lambda: there.owner.moved == sent)
        there.cut(there.feeder)
        await there.ends("source failed")
        assert not there.source.lost, "its transport is paused, and knows nothing"


@on_uvloop
async def test_a_source_that_is_reset_while_the_reader_sleeps() -> None:
    async with way() as there:
        there.reader.wire.pause_reading()
        there.begin(12 * MIB)
        there.feeder.send(bytes(12 * MIB))
        await there.stalls()
        there.cut(there.feeder)
        # Its pipe is full: nothing is read until the reader goes on.
        there.reader.wire.resume_reading()
        await there.ends("source failed")


@on_uvloop
@pytest.mark.parametrize("sent", [0, 1, MIB])
async def test_a_sink_that_is_reset_while_there_is_nothing_to_move(sent: int) -> None:
    async with way() as there:
        there.sink.wire.pause_reading()  # so that only the splice can notice
        there.begin(10 * MIB)
        there.feeder.send(some(sent))
        await eventually(lambda: there.owner.moved == sent)
        await there.reader.until(lambda: len(there.reader.got) == sent)
        there.cut(there.reader)
        await there.ends("sink failed")
        assert not there.sink.lost


@on_uvloop
async def test_a_sink_that_is_reset_while_it_is_full() -> None:
    async with way() as there:
        there.sink.wire.pause_reading()
        there.reader.wire.pause_reading()
        there.begin(12 * MIB)
        there.feeder.send(bytes(12 * MIB))
        await there.stalls()
        there.cut(there.reader)
        await there.ends("sink failed")
        assert repr(there.splicer.pipes).startswith("<Pipes lent=0 kept=0 "), "a pipe with somebody's bytes"


@on_uvloop
async def test_a_sink_that_its_own_transport_sees_reset() -> None:
    """Whoever sees it first tells the owner; the other one has nothing to add."""
    async with way() as there:
        there.sink.wire.resume_reading()
        splice = there.begin(10 * MIB)
        there.cut(there.reader)
        await there.sink.until(lambda: there.sink.lost)
        splice.cancel()
        await asyncio.sleep(0)
        assert there.owner.end in ("", "sink failed")


@on_uvloop
@pytest.mark.parametrize("when", ["at once", "under way", "before the sink has drained"])
async def test_cancelled(when: str) -> None:
    async with way() as there:
        if when == "before the sink has drained":
            there.reader.wire.pause_reading()
            there.sink.send(bytes(8 * MIB))
        splice = there.begin(12 * MIB)
        there.feeder.send(bytes(12 * MIB))
        if when == "under way":
            await eventually(lambda: there.owner.moved)
        elif when != "at once":
            await eventually(lambda: there.sink.wire.get_write_buffer_limits() == (0, 0))
        splice.cancel()
        splice.cancel()
        moved = there.owner.moved
        assert repr(there.splicer).startswith("<Splicer under way=0 <Pipes lent=0 ")
        assert repr(splice).endswith(" over>")
        assert there.sink.wire.get_write_buffer_limits() == (LOW_WATER, HIGH_WATER)
        splice.sink_drained()
        for _ in range(4):
            await asyncio.sleep(0)
        assert (there.owner.moved, there.owner.end) == (moved, "")


@on_uvloop
@pytest.mark.parametrize("end", ["source", "sink"])
@pytest.mark.parametrize("when", ["before it began", "under way"])
async def test_a_connection_that_is_closed_by_ourselves(end: str, when: str) -> None:
    """A drain, a deadline: until the transport says that it is lost, nothing more is moved."""
    async with way() as there:
        splice = there.begin(12 * MIB)
        if when == "under way":
            there.feeder.send(bytes(MIB))
            await eventually(lambda: there.owner.moved == MIB)
        line = there.source if end == "source" else there.sink
        line.wire.abort()
        there.feeder.send(bytes(MIB))
        await line.until(lambda: line.lost)
        assert repr(splice).endswith(" over>")
        assert there.owner.end == ""
        assert there.owner.moved in (0, MIB)


@on_uvloop
async def test_an_owner_that_begins_the_next_one_from_within() -> None:
    async with way() as there:
        body = some(MIB)
        first = there.owner

        def begin_again() -> None:
            there.owner = Owner()
            there.begin(len(body))

        first.on_end = begin_again
        there.begin(len(body))
        there.feeder.send(body + body)
        await there.reader.until(lambda: len(there.reader.got) == 2 * len(body))
        assert there.reader.got == body + body
        await there.ends("done 0")


# -- what is not worth it, and what is not possible -----------------------------------------------------------------


@on_uvloop
async def test_where_little_comes_at_a_time_the_transports_go_on() -> None:
    async with way() as there:
        there.begin(ENDLESS)
        await asyncio.sleep(0)
        for number in range(LEAN_TURNS):
            assert there.owner.end == ""
            there.feeder.send(b"x" * 64)
            await eventually(lambda number=number: there.owner.moved == 64 * (number + 1))  # type: ignore[misc]
        await there.ends(f"done {ENDLESS - 64 * LEAN_TURNS}")
        there.feeder.send(b"more")
        there.source.wire.resume_reading()
        await there.source.receives(b"more")


@on_uvloop
async def test_a_large_piece_in_between_begins_the_count_anew() -> None:
    async with way() as there:
        splice = there.begin(ENDLESS)
        sent = 0
        for size in [64] * (LEAN_TURNS - 2) + [4 * MIB]:
            there.feeder.send(bytes(size))
            sent += size
            await eventually(lambda sent=sent: there.owner.moved == sent)  # type: ignore[misc]
        assert there.owner.end == ""
        assert splice._lean < LEAN_TURNS - 2
        splice.cancel()


@on_uvloop
async def test_without_pipes_nothing_is_begun() -> None:
    async with splicing(Pipes(limit=1)) as splicer, way(splicer) as first, way(splicer) as second:
        first.begin(MIB)
        assert splicer.splice(second.source.wire, second.sink.wire, MIB, second.owner) is None
        first.feeder.send(bytes(MIB))
        await first.ends("done 0")
        second.begin(MIB)
        second.feeder.send(bytes(MIB))
        await second.ends("done 0")


class NoSocket:
    """A stream of something else."""

    def get_extra_info(self, name: str) -> None:
        return None

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


@on_uvloop
async def test_what_is_no_socket_or_has_ended_is_left_alone() -> None:
    async with way() as there:
        other: Stream = NoSocket()  # type: ignore[assignment]
        assert there.splicer.splice(other, there.sink.wire, MIB, there.owner) is None
        assert there.splicer.splice(there.source.wire, other, MIB, there.owner) is None
        there.sink.wire.abort()
        assert there.splicer.splice(there.source.wire, there.sink.wire, MIB, there.owner) is None
        assert repr(there.splicer) == "<Splicer under way=0 <Pipes lent=0 kept=0 limit=128>>"


@on_uvloop
async def test_a_kernel_that_does_not_let_us_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a sandbox's filter of system calls."""
    asked: list[object] = []

    def refused(*arguments: object, **named: object) -> int:
        asked.append(arguments)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "splice", refused)
    async with way() as there:
        for _ in range(3):
            assert there.splicer.splice(there.source.wire, there.sink.wire, MIB, there.owner) is None
    assert len(asked) == 1


@on_uvloop
async def test_without_a_descriptor_for_its_poll_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> select.epoll:
        raise OSError(24, "Too many open files")

    async with way() as there:
        with monkeypatch.context() as patched:
            patched.setattr(select, "epoll", lacking)
            assert there.splicer.splice(there.source.wire, there.sink.wire, MIB, there.owner) is None
        there.begin(MIB)
        there.feeder.send(bytes(MIB))
        await there.ends("done 0")


@on_uvloop
async def test_nothing_is_left_of_many() -> None:
    """And after a while not even what is kept for the next one."""

    def descriptors() -> int:
        """Those that splices have. Sockets of other tests may be closed meanwhile."""
        found = 0
        for one in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # that of the folder itself
                found += str(one.readlink()).startswith(("pipe:", "anon_inode:[eventpoll]"))
        return found

    gc.collect()  # other tests' pipes, should there be any, go now
    async with way() as there:
        before = descriptors()
        for _ in range(3 * KEPT_PIPES):
            there.owner = Owner()
            there.begin(100)
            there.feeder.send(bytes(100))
            await there.ends("done 0")
        assert descriptors() == before + 3, "the poll and one pipe, used again and again"
        there.owner = Owner()
        await eventually(lambda: descriptors() == before)
        there.begin(100)
        there.feeder.send(bytes(100))
        await there.ends("done 0")
