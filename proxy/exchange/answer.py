"""The answering half of an exchange: from the upstream's bytes to the client's.

    head (1xx ... final) -> body -> `Exchange.answered`

The usual answer comes in one read: its head is looked at once and head and body leave in one write, as the bytes
that came when nothing has to change. A reader for the body exists only when there is more to come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import BAD_RESPONSE, Refused
from proxy.exchange.phase import ANSWERING, WAITING
from proxy.wire.body import BodyReader, CloseReader, body_reader
from proxy.wire.chunked import ChunkedReader
from proxy.wire.edit import CONNECTION, response_head
from proxy.wire.framing import NO_BODY, UNTIL_CLOSE
from proxy.wire.head import ResponseHead

if TYPE_CHECKING:
    from proxy.exchange.exchange import Exchange

_NOTHING: frozenset[bytes] = frozenset()
_NOT_FOR_10 = CONNECTION | {b"transfer-encoding", b"trailer"}


class Answer:
    """The answer to the exchange's request in hand.

    status:       of its final head, 0 before.
    reusable:     the upstream's connection can carry another exchange.
    idle_seconds: how long the upstream keeps it, -1 when it did not say.
    """

    __slots__ = ("_exchange", "_held", "_reader", "idle_seconds", "reusable", "status")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._held = b""
        self._reader: BodyReader | None = None
        self.status = 0
        self.reusable = False
        self.idle_seconds = -1

    @property
    def ends_with_connection(self) -> bool:
        """The end of the upstream's connection is the regular end of the body."""
        return isinstance(self._reader, CloseReader)

    def received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        exchange = self._exchange
        if exchange.phase != WAITING:
            self._received_more(data)
            return
        exchange.replay = None  # an answer has begun: never send the request again
        held = self._held
        if held:
            data = held + data
            if data.find(b"\n", len(held)) < 0 and len(data) <= exchange.side.parser.limits.head_bytes:
                # As in the exchange: nothing new to judge before a line has ended.
                self._held = data
                return
            self._held = b""
        try:
            head = exchange.side.parser.response(data, exchange.head.method)
            if head is not None and head.status < 200:
                head = self._interim(head)
            elif head is None:
                self._held = data
            if head is not None:
                self._forward(head)
        except Refused as refused:
            exchange.fail(refused.failure, refused.detail)

    def _received_more(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange.phase == ANSWERING:
            self._more(data)
        else:
            assert exchange.tunnel is not None
            exchange.due = exchange.side.wheel.now + exchange.side.settings.stream_ticks
            exchange.tunnel.upstream_received(data)

    def _interim(self, head: ResponseHead | None) -> ResponseHead | None:
        """Pass interim answers on (RFC 9110 section 15.2). Returns the final head, None when it has not come."""
        exchange = self._exchange
        while head is not None and head.status < 200:
            if head.status == 101:
                self._switch(head)
                return None
            if not exchange.head.http10:
                exchange.stream.write(response_head(head, b"", _NOTHING))
            data = head.data[head.end :]
            head = exchange.side.parser.response(data, exchange.head.method) if data else None
            if head is None:
                self._held = data
        return head

    def _forward(self, head: ResponseHead) -> None:
        """Send the final head and as much of the body as came with it."""
        exchange = self._exchange
        side, request = exchange.side, exchange.head
        data = head.data  # not what came, if it had to be repaired
        size = len(data)
        self.status = head.status
        self.reusable = head.keep_alive
        self.idle_seconds = head.idle
        insert, drop = side.answer(exchange, head) if exchange.served is not None else (b"", _NOTHING)
        reader = None
        stop = head.end
        if head.body > 0 and size - stop >= head.body:
            stop += head.body
        elif head.body != NO_BODY:
            reader = body_reader(head.body, BAD_RESPONSE, padded=True)
            if request.http10 and isinstance(reader, ChunkedReader):
                # RFC 9112 section 6.1: it gets the payload, and the connection's end as its end
                reader.payload = []
                exchange.close_after = True
            stop = reader.feed(data, stop)
        if stop < size:
            self.reusable = False  # bytes behind the answer: their sender is confused
        if side.draining or exchange.request_body is not None or head.body == UNTIL_CLOSE:
            exchange.close_after = True
        if exchange.close_after:
            insert += b"connection: close\r\n"
            drop |= _NOT_FOR_10 if request.http10 else CONNECTION
        elif request.http10:
            insert += b"connection: keep-alive\r\n"
            drop |= _NOT_FOR_10
        if insert and head.plain and not drop and not head.hop:
            end = head.end - 2
            data = data[:end] + insert + data[end:stop]
        elif insert or drop or head.hop or head.http10:
            data = response_head(head, insert, drop) + _payload(reader, data[head.end : stop])
        elif stop < size:
            data = data[:stop]
        exchange.stream.write(data)
        if reader is None or reader.done:
            exchange.answered(head.status)
        else:
            self._reader = reader
            exchange.begin_answering()

    def _more(self, data: bytes) -> None:
        """More of a body whose head was forwarded before."""
        exchange, reader = self._exchange, self._reader
        assert reader is not None
        try:
            stop = reader.feed(data)
        except Refused as refused:
            exchange.fail(refused.failure, refused.detail)
            return
        if stop < len(data):
            data = data[:stop]
            self.reusable = False
        exchange.due = exchange.side.wheel.now + exchange.side.settings.stream_ticks
        exchange.stream.write(_payload(reader, data))
        if reader.done:
            exchange.answered(self.status)

    def _switch(self, head: ResponseHead) -> None:
        """101 (RFC 9110 section 7.8): the rest is the other protocol's."""
        exchange = self._exchange
        if not exchange.head.upgrade:
            raise Refused(BAD_RESPONSE, "101 for a request that asked for no upgrade (RFC 9110 section 15.2.2)")
        if not head.upgrade:
            raise Refused(BAD_RESPONSE, "101 that names no protocol (RFC 9110 section 7.8)")
        if head.upgrade not in [wish.strip(b" \t") for wish in exchange.head.upgrade.split(b",")]:
            raise Refused(BAD_RESPONSE, "101 to a protocol that was not asked for (RFC 9110 section 7.8)")
        self.status = 101
        insert, drop = exchange.side.answer(exchange, head) if exchange.served is not None else (b"", _NOTHING)
        exchange.stream.write(response_head(head, insert, drop))
        exchange.open_tunnel(head.data[head.end :])

    def forget(self) -> None:
        """The answer will not be completed."""
        self._held = b""


def _payload(reader: BodyReader | None, data: bytes) -> bytes:
    """What the client gets of body bytes: the bytes, or, when it cannot read chunks, what is in them."""
    if isinstance(reader, ChunkedReader) and reader.payload is not None:
        data = b"".join(reader.payload)
        reader.payload.clear()
    return data
