"""One case on its way through a proxy.

A client with a stream of good manners under way (`NEIGHBOUR`) writes the bytes of the case, the rest of that stream
and one more request (`LATER`) at once. The case is settled when the connection has ended, or when all three streams are
over and the server has heard so. Nothing sleeps: every wait is for an event, with a deadline that only passes when it
never comes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from proxy.wire.h2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, make_head
from tests.conformance.client import Client
from tests.conformance.h2.corpus import REQUEST, Case, literal
from tests.conformance.h2.heard import Heard
from tests.conformance.h2.origin import LATER_PATH, NEIGHBOUR_PATH, Connection, Origin, Request
from tests.conformance.lanes import Ends

NEIGHBOUR = 1
LATER = 101

_POST, _GET, _HTTP = b"\x83", b"\x82", b"\x86"
"""Of the static table (RFC 7541 appendix A)."""


def frame(kind: int, flags: int, sid: int, payload: bytes = b"") -> bytes:
    return make_head(len(payload) << 8 | kind, flags, sid) + payload


def _block(method: bytes, path: bytes) -> bytes:
    return method + _HTTP + literal(b":path", path) + literal(*REQUEST[1:])


GREETING = PREFACE + frame(SETTINGS, 0, 0)
BEGIN_NEIGHBOUR = frame(HEADERS, END_HEADERS, NEIGHBOUR, _block(_POST, NEIGHBOUR_PATH)) + frame(
    DATA, 0, NEIGHBOUR, b"x"
)
END_NEIGHBOUR = frame(DATA, END_STREAM, NEIGHBOUR, b"y")
ASK_LATER = frame(HEADERS, END_HEADERS | END_STREAM, LATER, _block(_GET, LATER_PATH))


@dataclass
class Seen:
    """What was seen of one case.

    heard:       what the client got
    closed:      the proxy ended the client's connection
    neighbour, later: as the server got them, None: not at all
    asked:       the requests of the case itself, as the server got them
    connections: of the proxy to the server
    stuck:       what was waited for in vain
    """

    heard: Heard
    closed: bool
    neighbour: Request | None
    later: Request | None
    asked: list[Request]
    connections: list[Connection]
    stuck: list[str] = field(default_factory=list)


class Lane(Ends):
    """One listener, and a server of HTTP/2 behind it."""

    def __init__(self, listener: tuple[str, int], origin: socket.socket) -> None:
        super().__init__("inbound", listener, origin)
        self.origin = Origin(self._event.set)

    async def start(self) -> None:
        await self.origin.start(self.sock.dup())

    async def play(self, case: Case) -> Seen:
        """The case, whole. Afterwards nothing of it is open at either end."""
        origin, stuck = self.origin, cast(list[str], [])
        origin.reset(case.data if case.kind == "answer" else None)
        client = await self.connect()
        try:
            await self._speak(case, client, stuck)
            await self._wait(stuck, "the end of the case", lambda: self._settled(case, client))
            return Seen(
                Heard(bytes(client.received)), client.ended, origin.find(NEIGHBOUR_PATH), origin.find(LATER_PATH),
                origin.asked, origin.connections, stuck,
            )  # fmt: skip
        finally:
            client.close()
            origin.close()
            await self._wait(stuck, "the proxy to end its connections to the server", lambda: not origin.open)

    async def _speak(self, case: Case, client: Client, stuck: list[str]) -> None:
        if case.kind == "opening":
            client.write(PREFACE + case.data + ASK_LATER)
            return
        client.write(GREETING + BEGIN_NEIGHBOUR)
        await self._wait(stuck, "a request at the server", lambda: client.ended or self._neighbour_is_there())
        if case.kind == "client":
            client.write(case.data + END_NEIGHBOUR + ASK_LATER)
            return
        client.write(END_NEIGHBOUR)
        await self._wait(stuck, "an answer", lambda: client.ended or Heard(bytes(client.received)).over(NEIGHBOUR))
        client.write(ASK_LATER)

    async def _wait(self, stuck: list[str], what: str, condition: Callable[[], bool]) -> None:
        if not await self.until(condition):
            stuck.append(what)

    def _neighbour_is_there(self) -> bool:
        request = self.origin.find(NEIGHBOUR_PATH)
        return request is not None and request.data == b"x"

    def _settled(self, case: Case, client: Client) -> bool:
        heard, origin = Heard(bytes(client.received)), self.origin
        if client.ended:
            return all(request.over for request in origin.requests)
        if heard.gone is not None:
            return False  # and now it has to close
        if not heard.over(LATER) or not (heard.over(NEIGHBOUR) or case.kind == "opening"):
            return False
        if not heard.over(case.stream):  # perhaps nobody waits for more
            answers = len((heard.ended | set(heard.resets)) - {NEIGHBOUR, LATER})
            return answers >= sum(request.ended for request in origin.asked)
        return all(request.over for request in origin.requests)
