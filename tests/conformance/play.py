"""The script of one run: what the client and the origin do, and when they are done.

It is written once for both kinds of lane: sockets with a real process between them (`lanes`), and an exchange in
memory (`memory`), where nothing takes time and every cut can be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from tests.conformance.client import Client
from tests.conformance.corpus import Case, End, Forward, Kind
from tests.conformance.deliveries import Delivery
from tests.conformance.messages import Malformed, Message, read_message, read_requests, read_responses
from tests.conformance.origin import PROBE_ANSWER, Connection, Origin, Script


@dataclass(frozen=True)
class Upstream:
    """One connection as the origin saw it. ended: the proxy closed it before the origin did."""

    received: bytes
    malformed: str
    ended: bool
    asked: bool


@dataclass
class Observation:
    """All that was seen of one case.

    methods:  of the requests whose answers the client should have got, probe included
    arrived:  complete requests at the origin in order, probes left out
    upstream: every connection of the origin
    stuck:    what was waited for in vain
    said:     by the client, where the conversation is made up and no case has it
    """

    client: bytes = b""
    client_ended: bool = False
    methods: list[bytes] = field(default_factory=list)
    arrived: list[Message] = field(default_factory=list)
    upstream: list[Upstream] = field(default_factory=list)
    probed: bool = False
    stuck: list[str] = field(default_factory=list)
    said: bytes = b""


@dataclass(frozen=True)
class Run:
    """A case on one side in one delivery."""

    case: Case
    side: str
    delivery: Delivery

    def __str__(self) -> str:
        return f"{self.case.id} [{self.side}, {self.delivery}]"


class Stage(Protocol):
    """Where a run is played: one way through a proxy to an origin of its own.

    probe: the bytes of a plain request, good on this side
    """

    authority: bytes
    probe: bytes
    origin: Origin

    async def connect(self) -> Client:
        """A new connection to the proxy."""
        ...

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Wait for the condition; False when it will not come."""
        ...

    async def read_so_far(self) -> None:
        """Return when the proxy has read all that was sent to it."""
        ...

    async def yield_turn(self) -> None:
        """Let everybody else do something between two single bytes."""
        ...


class Play:
    """One run, as the verdict of its case demands."""

    def __init__(self, stage: Stage, run: Run) -> None:
        self.stage, self.run, self.case = stage, run, run.case
        self.origin = stage.origin
        self.seen = Observation()
        self.sent = self.case.fill(self.case.client, stage.authority)
        self.seen.methods = [message.method for message in expected_requests(self.case, stage.authority)]
        self.client: Client | None = None
        self._unreadable = False

    async def play(self) -> Observation:
        case, origin = self.case, self.origin
        answers = case.kind is Kind.RESPONSE or bool(case.origin)
        origin.reset(Script(held=answers, opaque=case.verdict.forward is Forward.OPAQUE))
        client = self.client = await self.stage.connect()
        try:
            await self._send(client)
            if answers:
                await self._answer(client)
            await self._settle(client)
            if case.verdict.end is not End.NOTHING:
                await self._barrier()
        finally:
            self.seen.client = bytes(client.received)
            self.seen.client_ended = client.ended
            client.close()
            self.seen.arrived = [message for _, message in origin.arrived]
            self.seen.upstream = observe(origin)
            await self._clear()
        return self.seen

    async def _send(self, client: Client) -> None:
        delivery, data = self.run.delivery, self.sent
        if delivery.name == "piped" and not self.case.half_close:
            client.write(data + self.stage.probe)
            self.seen.probed = True
            self.seen.methods.append(b"GET")
        elif self.case.kind is Kind.RESPONSE or delivery.name == "piped":
            client.write(data)
        else:
            await self._pieces(delivery.cut(data), client.write, lambda: client.ended)
        if self.case.half_close:
            client.half_close()

    async def _answer(self, client: Client) -> None:
        """The case's own answer, cut as the delivery says, when its request is there."""
        if not await self._await("the request at the origin", lambda: self.origin.asked is not None or self._opaque()):
            return
        connection = self.origin.asked or self.origin.connections[0]
        transport = connection.transport
        assert transport is not None
        data = self.case.fill(self.case.origin, self.stage.authority)
        cut = self.run.delivery if self.case.kind is Kind.RESPONSE else Delivery("whole")
        await self._pieces(cut.cut(data), transport.write, lambda: connection.ended)
        if self.case.origin_close:
            connection.close()
        else:
            connection.go_on()

    def _opaque(self) -> bool:
        got = self.origin.connections
        return self.case.verdict.forward is Forward.OPAQUE and bool(got) and len(got[0].received) >= len(self.sent)

    async def _pieces(self, pieces: list[bytes], write: Callable[[bytes], None], gone: Callable[[], bool]) -> None:
        for index, piece in enumerate(pieces):
            if gone():
                return
            write(piece)
            if index + 1 == len(pieces):
                return
            if self.run.delivery.name == "split":
                await self.stage.read_so_far()
            else:
                await self.stage.yield_turn()

    async def _settle(self, client: Client) -> None:
        """Wait for the end that the case demands, then prove with a probe that the connection is still in step."""
        case = self.case
        if case.verdict.forward is Forward.OPAQUE:
            await self._await("all bytes of the tunnel", lambda: client.ended or self._tunnelled(client))
            return
        if case.stays is False:
            await self._await("the proxy to close the client's connection", lambda: client.ended)
            return
        wanted = len(self.seen.methods)
        await self._await(f"{wanted} answers", lambda: client.ended or self._answered(client, wanted))
        if client.ended or self.seen.probed or case.half_close or self._unreadable:
            return
        if case.idle:
            await self._spoil()
        self.seen.probed = True
        self.seen.methods.append(b"GET")
        client.write(self.stage.probe)
        await self._await("the answer to the probe", lambda: client.ended or self._answered(client, wanted + 1))

    def _tunnelled(self, client: Client) -> bool:
        return self._opaque() and len(client.received) >= len(self.case.origin)

    def _answered(self, client: Client, wanted: int) -> bool:
        """The client has so many final answers, or something unreadable in their place."""
        if client.received.count(b"HTTP/1.") < wanted:
            return False  # reading it all with every packet would cost most of the time of the whole run
        try:
            return len(read_responses(bytes(client.received), self.seen.methods, client.ended).final) >= wanted
        except Malformed:
            self._unreadable = True  # the judge will tell; there is nothing to wait for
            return True

    async def _spoil(self) -> None:
        """The origin speaks unasked on the connection that has just become idle."""
        connection = self.origin.asked or self.origin.connections[0]
        assert connection.transport is not None
        if not connection.ended:
            connection.transport.write(self.case.idle)
        await self._await("the proxy to drop the connection that spoke unasked", lambda: connection.ended)

    async def _barrier(self) -> None:
        """A probe on a new connection: whatever the proxy had sent on before it has reached the origin by now."""
        count = len(self.origin.probes)
        client = await self.stage.connect()
        client.write(self.stage.probe)
        await self._await(
            "a probe on a new connection",
            lambda: len(self.origin.probes) > count and client.received.endswith(PROBE_ANSWER[-5:]),
        )
        client.close()

    async def _await(self, what: str, condition: Callable[[], bool]) -> bool:
        if await self.stage.until(condition):
            return True
        self.seen.stuck.append(what)
        return False

    async def _clear(self) -> None:
        def gone(connections: Iterable[Connection]) -> bool:
            return all(connection.ended for connection in connections)

        self.origin.close()
        if not await self.stage.until(lambda: gone(self.origin.connections)):
            self.seen.stuck.append("the proxy to end its side of connections that the origin ended")
        for connection in self.origin.connections:
            if connection.transport is not None:
                connection.transport.abort()


class Watch(Play):
    """A run without expectations. A probe rides behind the case, so that every proxy shows where it is in step."""

    async def _settle(self, client: Client) -> None:
        await self._await("an end", lambda: client.ended or client.received.endswith(b"probe"))

    async def _answer(self, client: Client) -> None:
        """The case's own answer as soon as its request is there; a proxy may as well refuse the request."""
        await self._await("the request at the origin", lambda: client.ended or self.origin.asked is not None)
        if self.origin.asked is not None:
            await super()._answer(client)


def observe(origin: Origin) -> list[Upstream]:
    """The origin's connections as they stand now."""
    return [
        Upstream(bytes(seen.received), seen.malformed, seen.ended, seen is origin.asked) for seen in origin.connections
    ]


def expected_requests(case: Case, authority: bytes) -> list[Message]:
    """The requests that have to arrive at the origin, probes left out."""
    if case.verdict.forward is Forward.OPAQUE:
        return []
    if case.kind is Kind.RESPONSE:
        return list(read_requests(case.fill(case.client, authority)).messages)
    if case.verdict.forward is Forward.GIVEN:
        return list(read_requests(case.fill(case.expected, authority)).messages)
    return _leading(case.fill(case.client, authority), case.verdict.count)


def _leading(data: bytes, count: int) -> list[Message]:
    """The first `count` requests of `data`, whatever stands behind them."""
    messages: list[Message] = []
    at = 0
    for _ in range(count):
        message = read_message(data, at, None)
        if message is None or not message.complete:
            raise Malformed("no complete request")
        messages.append(message)
        at += message.size
    return messages
