"""One connection of the admin listener: requests, one of them answered in a turn of the loop.

Heads are read by the data path's own parser, which knows how to refuse them. How many connections there are, and how
long each may take, is the business of `proxy.base.crowd`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, cast

from proxy.admin.application import Answer, Application, Asked, too_large
from proxy.base.crowd import Crowd
from proxy.errors import Refused
from proxy.wire.framing import NO_BODY
from proxy.wire.head import HeadParser, Limits, RequestHead
from proxy.wire.replies import problem, reply_head

MOST_CONTENT: Final = 1024
"""Bytes. No page looks at any, but a client may send some."""

_FIELDS: Final = ((b"server", b"skycap"), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


def _fields() -> tuple[tuple[bytes, bytes], ...]:
    """Of every answer. Who has a clock says what it shows (RFC 9110 section 6.6.1)."""
    return (*_FIELDS, (b"date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()))


class AdminConnection(asyncio.Protocol):
    """It is in `open_connections` while it is open."""

    def __init__(self, application: Application, crowd: Crowd, open_connections: set[AdminConnection]) -> None:
        self._application = application
        self._crowd = crowd
        self._open = open_connections
        self._parser = HeadParser(Limits())
        self._held = b""
        self._full = False
        self._waits = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._waits:
            self._go_on()

    def pause_writing(self) -> None:
        """The client does not take its answers: what else it asks has to wait."""
        self._full = True
        self._read_on()

    def resume_writing(self) -> None:
        self._full = False
        self._read_on()
        if not self._waits:
            self._go_on()

    def close(self) -> None:
        """At once: its answers are small, and were given to the kernel."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        """Answer the next request. The one behind it waits for the loop's next turn: a page may cost milliseconds, and
        the requests that the sidecar is for are served by this loop."""
        transport = self._transport
        self._waits = False
        if transport is None or self._full or transport.is_closing():
            return
        if self._held and self._answer_next(transport) and self._held and not transport.is_closing():
            self._waits = True
            asyncio.get_running_loop().call_soon(self._go_on)
        self._read_on()

    def _read_on(self) -> None:
        """Or not, while the client has enough to do, or we have."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._full or self._waits:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _answer_next(self, transport: asyncio.Transport) -> bool:
        """False: it has not come as a whole, or is the last one."""
        try:
            head = self._parser.request(self._held)
        except Refused as refused:
            first, body = problem(
                refused.failure, refused.detail, workload="", sandbox="", close=True, fields=_fields()
            )
            transport.write(first + body)
            transport.close()
            return False
        if head is None:
            return False
        peer = transport.get_extra_info("peername")
        asked = Asked(head, str(peer[0]) if isinstance(peer, tuple) else "")
        if not NO_BODY <= head.body <= MOST_CONTENT:
            self._answer(head, too_large(), last=True)
            return False
        stop = head.end + head.body
        if len(head.data) < stop:
            return False
        self._held = head.data[stop:]
        with self._crowd.serving(self):
            self._answer(head, self._application.answer(asked), last=not head.keep_alive)
        return True

    def _answer(self, head: RequestHead, answer: Answer, *, last: bool) -> None:
        assert self._transport is not None
        fields = [*answer.fields, *_fields()]
        if head.http10 and not last:
            fields.append((b"connection", b"keep-alive"))
        first = reply_head(answer.status, fields, len(answer.body), close=last)
        self._transport.write(first if head.method == b"HEAD" else first + answer.body)
        if last:
            self._transport.close()
