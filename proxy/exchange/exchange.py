"""One client connection's requests, one after the other, each with its answer (its phases: `proxy.exchange.phase`).

An exchange has two halves, `Request` (what the client sends) and `Answer` (what the upstream sends), and one `Passage`,
the request in hand. Here is what concerns both: how a request ends, well or not, what follows it, and how the
connection ends.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.errors import APP_TIMEOUT, CLIENT_ENDED, CONTENT_TIMEOUT, DRAINING, HEADER_TIMEOUT, UPSTREAM_RESET, Failure
from proxy.exchange.answer import Answer
from proxy.exchange.passage import NO_HEAD, NOTHING
from proxy.exchange.phase import ANSWERING, CLOSED, IDLE, LINGER, PHASES, ROUTING, TUNNEL, WAITING
from proxy.exchange.plan import Reply
from proxy.exchange.ports import Stream, Upstream
from proxy.exchange.relay import AHEAD, CLOGGED, FULL, TURN
from proxy.exchange.request import Request
from proxy.exchange.side import Side
from proxy.exchange.way import Way
from proxy.routing.captures import ERRORS
from proxy.wire.body import CloseReader
from proxy.wire.replies import CONNECTED, problem, reply_head


class Exchange(Way):
    """One client connection. `stream` is the way back to the client; what the client sends goes to
    `request.received`, its end to `client_eof` and `client_lost`; what the upstream sends to `answer.received`.

    through: takes over behind the 200 to CONNECT, with the connection that was made: it looks what the client speaks.
             Without it, and for a client that has ended or is full, the two connections are joined unread."""

    __slots__ = ("request", "through")

    def __init__(self, side: Side, stream: Stream) -> None:
        super().__init__(side, stream)
        self.request = Request(self)
        self.through: Callable[[Upstream], None] | None = None
        self.answer = Answer(self)
        self.arm(side.settings.idle_ticks)

    def __repr__(self) -> str:
        passage = self.passage
        what = f" {passage.head!r} {passage.plan!r}" if passage.plan is not None else ""
        return f"<Exchange {PHASES[self.phase]}{what} held={len(self.held)} paused={self.paused}>"

    def connected(self, upstream: Upstream) -> None:
        if self.passage.head.method == b"CONNECT" and self.side.default_pool is None:
            self._connected_through(upstream)
        else:
            self.send(upstream, self.request.rendered())

    def _connected_through(self, upstream: Upstream) -> None:
        """CONNECT is asked of us: we are the proxy."""
        self.passage.status = 200
        self.stream.write(CONNECTED)
        if self.through is not None and not self.ended and not self.clogged:
            self.through(upstream)
            return
        upstream.borrower = self
        self.upstream = upstream
        if self.clogged:
            upstream.stream.pause_reading()
        self.open_tunnel(b"")

    def handed_over(self) -> bytes:
        """Another one serves this connection from now on. Returns what the client has sent by now."""
        held, self.held = self.held, b""
        self.side.settled(self.passage, self.passage.status, "")
        self.resume(AHEAD)
        self._closed()
        return held

    # -- the end of a request, good or bad ------------------------------------------------------------------------

    def answered(self, status: int) -> None:
        passage, upstream = self.passage, self.upstream
        if passage.reusable and passage.body is None and not self.paused and not self.clogged:
            assert upstream is not None
            assert passage.pool is not None
            upstream.borrower = None
            self.upstream = None
            passage.pool.give(upstream, passage.idle_seconds, passage.rests)
        else:
            self.release(reuse=passage.reusable and passage.body is None)
        self.side.settled(passage, status, "")
        self._settle()

    def fail(self, failure: Failure, detail: str, *, close: bool = False) -> None:
        side, passage, plan = self.side, self.passage, self.passage.plan
        self.abandon()
        if self.phase == ROUTING:
            self.stop_waiting()
        passage.partial = b""
        side.counters.failures[failure.code] += 1
        if self.phase == ANSWERING:
            self.cut()
            return
        # A client of HTTP/1.0 that is not told that its connection is kept waits for the end.
        passage.last = passage.last or close or passage.body is not None or side.draining or passage.head.http10
        sandbox = plan.sandbox if plan is not None else ""
        fields = side.error_fields(passage, failure.code)
        head, body = problem(
            failure, detail, workload=side.workload, sandbox=sandbox, close=passage.last, fields=fields
        )
        self.stream.write(head if passage.head.method == b"HEAD" else head + body)
        if passage.hop and plan is not None and side.hops is not None:
            side.hops.answered_here(passage, head, body)
        side.settled(passage, failure.status, failure.code)
        if close:
            self._linger()
        else:
            self._settle()

    def reply(self, reply: Reply) -> None:
        side, passage = self.side, self.passage
        passage.last = passage.last or passage.body is not None or side.draining or passage.head.http10
        head = reply_head(reply.status, reply.fields, len(reply.body), close=passage.last)
        self.stream.write(head if passage.head.method == b"HEAD" else head + reply.body)
        passage.answer_bytes = len(reply.body)
        if passage.hop and side.hops is not None and reply.status >= ERRORS:
            side.hops.answered_here(passage, head, reply.body)
        side.settled(passage, reply.status, "")
        self._settle()

    def cut(self, how: str = "cut") -> None:
        """End the client's connection so that it cannot take what it got for the whole answer."""
        self.abandon()
        self.side.settled(self.passage, self.passage.status, how)
        self._closed()
        # Behind an answer without a length an orderly end would look like that of the answer.
        self.side.reset(self.stream)

    def _tunnel_over(self) -> None:
        self.release(reuse=False)
        self.side.settled(self.passage, self.passage.status, "")
        self._close()

    # -- the ends of the two connections, deadlines ---------------------------------------------------------------

    def upstream_lost(self, *, error: bool) -> None:
        self.stop_splices()
        upstream, self.upstream = self.upstream, None
        self.resume(FULL)
        if self.phase == TUNNEL:
            self._tunnel_over()
        elif self.phase == ANSWERING:
            if isinstance(self.passage.answer_body, CloseReader) and not error:
                if self.passage.rewriter is not None:
                    self.stream.write(self.passage.rewriter.feed(b"", last=True))
                self.answered(self.passage.status)
            else:
                self.side.counters.failures["answer-truncated"] += 1
                self.cut()
        elif upstream is None or not self.try_again(upstream):
            how = "reset" if error else "closed"
            failure = CLIENT_ENDED if self.ended and not error else UPSTREAM_RESET
            self.fail(failure, f"the connection was {how} before the answer's head was complete")

    def client_eof(self) -> bool:
        """The client sends no more. True: keep the way back open, because an answer is still to come
        (RFC 9112 section 9.6 calls a half-close legal)."""
        if self.tunnel is not None:
            self.ended = True
            return self.tunnel.client_eof()
        before, self.ended = self.ended, True
        if self.phase == IDLE:
            return bool(self.paused & (TURN | CLOGGED) and self.held)
        if self.phase in (LINGER, CLOSED):
            return False
        if self.passage.body is not None:
            self.side.counters.failures["client-truncated"] += 1
            return False
        if not before:  # the loop may say it again, when it reads on
            if self.upstream is not None:
                self.passage.kept = None  # an upstream that ends now does so because of that
            self.pass_end_on()
        return True

    def client_lost(self) -> None:
        """The connection to the client is gone."""
        phase = self.phase
        if phase == CLOSED:
            self.side.wheel.disarm(self)
            return
        if phase == ROUTING:
            self.stop_waiting()
        self.abandon()
        if phase == TUNNEL:
            self.side.settled(self.passage, self.passage.status, "")  # however it ends, it has done its work
        elif ROUTING <= phase < TUNNEL:
            self.side.settled(self.passage, self.passage.status, "client-lost")
        self._closed()

    def expired(self) -> None:
        timeouts = self.side.counters.timeouts
        if self.phase == IDLE and self.held and not self.clogged:
            timeouts["header"] += 1
            self.fail(HEADER_TIMEOUT, "the request head was not complete in time", close=True)
        elif self.phase == IDLE:
            timeouts["idle"] += 1
            self._close()
        elif self.phase == ROUTING:
            self.waited()
        elif self.phase == WAITING:
            if self.passage.body is not None:
                timeouts["body"] += 1
                self.fail(CONTENT_TIMEOUT, "the request's content did not arrive in time", close=True)
            else:
                timeouts["response"] += 1
                self.fail(APP_TIMEOUT, "no answer in time")
        elif self.phase == ANSWERING:
            timeouts["body"] += 1
            self.cut()
        elif self.phase == TUNNEL:
            timeouts["tunnel"] += 1
            if self.stop_splices() and self.upstream is not None:
                # Behind what is missing, an orderly end would look like one of the whole.
                self.side.reset(self.upstream.stream)
                self.side.reset(self.stream)
            self._tunnel_over()
        elif self.phase == LINGER:
            self._close()
        else:
            self.side.reset(self.stream)  # closed, but what was written for it has not been taken

    def drain(self, *, last_call: bool) -> None:
        """The sidecar is about to end: from now on every answer announces it. With `last_call` connections that
        still carry nothing are closed."""
        if self in self.side.waiters:
            self.fail(DRAINING, "the sidecar is shutting down")
        elif last_call and self.phase == IDLE and not self.held:
            self._close()

    # -- what follows a request -----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Get ready for the next request, or end the connection."""
        passage = self.passage
        passage.head = NO_HEAD
        passage.plan = None
        passage.template = None
        passage.filling = ()
        passage.fields = ()
        passage.drop = NOTHING
        passage.retried = False
        passage.kept = b""
        passage.status = passage.request_bytes = passage.answer_bytes = 0
        if passage.body is not None or (passage.last and self.held):
            self._linger()
        elif passage.last or (self.ended and not self.held):
            self._close()
        else:
            self.phase = IDLE
            wheel = self.side.wheel
            self.due = due = wheel.now + self.side.settings.idle_ticks
            if due < self.slot:
                wheel.arm(self)
            if self.clogged:
                self.pause(CLOGGED)
            elif (self.held or self.paused) and not self.request.looping:
                self._next()

    def _next(self) -> None:
        """What came ahead is in its turn."""
        self.request.go_on()
        if self.ended and self.phase == IDLE and not self.paused & (TURN | CLOGGED):
            self._close()

    def client_drained(self) -> None:
        super().client_drained()
        if self.paused & CLOGGED and self.phase != CLOSED:
            self.resume(CLOGGED)
            self._next()

    def turn_came(self) -> None:
        if self.phase == CLOSED:
            return
        self.resume(TURN)
        if self.phase == IDLE and not self.clogged:
            self._next()

    def _linger(self) -> None:
        """Our half is closed; discard what still comes, so that the client reads the answer and not a reset."""
        if self.ended:
            self._close()
            return
        self.phase = LINGER
        self.passage.body = None
        self.held = b""
        self.arm(self.side.settings.linger_ticks)
        self.stream.write_eof()
        self.resume(AHEAD)

    def _close(self) -> None:
        """Close when the client has taken what was written for it, for which it has the time of an idle connection."""
        self._emptied()
        self.arm(self.side.settings.idle_ticks)
        self.stream.close()

    def _closed(self) -> None:
        self._emptied()
        self.due = 0
        self.side.wheel.disarm(self)

    def _emptied(self) -> None:
        self.phase = CLOSED
        self.held = b""
        self.passage.kept = None
        self.passage.body = None
