"""The asking half of an exchange: from the client's bytes to the upstream's.

    head -> decided -> sent, or held up -> more of the body -> the next head

Whether the body still arrives (`Passage.body`) is independent of the exchange's phase: an answer may begin before its
request has ended, and usually both are over in one read each. That usual case creates no object but the head.

Pipelined requests are answered strictly in turn: bytes that came ahead are held, up to `held_bytes`, then reading
pauses. That bound replaces a count of requests: what a client may make us keep is memory.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import BAD_REQUEST, Refused
from proxy.exchange.context import template_lines
from proxy.exchange.forwarded import append_peer
from proxy.exchange.passage import Passage
from proxy.exchange.phase import IDLE, TUNNEL
from proxy.exchange.plan import Plan
from proxy.exchange.relay import AHEAD
from proxy.exchange.way import Way
from proxy.wire.body import BodyReader, body_reader
from proxy.wire.edit import request_head
from proxy.wire.fields import field_lines, lines_of
from proxy.wire.framing import NO_BODY
from proxy.wire.head import RequestHead

FAIR_MESSAGES: Final = 8
"""Messages of one connection in one turn of the loop: a request that we answer ourselves takes 0.1 ms."""

FAIR_WORK: Final = 64 * 1024
"""What reading one connection's body may cost in one turn (`proxy.wire.body`), beyond the read that passes it."""

HOP_LINE: Final = b"skycap-hop: %b\r\n"
"""Last of the field lines, where the next sidecar finds it at no cost (`proxy.wire.head`)."""


class Request:
    """What the client sends. looping: requests that came ahead are begun one after the other."""

    __slots__ = ("_way", "looping")

    def __init__(self, way: Way) -> None:
        self._way = way
        self.looping = False

    def received(self, data: bytes) -> None:
        """Bytes from the client."""
        way = self._way
        if way.phase != IDLE:
            self._received_more(data)
            return
        side, passage = way.side, way.passage
        if way.held:
            held, way.held = way.held, b""
            if b"\n" not in data and len(held) + len(data) <= side.parser.limits.head_bytes:
                # No line has ended: nothing new to judge, and a head sent byte by byte costs no more than its lines.
                way.held = held + data
                return
            data = held + data
            fresh = False
        else:
            fresh = True
        passage.started = side.clock()
        try:
            head = side.parser.request(data)
            if head is None:
                if fresh:
                    way.arm(side.settings.header_ticks)
                way.held = data
                return
            passage.head = head
            data = head.data  # without empty lines in front
            plan = side.admit(passage, head)
            if side.forwarded:
                append_peer(passage, way.peer)
            stop = end = head.end
            if head.body != NO_BODY:
                stop = self._body_with_head(head, data)
                passage.request_bytes = stop - end
        except Refused as refused:
            way.fail(refused.failure, refused.detail, close=True)
            return
        ahead = stop != len(data)
        if ahead:
            way.held = data[stop:]
        passage.last = not head.keep_alive
        pool = plan.pool
        if pool is None or not pool.idle:
            if stop != end:
                passage.kept = data[end:stop]
            way.routed(plan)
            return
        passage.plan = plan
        passage.pool = pool
        side.counters.upstream_reused += 1
        if stop != end:
            passage.kept = data[end:stop] if stop - end <= side.settings.replay_bytes else None
        insert = plan.request.lines
        if insert is None or passage.fields:
            insert = added_lines(passage, plan)
        elif passage.template is not None:
            insert += (passage.template.lines or template_lines(passage.template)) % passage.filling
        if plan.chained and passage.hop:
            insert += HOP_LINE % passage.hop
        if not head.plain or passage.drop or head.authority or head.hop:
            data = request_head(head, insert, passage.drop, side.default_host) + data[end:stop]
        elif insert or head.cause is not None:
            data = data[: head.tail] + insert + data[end - 2 : stop]
        elif ahead:
            data = data[:stop]
        way.send(pool.idle.pop(), data)

    def rendered(self) -> bytes:
        """The request as its plan wants it, with what has come of its body."""
        passage = self._way.passage
        plan, kept = passage.plan, passage.kept
        assert plan is not None
        assert kept is not None
        side = self._way.side
        insert = added_lines(passage, plan)
        if plan.chained and passage.hop:
            insert += HOP_LINE % passage.hop
        return request_head(passage.head, insert, passage.drop, side.default_host) + kept

    def _body_with_head(self, head: RequestHead, data: bytes) -> int:
        """Where the part of the body ends that came with the head; the rest is to be followed. Raises Refused."""
        stop = head.end + head.body
        if head.body > 0 and stop <= len(data):
            return stop
        reader = body_reader(head.body, BAD_REQUEST)
        stop = reader.feed(data, head.end)
        if not reader.done:
            if self._way.ended:
                raise Refused(BAD_REQUEST, "the client has ended its connection inside the body (RFC 9112 section 8)")
            self._way.passage.body = reader
            self._way.heard = self._way.side.wheel.now
        if stop > 16 * head.end:
            head.data = data[: head.end]  # it is looked at again; what came with it is not, and may be large
        return stop

    def _received_more(self, data: bytes) -> None:
        """Bytes while a request is in hand."""
        way = self._way
        if way.tunnel is not None:
            way.passage.request_bytes += len(data)
            way.tunnel_up(data)
        elif way.phase > TUNNEL:
            return
        elif way.passage.body is not None:
            self._more(way.passage.body, data)
        else:
            self._hold(data)

    def _more(self, reader: BodyReader, data: bytes) -> None:
        """More of a body whose head was read before."""
        way = self._way
        try:
            stop = reader.feed(data)
        except Refused as refused:
            way.fail(refused.failure, refused.detail, close=True)
            return
        if reader.done:
            way.passage.body = None
        if stop != len(data):
            self._hold(data[stop:])
            data = data[:stop]
        way.send_more(data)
        if reader.work > FAIR_WORK:
            reader.work = 0
            way.wait_a_turn()

    def _hold(self, data: bytes) -> None:
        """Keep what came ahead of its turn."""
        way = self._way
        way.held += data
        if len(way.held) > way.side.settings.held_bytes:
            way.pause(AHEAD)

    def go_on(self) -> None:
        """Begin the requests that came ahead, in a loop: our own answers would otherwise call us recursively."""
        way = self._way
        self.looping = True
        share = FAIR_MESSAGES
        while way.phase == IDLE and way.held and not way.clogged:
            if not share:
                way.wait_a_turn()
                break
            share -= 1
            data, way.held = way.held, b""
            self.received(data)
            if way.held == data:
                break  # a head that is not complete
        self.looping = False
        # A head that is in its turn has the limit of heads, not the one of what comes ahead.
        if way.paused & AHEAD and (way.phase == IDLE or len(way.held) <= way.side.settings.held_bytes):
            way.resume(AHEAD)


def added_lines(passage: Passage, plan: Plan) -> bytes:
    """The field lines that a request gets: its plan's, its trace context, and what else is its own."""
    lines = field_lines(plan.request)
    if passage.template is not None:
        lines += template_lines(passage.template) % passage.filling
    return lines + lines_of(passage.fields)
