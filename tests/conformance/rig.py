"""The rig: a proxy with its lanes, and the runs spread over them.

Lanes work in parallel on one event loop; each takes the next run of its side when it is done with the last. The
rig is made once per process of tests, because a proxy's start costs more than a hundred runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from tests.conformance.lanes import Lane, Ping
from tests.conformance.peers import PeerError, Proxy
from tests.conformance.play import Observation, Play, Run, Watch

LANES = 12
"""Per side. Enough connections at once to interleave single bytes, few enough to start quickly."""

ATTEMPTS = 3
"""A free port can be taken by somebody else before the proxy binds it."""

PORTS = (12000, 32000)
"""Where listeners are put: Linux hands out ports from 32768 on."""


R = TypeVar("R")


@dataclass(frozen=True)
class Result:
    """What was seen of one run, and the authority of the origin it was run with."""

    run: Run
    seen: Observation
    authority: bytes


def listening() -> socket.socket:
    sock = socket.socket(proto=socket.IPPROTO_TCP)  # said, or asyncio sets no TCP_NODELAY: 40 ms for many an answer
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that outgoing connections get: one of these could take a port
    between our look and the proxy's bind."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            sock = held.enter_context(socket.socket())
            port = random.randrange(*PORTS)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


def make_lanes(sides: Sequence[str], count: int) -> list[Lane]:
    """`count` lanes for each side and one more for each, which is for pings."""
    names = [side for side in sides for _ in range(count + 1)]
    ports = free_ports(len(names))
    return [Lane(side, ("127.0.0.1", port), listening()) for side, port in zip(names, ports, strict=True)]


class Rig:
    """A running proxy and its lanes."""

    def __init__(self, proxy: Proxy, lanes: Sequence[Lane], runner: asyncio.Runner) -> None:
        self.proxy = proxy
        self.sides = tuple(dict.fromkeys(lane.side for lane in lanes))
        self._runner = runner
        self._lanes: dict[str, list[Lane]] = {}
        self._pings: dict[str, Lane] = {}
        for lane in lanes:
            if lane.side in self._pings:
                self._lanes.setdefault(lane.side, []).append(lane)
            else:
                self._pings[lane.side] = lane

    def run(self, runs: Sequence[Run]) -> list[Result]:
        """Every run once, as the verdicts demand."""
        return self._runner.run(self._spread(runs, Play))

    def watch(self, runs: Sequence[Run]) -> list[Result]:
        """Every run once, whatever the proxy makes of it."""
        return self._runner.run(self._spread(runs, Watch))

    async def _spread(self, runs: Sequence[Run], play: type[Play]) -> list[Result]:
        results: list[Result] = []
        async with asyncio.TaskGroup() as group:
            for side in self.sides:
                waiting = deque(run for run in runs if run.side == side)
                for lane in self._lanes[side]:
                    group.create_task(_work(lane, play, waiting, results), name=repr(lane))
        return results

    async def stop(self) -> None:
        """Close everything of ours; the proxy may have ended before."""
        for lane in [*self._pings.values(), *(lane for lanes in self._lanes.values() for lane in lanes)]:
            lane.stop()
        for _ in range(3):
            await asyncio.sleep(0)  # closed transports say goodbye in the next turns of the loop

    async def start(self) -> None:
        for side, lanes in self._lanes.items():
            ping = Ping(self._pings[side])
            await self._pings[side].start(None)
            for lane in lanes:
                await lane.start(ping)
                if not await lane.leads_to_its_origin():
                    raise PeerError(f"{self.proxy.name} does not carry a plain request through {lane!r}")


async def _work(lane: Lane, play: type[Play], waiting: deque[Run], results: list[Result]) -> None:
    while waiting:
        run = waiting.popleft()
        try:
            seen = await play(lane, run).play()
        except OSError as error:
            seen = Observation(stuck=[f"the proxy to take a connection: {error}"])
        results.append(Result(run, seen, lane.authority))


@contextlib.contextmanager
def rig(proxy: Proxy, count: int = LANES) -> Iterator[Rig]:
    """The proxy running, with `count` lanes for each of its sides."""
    with attempted(lambda: _started(proxy, count)) as made:
        yield made


@contextlib.contextmanager
def attempted(start: Callable[[], AbstractContextManager[R]]) -> Iterator[R]:
    """What starts, at the latest at the last attempt."""
    with contextlib.ExitStack() as stack:
        for attempt in range(1, ATTEMPTS + 1):
            with contextlib.ExitStack() as started:
                try:
                    made = started.enter_context(start())
                except PeerError:
                    if attempt == ATTEMPTS:
                        raise
                else:
                    stack.push(started.pop_all())
                    break
        yield made


@contextlib.contextmanager
def _started(proxy: Proxy, count: int) -> Iterator[Rig]:
    with contextlib.ExitStack() as stack:
        lanes = make_lanes(proxy.sides, count)
        for lane in lanes:
            stack.callback(lane.sock.close)
        runner = stack.enter_context(asyncio.Runner())
        stack.enter_context(proxy.running(lanes))
        made = Rig(proxy, lanes, runner)
        stack.callback(lambda: runner.run(made.stop()))
        runner.run(made.start())
        yield made
