"""One connection of the admin listener: requests, each answered at once.

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
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._held += data
        self._go_on()

    def pause_writing(self) -> None:
        """The client does not take its answers: what else it asks has to wait."""
        self._full = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._go_on()

    def close(self) -> None:
        """At once: its answers are small, and were given to the kernel."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        """Answer what has come as a whole."""
        transport = self._transport
        while transport is not None and self._held and not self._full and not transport.is_closing():
            try:
                head = self._parser.request(self._held)
            except Refused as refused:
                first, body = problem(
                    refused.failure, refused.detail, workload="", sandbox="", close=True, fields=_fields()
                )
                transport.write(first + body)
                transport.close()
                return
            if head is None:
                return
            peer = transport.get_extra_info("peername")
            asked = Asked(head, str(peer[0]) if isinstance(peer, tuple) else "")
            if not NO_BODY <= head.body <= MOST_CONTENT:
                self._answer(head, too_large(), last=True)
                return
            stop = head.end + head.body
            if len(head.data) < stop:
                return
            self._held = head.data[stop:]
            with self._crowd.serving(self):
                self._answer(head, self._application.answer(asked), last=not head.keep_alive)

    def _answer(self, head: RequestHead, answer: Answer, *, last: bool) -> None:
        assert self._transport is not None
        fields = [*answer.fields, *_fields()]
        if head.http10 and not last:
            fields.append((b"connection", b"keep-alive"))
        first = reply_head(answer.status, fields, len(answer.body), close=last)
        self._transport.write(first if head.method == b"HEAD" else first + answer.body)
        if last:
            self._transport.close()
