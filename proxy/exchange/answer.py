"""The answering half of an exchange: from the upstream's bytes to the client's.

    head (1xx ... final) -> body -> `Way.answered`

The usual answer comes in one read: its head is looked at once and head and body leave in one write, as the bytes
that came when nothing has to change. A reader for the body exists only when there is more to come.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import BAD_RESPONSE, Refused
from proxy.exchange.caching import CACHING, UNCACHED_LINES
from proxy.exchange.passage import NOTHING, Passage
from proxy.exchange.phase import ANSWERING, WAITING
from proxy.exchange.ports import Upstream
from proxy.exchange.request import FAIR_MESSAGES, FAIR_WORK
from proxy.exchange.tunnel import BULK_BYTES
from proxy.exchange.way import Way
from proxy.routing.captures import ERRORS
from proxy.wire.body import BodyReader, body_reader
from proxy.wire.chunked import BEGUN, NO_LINE, ChunkedReader
from proxy.wire.edit import CONNECTION, OURS, response_head
from proxy.wire.fields import field_lines
from proxy.wire.framing import NO_BODY, UNTIL_CLOSE
from proxy.wire.head import ResponseHead

_UNCACHED: Final = UNCACHED_LINES.removeprefix(b"\r\n")
_NOT_FOR_10: Final = CONNECTION | {b"transfer-encoding", b"trailer"}


_NOT_IN_CONNECT: Final = frozenset({b"content-length", b"transfer-encoding"})
"""RFC 9110 section 9.3.6: a client ignores them in a 2xx, and somebody behind it may not."""

_HAVE_CONTENT: Final = frozenset(
    {
        b"POST", b"PUT", b"PATCH", b"QUERY", b"ACL", b"LABEL", b"LOCK", b"MERGE", b"MKACTIVITY", b"MKCALENDAR",
        b"MKCOL", b"MKWORKSPACE", b"ORDERPATCH", b"PROPFIND", b"PROPPATCH", b"REPORT", b"SEARCH", b"UPDATE",
        b"VERSION-CONTROL",
    }
)  # fmt: skip
"""Methods whose content has a meaning (RFC 9110 section 9.3, and the registered ones of WebDAV). That of GET, HEAD,
DELETE, OPTIONS has none, many applications leave it unread on the connection, and read it as the next request."""


class Answer:
    """What the upstream sends."""

    __slots__ = ("_waits", "_way")

    def __init__(self, way: Way) -> None:
        self._way = way
        self._waits: Upstream | None = None

    def received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        way = self._way
        if way.phase != WAITING:
            self._received_more(data)
            return
        passage = way.passage
        if way.side.hops is not None and passage.hop and passage.kept:
            passage.asked = passage.kept
        passage.kept = None  # an answer has begun: never send the request again
        partial = passage.partial
        if partial:
            data = partial + data
            if data.find(b"\n", len(partial)) < 0 and len(data) <= way.side.parser.limits.head_bytes:
                # As in the request: nothing new to judge before a line has ended.
                passage.partial = data
                return
            passage.partial = b""
        try:
            head = way.side.parser.response(data, passage.head.method)
            if head is not None and head.status < 200:
                head = self._interim(head)
            elif head is None:
                passage.partial = data
            if head is not None:
                self._forward(head)
        except Refused as refused:
            way.fail(refused.failure, refused.detail)

    def _received_more(self, data: bytes) -> None:
        way = self._way
        if way.phase == ANSWERING:
            self._more(data)
        else:
            way.passage.answer_bytes += len(data)
            way.tunnel_down(data)

    def _interim(self, head: ResponseHead | None) -> ResponseHead | None:
        """Pass interim answers on (RFC 9110 section 15.2). Returns the final head, None when it has not come."""
        way = self._way
        share = FAIR_MESSAGES
        while head is not None and head.status < 200:
            if head.status == 101:
                self._switch(head)
                return None
            if not way.passage.head.http10:
                way.stream.write(response_head(head, b"", OURS if head.claims else NOTHING))
            data = head.data[head.end :]
            share -= 1
            if not share and data:
                way.passage.partial = data
                self._wait_a_turn()
                return None
            head = way.side.parser.response(data, way.passage.head.method) if data else None
            if head is None:
                way.passage.partial = data
        return head

    def _forward(self, head: ResponseHead) -> None:
        """Send the final head and as much of the body as came with it."""
        way = self._way
        side, passage = way.side, way.passage
        request = passage.head
        data = head.data  # not what came, if it had to be repaired
        size = len(data)
        side.has_answer = True
        passage.status = head.status
        passage.reusable = head.keep_alive and not way.ended
        passage.rests = False
        if head.body == NO_BODY or request.body != NO_BODY:
            if request.method == b"CONNECT" and head.status < 300:
                self._join(head)
                return
            self._doubt(head)
        passage.idle_seconds = head.idle
        insert, drop = b"", NOTHING
        if passage.told or head.claims:
            added, drop = side.answer(passage, head)
            insert = field_lines(added) if added.lines is None else added.lines
            # `find`: for `in`, bytes are first asked whether they are a number, which costs as much again.
            if passage.told and side.settings.uncached and head.low.find(UNCACHED_LINES) < 0:
                insert += _UNCACHED
                if head.low.find(b"-control:") > 0 or head.low.find(b"expires:") > 0:
                    drop |= CACHING
        if passage.rewriter is not None:
            insert += b"transfer-encoding: chunked\r\n"
        reader = None
        stop = head.end
        if head.body > 0 and size - stop >= head.body:
            stop += head.body
        elif head.body != NO_BODY:
            reader = body_reader(head.body, BAD_RESPONSE, padded=True)
            if isinstance(reader, ChunkedReader) and (request.http10 or passage.rewriter is not None):
                reader.payload = []
                # RFC 9112 section 6.1: it gets the payload, and the connection's end as its end
                passage.last = passage.last or request.http10
            stop = reader.feed(data, stop)
        passage.answer_bytes = stop - head.end
        if side.hops is not None and passage.hop:
            passage.first_byte = side.clock()
            if head.status >= ERRORS or side.hops.captures.special:
                side.hops.answered(passage, head, stop, failed=head.status >= ERRORS)
        if stop < size:
            passage.reusable = False  # bytes behind the answer: their sender is confused
        if side.draining or passage.body is not None or head.body == UNTIL_CLOSE:
            passage.last = True
        if passage.last:
            insert += b"connection: close\r\n"
            drop |= _NOT_FOR_10 if request.http10 else CONNECTION
        elif request.http10:
            insert += b"connection: keep-alive\r\n"
            drop |= _NOT_FOR_10
        if insert and head.plain and not drop and not head.hop:
            end = head.end - 2
            data = data[:end] + insert + data[end:stop]
        elif insert or drop or head.hop or head.http10:
            data = response_head(head, insert, drop) + _payload(passage, reader, data[head.end : stop])
        elif stop < size:
            data = data[:stop]
        way.stream.write(data)
        if reader is None or reader.done:
            way.answered(head.status)
        else:
            passage.answer_body = reader
            way.begin_answering()
            way.splice_answer(reader)

    def _wait_a_turn(self) -> None:
        """The upstream has had its share of this turn of the loop."""
        upstream = self._way.upstream
        assert upstream is not None
        upstream.stream.pause_reading()
        if self._waits is None:
            self._way.side.wheel.soon(self._turn_came)
        self._waits = upstream

    def _turn_came(self) -> None:
        way, passage = self._way, self._way.passage
        upstream, self._waits = self._waits, None
        if upstream is None or way.upstream is not upstream or way.clogged or way.down is not None:
            return  # it goes on when the client has taken what it has got
        upstream.stream.resume_reading()
        if way.phase == WAITING and passage.partial:
            partial, passage.partial = passage.partial, b""
            self.received(partial)

    def _doubt(self, head: ResponseHead) -> None:
        """Is the upstream's connection where we believe it to be? An application that overlooks what the message says
        of itself is out of step with us, and the next request or answer on it would be somebody else's."""
        passage = self._way.passage
        method = passage.head.method
        if method == b"HEAD" or (passage.head.body != NO_BODY and method not in _HAVE_CONTENT):
            passage.reusable = False
        elif head.status in (204, 304):
            passage.rests = True

    def _more(self, data: bytes) -> None:
        """More of a body whose head was forwarded before."""
        way = self._way
        passage, reader = way.passage, way.passage.answer_body
        assert reader is not None
        if way.down is not None:
            return  # left behind by an upstream that was reset: what is before it is still in the kernel
        try:
            stop = reader.feed(data)
        except Refused as refused:
            way.fail(refused.failure, refused.detail)
            return
        if stop < len(data):
            data = data[:stop]
            passage.reusable = False
        passage.answer_bytes += len(data)
        if passage.capture is not None and way.side.hops is not None:
            way.side.hops.more(passage.capture, data)
        if reader.line == NO_LINE:
            way.due = way.side.wheel.now + way.side.settings.stream_ticks
        elif reader.line == BEGUN:
            way.arm(way.side.settings.header_ticks)
        way.stream.write(_payload(passage, reader, data))
        if reader.done:
            passage.answer_body = None
            way.answered(passage.status)
        elif reader.work > FAIR_WORK:
            reader.work = 0
            self._wait_a_turn()
        elif len(data) >= BULK_BYTES:
            way.splice_answer(reader)

    def _switch(self, head: ResponseHead) -> None:
        """101 (RFC 9110 section 7.8): the rest is the other protocol's."""
        way, passage = self._way, self._way.passage
        wished = passage.head.upgrade
        if not wished:
            raise Refused(BAD_RESPONSE, "101 for a request that asked for no upgrade (RFC 9110 section 15.2.2)")
        if not head.upgrade:
            raise Refused(BAD_RESPONSE, "101 that names no protocol (RFC 9110 section 7.8)")
        # It lists layers in ascending order, of which one was wished for, perhaps without a version.
        if _protocols(wished).isdisjoint(_protocols(head.upgrade)) or b"h2c" in _protocols(head.upgrade):
            raise Refused(BAD_RESPONSE, "101 to a protocol that was not asked for (RFC 9110 section 7.8)")
        way.side.has_answer = True
        passage.status = 101
        insert, drop = b"", NOTHING
        if passage.told or head.claims:
            added, drop = way.side.answer(passage, head)
            insert = field_lines(added)
        way.stream.write(response_head(head, insert, drop))
        way.open_tunnel(head.data[head.end :])

    def _join(self, head: ResponseHead) -> None:
        """2xx to a CONNECT that was asked of another proxy (RFC 9110 section 9.3.6): the rest is bytes."""
        way, passage = self._way, self._way.passage
        insert, drop = b"", _NOT_IN_CONNECT
        if passage.told or head.claims:
            added, more = way.side.answer(passage, head)
            insert, drop = field_lines(added), drop | more
        way.stream.write(response_head(head, insert, drop))
        way.open_tunnel(head.data[head.end :])


def _protocols(field: bytes) -> frozenset[bytes]:
    """The names in an `upgrade` field, lower case, without versions."""
    return frozenset(member.partition(b"/")[0].strip(b" \t") for member in field.split(b","))


def _payload(passage: Passage, reader: BodyReader | None, data: bytes) -> bytes:
    """What the client gets of body bytes: the bytes, or, when it cannot read chunks, what is in them; or what a
    rewriter makes of it."""
    if isinstance(reader, ChunkedReader) and reader.payload is not None:
        data = b"".join(reader.payload)
        reader.payload.clear()
    if passage.rewriter is not None:
        data = passage.rewriter.feed(data, last=reader is None or reader.done)
    return data
