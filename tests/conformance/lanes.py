"""Lanes: a listener of the proxy with an origin of its own behind it, on which one case runs at a time.

Whatever an origin records therefore belongs to one case, while many lanes keep the proxy busy with many
connections at once, as in life. Between two cases the origin ends its side of every connection and waits for the
proxy to end its own: a proxy that does not watch its idle connections fails here.

Nothing sleeps. Every wait is for an event, with a deadline; a cut delivery lets the proxy read its first part by
sending a request through it on another connection (`Ping`): a proxy of one event loop has then read what came
before.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from tests.conformance.client import Client
from tests.conformance.origin import PROBE, PROBE_TARGET, Origin

DEADLINE = 30.0
"""Seconds that an event may take on a busy machine; it only passes when the event never comes."""

Address = tuple[str, int]


def probe_for(side: str, authority: bytes) -> bytes:
    """The bytes of a plain request that is good on this side."""
    if side == "forward":
        return PROBE.replace(PROBE_TARGET, b"http://" + authority + PROBE_TARGET, 1)
    return PROBE


class Ends:
    """Where the proxy listens and where its origin does: a lane, whatever is spoken on it.

    patience: seconds that an event may take
    """

    def __init__(self, side: str, listener: Address, origin: socket.socket) -> None:
        self.side = side
        self.listener = listener
        self.sock = origin
        self.patience = DEADLINE
        self.authority = "{}:{}".format(*origin.getsockname()[:2]).encode()
        self._event = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.side} {self.listener[1]} -> {self.authority.decode()}>"

    async def until(self, condition: Callable[[], bool]) -> bool:
        try:
            async with asyncio.timeout(self.patience):
                while not condition():
                    self._event.clear()
                    await self._event.wait()
        except TimeoutError:
            return False
        return True

    async def connect(self) -> Client:
        return await Client.connect(self.listener, self._event.set)


class Lane(Ends):
    """One listener, one origin: a `Stage` made of sockets."""

    def __init__(self, side: str, listener: Address, origin: socket.socket) -> None:
        super().__init__(side, listener, origin)
        self.probe = probe_for(side, self.authority)
        self.origin = Origin(self._event.set)
        self._ping: Ping | None = None

    async def start(self, ping: Ping | None) -> None:
        """Begin to accept. `ping` tells that the proxy has read what was sent; lanes that are never cut have none."""
        self._ping = ping
        await self.origin.start(self.sock.dup())

    async def leads_to_its_origin(self) -> bool:
        """A probe comes through: it is the proxy that listens here, and it knows where to go."""
        client = await self.connect()
        client.write(self.probe)
        arrived = await self.until(lambda: bool(self.origin.probes) and client.received.endswith(b"probe"))
        client.close()
        self.origin.close()
        return arrived

    def stop(self) -> None:
        self.origin.stop()
        if self._ping is not None:
            self._ping.close()

    async def read_so_far(self) -> None:
        assert self._ping is not None
        await self._ping()

    async def yield_turn(self) -> None:
        await asyncio.sleep(0)  # no wait: the other lanes' turn, so that the proxy gets one too


class Ping:
    """A request through the proxy on a connection of its own: when it is answered, the proxy has read the rest."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._lock = asyncio.Lock()
        self._client: Client | None = None

    async def __call__(self) -> None:
        async with self._lock:
            client = self._client
            if client is None or client.ended:
                if client is not None:
                    client.close()
                client = self._client = await self._lane.connect()
            client.received.clear()
            client.write(self._lane.probe)
            if not await self._lane.until(lambda: client.ended or client.received.endswith(b"probe")):
                raise AssertionError("the proxy does not answer a plain request any more")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
