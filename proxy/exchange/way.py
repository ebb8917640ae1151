"""A request's way to an upstream, whatever protocol it came by: held up for a route, dialling, sent, let go.

    routed ──▶ held up ──route, or time is over──▶ routed
           ├─▶ a connection of the pool, or a dial ──connected──▶ send ──▶ send_more ...
           │                                  └─fails─▶ the next endpoint, the plan's fallback, or our own answer
           └─▶ our own answer

What comes of the request's body before an upstream is there is kept, and sent with the head. What was sent is kept
until the answer begins, up to `replay_bytes`, so that it can be sent once more.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from proxy.errors import Failure, Refused
from proxy.exchange.passage import Passage
from proxy.exchange.phase import ANSWERING, IDLE, ROUTING, TUNNEL, WAITING
from proxy.exchange.plan import FAULT, HOLD, LATE, POOLS, REPLY, RULED, Plan, Reply
from proxy.exchange.ports import Pool, Receiver, Stream, Upstream
from proxy.exchange.relay import AHEAD, FULL, TURN, Relay
from proxy.exchange.ruled import chosen, whole_reply
from proxy.exchange.settings import TICK_SECONDS
from proxy.exchange.side import Side
from proxy.exchange.tunnel import BULK_BYTES
from proxy.wire.body import BodyReader, LengthReader
from proxy.wire.chunked import LASTS, NO_LINE

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110 section 9.2.2."""


class Way(Relay):
    """A relay of requests.

    passage:    the one in hand.
    answer:     where the upstream's bytes go.
    peer:       the client's address, where its side wants to have it forwarded.
    heard:      the tick at which something of a request's body came last.
    """

    __slots__ = ("answer", "heard", "passage", "peer")

    answer: Receiver

    def __init__(self, side: Side, stream: Stream) -> None:
        super().__init__(side, stream, IDLE)
        self.passage = Passage()
        self.peer = b""
        self.heard = 0

    @abstractmethod
    def connected(self, upstream: Upstream) -> None:
        """There is a connection, dialled or from the pool: `send` the request in the form that this protocol has."""

    @abstractmethod
    def answered(self, status: int) -> None:
        """The answer has been forwarded as a whole."""

    @abstractmethod
    def turn_came(self) -> None:
        """What was put off goes on."""

    @abstractmethod
    def fail(self, failure: Failure, detail: str, *, close: bool = False) -> None:
        """Answer the request ourselves, or cut the connection when the application's answer has begun.

        close: the request cannot be read to its end, so that no other can follow it.
        """

    @abstractmethod
    def reply(self, reply: Reply) -> None:
        """Answer the request ourselves, with what its plan says."""

    @abstractmethod
    def cut(self, how: str = "cut") -> None:
        """End it so that the client cannot take what it got, if anything, for the whole answer. how: for its hop."""

    # -- to an upstream -------------------------------------------------------------------------------------------

    def routed(self, plan: Plan) -> None:
        """Carry out a plan: a first one, or the one that follows a change of the table or a failure."""
        passage, side = self.passage, self.side
        before, passage.plan = passage.plan, plan
        if plan.outcome == POOLS:
            side.waiters.discard(self)
            passage.attempt = 0
            self._acquire(plan.next_pool(0))
        elif plan.outcome == HOLD:
            if before is None or before.action is not plan.action:  # else its time has begun
                side.waiters.add(self)
                self.phase = ROUTING
                self.arm(plan.wait)
        elif plan.outcome == FAULT:
            self.fail(plan.failure, plan.detail)
        else:
            self._follow(plan)

    def _follow(self, plan: Plan) -> None:
        """It is answered here, or its key has rules of its own."""
        side, passage = self.side, self.passage
        if plan.outcome == REPLY:
            try:
                reply = whole_reply(plan, passage, side)
            except Refused as refused:
                self.fail(refused.failure, refused.detail)
                return
            self.reply(reply)
        elif plan.outcome == RULED:
            self.routed(chosen(plan, passage, side))
        elif plan.outcome == LATE:
            self.phase = ROUTING
            self.arm(plan.wait)
        else:
            side.counters.failures[plan.failure.code] += 1
            self.cut(plan.failure.code)

    def _acquire(self, pool: Pool) -> None:
        self.passage.pool = pool
        if pool.idle and self.passage.head.method != b"CONNECT":  # a tunnel begins on a connection of its own
            self.side.counters.upstream_reused += 1
            self.connected(pool.idle.pop())
        else:
            self._dial(pool)

    def _dial(self, pool: Pool) -> None:
        self.phase = ROUTING
        self.arm(self.side.settings.connect_ticks)
        pool.dial(self)

    def dial_failed(self, reason: str) -> None:
        """The endpoint does not accept: try the next one, then say so. `reason` is a phrase: `connection refused`."""
        self.side.counters.upstream_dial_failures += 1
        passage = self.passage
        plan = passage.plan
        assert plan is not None
        passage.attempt += 1
        if passage.attempt < len(plan.pools):
            self._acquire(plan.next_pool(passage.attempt))
        elif plan.fallback is not None:
            self.routed(plan.fallback)
        else:
            self.fail(plan.failure, f"{plan.detail}: {reason}")

    def dial_refused(self, failure: Failure, detail: str) -> None:
        """The fault is ours, and no endpoint is unreachable: neither the next one nor the baseline is asked instead."""
        self.fail(failure, detail)

    def waited(self) -> None:
        """The time for a route, or for a connection, is over."""
        timeouts, plan = self.side.counters.timeouts, self.passage.plan
        assert plan is not None
        if plan.outcome == LATE:
            assert plan.fallback is not None
            self.routed(self.side.later(plan.fallback))
            return
        if self not in self.side.waiters:
            timeouts["connect"] += 1
            self.stop_waiting()
            self.dial_failed("no connection in time")
            return
        timeouts["hold"] += 1
        if plan.fallback is not None:
            self.routed(plan.fallback)
        else:
            self.fail(plan.failure, plan.detail)

    def stop_waiting(self) -> None:
        """Neither for a route nor for a dial."""
        self.side.waiters.discard(self)
        if self.passage.pool is not None:
            self.passage.pool.forget(self)

    # -- on the way -----------------------------------------------------------------------------------------------

    def send(self, upstream: Upstream, data: bytes) -> None:
        """A connection is ours. data: what there is of the request, as it is forwarded."""
        side, passage = self.side, self.passage
        settings = side.settings
        upstream.borrower = self
        self.upstream = upstream
        self.phase = WAITING
        ticks = settings.response_ticks if passage.body is None else self._patience(passage.body)
        self.due = due = side.wheel.now + ticks
        if due < self.slot:
            side.wheel.arm(self)
        upstream.stream.write(data)
        if self.ended:
            self.pass_end_on()
        if passage.kept and len(passage.kept) > settings.replay_bytes:
            passage.kept = None
        if self.clogged:
            upstream.stream.pause_reading()
        if self.paused & AHEAD and len(self.held) <= settings.held_bytes:
            self.resume(AHEAD)
        if passage.body is not None and passage.kept is None:
            self._splice_request(passage.body)

    def send_more(self, data: bytes) -> None:
        """More of the request's body."""
        side, passage = self.side, self.passage
        kept = passage.kept
        limit = side.settings.replay_bytes
        passage.request_bytes += len(data)
        self.heard = side.wheel.now
        if self.upstream is None:
            assert kept is not None
            passage.kept = kept + data
            if len(kept) + len(data) > limit:
                self.pause(AHEAD)
            return
        if kept is not None:
            passage.kept = kept + data if len(kept) + len(data) <= limit else None
        if self.phase == WAITING and (passage.body is None or passage.body.line != LASTS):
            self.arm(side.settings.response_ticks if passage.body is None else self._patience(passage.body))
        self.upstream.stream.write(data)
        if passage.body is not None and passage.kept is None and len(data) >= BULK_BYTES:
            self._splice_request(passage.body)

    def _patience(self, body: BodyReader) -> int:
        """Ticks until more of the request's content has to be here. Silence is not the only slowness: a byte now and
        then would hold two connections for ever."""
        settings = self.side.settings
        if body.line != NO_LINE:
            return settings.header_ticks
        if not settings.upload_rate:
            return settings.stream_ticks
        seconds = self.passage.request_bytes / settings.upload_rate + self.passage.started - self.side.clock()
        return max(1, min(settings.stream_ticks, settings.response_ticks + int(seconds / TICK_SECONDS)))

    def pass_end_on(self) -> None:
        """The client has ended its side, and this is its last request: whether it has gone or only says no more, the
        application has to see for itself, as it would without us. Its connection is not lent again."""
        if self.upstream is not None and self.passage.body is None and b"\r\n\r\n" not in self.held:
            self.passage.reusable = False
            if not self.upstream.stream.is_closing():
                self.upstream.stream.write_eof()

    def begin_answering(self) -> None:
        """The answer's head has been forwarded, its body goes on."""
        self.phase = ANSWERING
        self.arm(self.side.settings.stream_ticks)

    # -- large bodies, which nobody reads ---------------------------------------------------------------------------

    def _splice_request(self, body: BodyReader) -> None:
        """The rest of the request's body. Not before it is too long to be sent again, which it cannot be then."""
        if isinstance(body, LengthReader) and body.left >= self.side.settings.splice_bytes:
            self.splice_up(body.left)

    def splice_answer(self, body: BodyReader) -> None:
        """The rest of the answer's body, if it is worth it. One that is captured or changed has to be read."""
        if (
            self.passage.capture is None
            and self.passage.rewriter is None
            and isinstance(body, LengthReader)
            and body.left >= self.side.settings.splice_bytes
        ):
            self.splice_down(body.left)

    def moved_up(self, count: int) -> None:
        passage = self.passage
        passage.request_bytes += count
        if isinstance(passage.body, LengthReader):
            passage.body.skip(count)
        if self.phase == WAITING and passage.body is not None:
            self.arm(self._patience(passage.body))
        elif self.phase != ANSWERING:
            super().moved_up(count)

    def moved_down(self, count: int) -> None:
        passage = self.passage
        passage.answer_bytes += count
        if isinstance(passage.answer_body, LengthReader):
            passage.answer_body.skip(count)
        super().moved_down(count)

    def spliced_up(self) -> None:
        passage = self.passage
        if passage.body is not None and passage.body.done:
            passage.body = None
            if self.phase == WAITING:
                self.arm(self.side.settings.response_ticks)

    def spliced_down(self, *, behind: bool) -> None:
        passage = self.passage
        if passage.answer_body is not None and passage.answer_body.done:
            passage.answer_body = None
            if behind:
                passage.reusable = False  # bytes behind the answer: their sender is confused
            self.answered(passage.status)

    def upstream_refuses(self) -> None:
        """An answer may lie there that was given before, and behind it is the loss."""
        if self.tunnel is not None:
            self.upstream_failed()
            return
        assert self.upstream is not None
        self.upstream.broken = True

    def try_again(self, upstream: Upstream) -> bool:
        """Send the request on a fresh connection, when this one may have been closed while we wrote: the request is as
        good as new then. False: it must not be (RFC 9110 section 9.2.2): once, automatically, only what is idempotent
        and still kept whole."""
        passage = self.passage
        if upstream.reused and passage.pool is not None and not passage.partial:
            passage.pool.dead(upstream)
        if (
            not upstream.reused
            or passage.kept is None
            or passage.retried
            or passage.head.method not in IDEMPOTENT
            or passage.pool is None
        ):
            return False
        self.side.counters.upstream_retries += 1
        passage.retried = True
        self._dial(passage.pool)
        return True

    def wait_a_turn(self) -> None:
        """The client has had its share of this turn of the loop."""
        if not self.paused & TURN:
            self.pause(TURN)
            self.side.wheel.soon(self.turn_came)

    # -- off it ---------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """Let go of the upstream in the middle of an answer, with a reset: the sidecar or the application at its other
        end may take an end for half of one (RFC 9112 section 9.6), and would go on with what is not wanted any more."""
        upstream = self.upstream
        if upstream is None or self.phase == TUNNEL:
            self.release(reuse=False)
            return
        self.stop_splices()
        upstream.borrower = None
        self.upstream = None
        self.resume(FULL)
        self.side.reset(upstream.stream)

    def release(self, *, reuse: bool) -> None:
        """Let go of the upstream: back to its pool, or closed."""
        self.stop_splices()
        upstream, self.upstream = self.upstream, None
        if upstream is None:
            return
        upstream.borrower = None
        full = self.paused & FULL
        self.resume(FULL)
        if self.phase == TUNNEL or (full and reuse):
            # It has not taken all of what it was sent. It gets the time of an idle connection for that.
            wheel = self.side.wheel
            upstream.due = wheel.now + self.side.settings.idle_ticks
            wheel.arm(upstream)
            upstream.stream.close()
        elif not reuse:
            upstream.stream.abort()
        else:
            if self.clogged:
                upstream.stream.resume_reading()
            assert self.passage.pool is not None
            self.passage.pool.give(upstream, self.passage.idle_seconds, self.passage.rests)
