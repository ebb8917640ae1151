"""One client connection's requests, one after the other, each with its answer (its phases: `proxy.exchange.phase`).

Whether the request's body still arrives (`request_body`) is independent of the phase: an answer may begin before its
request has ended, and usually both are over in one read each. That usual case creates no object but the two heads.

One exchange object serves a connection for its life; the fields of a request are set anew in `_begin`. Pipelined
requests are answered strictly in turn: bytes that came ahead are held, up to `held_bytes`, then reading pauses. That
bound replaces a count of requests: what a client may make us keep is memory.
"""

from __future__ import annotations

from proxy.errors import (
    APP_TIMEOUT,
    BAD_REQUEST,
    DRAINING,
    HEADER_TIMEOUT,
    UPSTREAM_RESET,
    Failure,
    Refused,
)
from proxy.exchange.answer import Answer
from proxy.exchange.phase import ANSWERING, CLOSED, IDLE, LINGER, PHASES, ROUTING, TUNNEL, WAITING
from proxy.exchange.plan import Plan
from proxy.exchange.ports import Pool, Stream, Upstream
from proxy.exchange.side import Side
from proxy.exchange.tunnel import Tunnel
from proxy.routing.correlation import Served
from proxy.routing.decision import Action
from proxy.routing.served import NAME, error_item
from proxy.wire.body import BodyReader, body_reader
from proxy.wire.edit import request_head
from proxy.wire.framing import NO_BODY
from proxy.wire.head import RequestHead
from proxy.wire.replies import CONNECTED, problem

AHEAD = 1
"""Reading is paused because too much came ahead of its turn."""
FULL = 2
"""Reading is paused because the upstream takes no more."""

FAR = 1 << 62
"""A tick that never comes."""

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110 section 9.2.2."""

NOTHING: frozenset[bytes] = frozenset()
NO_IDS: list[bytes] = []
NO_HEAD = RequestHead(b"", b"", b"")


class Exchange:
    """One client connection. `stream` is the way back to the client; what the client sends goes to
    `request_received`, its end to `client_eof` and `client_lost`."""

    __slots__ = (
        "answer",
        "attempt",
        "clogged",
        "close_after",
        "drop",
        "due",
        "ended",
        "head",
        "held",
        "ids",
        "insert",
        "looping",
        "paused",
        "phase",
        "plan",
        "pool",
        "replay",
        "request_body",
        "retried",
        "served",
        "side",
        "slot",
        "started",
        "stream",
        "tunnel",
        "upstream",
    )

    def __init__(self, side: Side, stream: Stream) -> None:
        self.side = side
        self.stream = stream
        self.phase = IDLE
        self.due = 0
        self.slot = FAR
        self.held = b""
        self.paused = 0
        self.clogged = False
        self.looping = False
        self.ended = False
        self.tunnel: Tunnel | None = None
        self.answer = Answer(self)
        # Of the request in hand:
        self.head = NO_HEAD
        self.plan: Plan | None = None
        self.pool: Pool | None = None
        self.upstream: Upstream | None = None
        self.request_body: BodyReader | None = None
        self.replay: bytes | None = None
        self.insert = b""
        self.drop = NOTHING
        self.ids = NO_IDS
        self.served: Served | None = None
        self.started = 0.0
        self.attempt = 0
        self.retried = False
        self.close_after = False
        self._arm(side.settings.idle_ticks)

    def __repr__(self) -> str:
        what = f" {self.head!r} {self.plan!r}" if self.plan is not None else ""
        return f"<Exchange {PHASES[self.phase]}{what} held={len(self.held)} paused={self.paused}>"

    # -- the client's bytes ---------------------------------------------------------------------------------------

    def request_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.phase != IDLE:
            self._received_more(data)
            return
        if self.held:
            held, self.held = self.held, b""
            if b"\n" not in data and len(held) + len(data) <= self.side.parser.limits.head_bytes:
                # No line has ended: nothing new to judge, and a head sent byte by byte costs no more than its lines.
                self.held = held + data
                return
            data = held + data
            fresh = False
        else:
            fresh = True
        side = self.side
        self.started = side.clock()
        try:
            head = side.parser.request(data)
            if head is None:
                if fresh:
                    self._arm(side.settings.header_ticks)
                self.held = data
                return
            self.head = head
            data = head.data  # without empty lines in front
            plan = side.admit(self, head)
            stop = head.end
            if head.body != NO_BODY:
                stop = self._body_with_head(head, data)
        except Refused as refused:
            self.fail(refused.failure, refused.detail, close=True)
            return
        size = len(data)
        if head.plain and not self.drop and not head.authority and not head.hop:
            if self.insert:
                end = head.end - 2
                self.replay = data[:end] + self.insert + data[end:stop]
            else:
                self.replay = data if stop == size else data[:stop]
        else:
            edited = request_head(head, self.insert, self.drop, side.default_host)
            self.replay = edited + data[head.end : stop]
        if stop != size:
            self.held = data[stop:]
        self.close_after = not head.keep_alive
        pool = plan.pool
        if pool is not None and pool.idle:
            self.plan = plan
            self.pool = pool
            side.counters.upstream_reused += 1
            self.send(pool.idle.pop())
        else:
            self.routed(plan)

    def _body_with_head(self, head: RequestHead, data: bytes) -> int:
        """Where the part of the body ends that came with the head; the rest is to be followed. Raises Refused."""
        stop = head.end + head.body
        if head.body > 0 and stop <= len(data):
            return stop
        reader = body_reader(head.body, BAD_REQUEST)
        stop = reader.feed(data, head.end)
        if not reader.done:
            if self.ended:
                raise Refused(BAD_REQUEST, "the client has ended its connection inside the body (RFC 9112 section 8)")
            self.request_body = reader
        if stop > 16 * head.end:
            head.data = data[: head.end]  # it is looked at again; what came with it is not, and may be large
        return stop

    def _received_more(self, data: bytes) -> None:
        """Bytes while a request is in hand."""
        if self.tunnel is not None:
            self.due = self.side.wheel.now + self.side.settings.stream_ticks
            self.tunnel.client_received(data)
        elif self.phase > TUNNEL:
            return
        elif self.request_body is not None:
            self._upload(self.request_body, data)
        else:
            self._hold(data)

    def _upload(self, reader: BodyReader, data: bytes) -> None:
        """More of a request body whose head was read before."""
        try:
            stop = reader.feed(data)
        except Refused as refused:
            self.fail(refused.failure, refused.detail, close=True)
            return
        side = self.side
        if reader.done:
            self.request_body = None
        if stop != len(data):
            self._hold(data[stop:])
            data = data[:stop]
        limit = side.settings.replay_bytes
        if self.upstream is None:
            # Still on the way to an upstream: what comes is sent with the head.
            assert self.replay is not None
            self.replay += data
            if len(self.replay) > limit:
                self._pause(AHEAD)
            return
        if self.replay is not None:
            self.replay = self.replay + data if len(self.replay) + len(data) <= limit else None
        if self.phase == WAITING:
            self._arm(side.settings.response_ticks if reader.done else side.settings.stream_ticks)
        self.upstream.stream.write(data)

    def _hold(self, data: bytes) -> None:
        """Keep what came ahead of its turn."""
        self.held += data
        if len(self.held) > self.side.settings.held_bytes:
            self._pause(AHEAD)

    def client_eof(self) -> bool:
        """The client sends no more. True: keep the way back open, because an answer is still to come
        (RFC 9112 section 9.6 calls a half-close legal)."""
        self.ended = True
        if self.tunnel is not None:
            return self.tunnel.client_eof()
        if self.phase in (IDLE, LINGER, CLOSED):
            return False
        if self.request_body is not None:
            self.side.counters.failures["client-truncated"] += 1
            return False
        return True

    def client_lost(self) -> None:
        """The connection to the client is gone."""
        in_hand = ROUTING <= self.phase <= TUNNEL
        if self.phase == ROUTING:
            self._stop_waiting()
        self._abandon()
        if self.phase == TUNNEL:
            self._count(self.answer.status, "")  # whoever ends a tunnel, and however: it has done its work
        elif in_hand:
            self._count(0 if self.phase < ANSWERING else self.answer.status, "client-lost")
        self._closed()

    # -- the way to an upstream -----------------------------------------------------------------------------------

    def routed(self, plan: Plan) -> None:
        """Carry out a plan: a first one, or the one that follows a change of the table or a failure."""
        before, self.plan = self.plan, plan
        if before is not None and before.insert != plan.insert:
            self._replace_lines(before.insert, plan.insert)
        if plan.pools:
            self.side.held.discard(self)
            self.attempt = 0
            self._acquire(plan.next_pool(0))
        elif plan.action is Action.HOLD_PENDING or plan.action is Action.HOLD_UNSYNCED:
            if before is None or before.action is not plan.action:
                self.side.held.add(self)
                self.phase = ROUTING
                settings = self.side.settings
                pending = plan.action is Action.HOLD_PENDING
                self._arm(settings.hold_ticks if pending else settings.sync_ticks)
        else:
            self.fail(plan.failure, plan.detail)

    def _replace_lines(self, old: bytes, new: bytes) -> None:
        """The field lines that a plan adds to the request take the place of those of the plan before it."""
        assert self.replay is not None
        head, _, body = self.replay.partition(b"\r\n\r\n")
        self.replay = b"%b%b\r\n%b" % ((head + b"\r\n").replace(b"\r\n" + old, b"\r\n", 1), new, body)

    def _acquire(self, pool: Pool) -> None:
        self.pool = pool
        if pool.idle and self.head.method != b"CONNECT":  # a tunnel begins on a connection of its own
            self.side.counters.upstream_reused += 1
            self.send(pool.idle.pop())
        else:
            self._dial(pool)

    def _dial(self, pool: Pool) -> None:
        self.phase = ROUTING
        self._arm(self.side.settings.connect_ticks)
        pool.dial(self)

    def connected(self, upstream: Upstream) -> None:
        """The dial has succeeded."""
        if self.head.method == b"CONNECT":
            upstream.exchange = self
            self.upstream = upstream
            if self.clogged:
                upstream.stream.pause_reading()
            self.answer.status = 200
            self.stream.write(CONNECTED)
            self.open_tunnel(b"")
        else:
            self.send(upstream)

    def send(self, upstream: Upstream) -> None:
        """A connection is ours: send what there is of the request."""
        side = self.side
        settings = side.settings
        replay = self.replay
        assert replay is not None
        upstream.exchange = self
        self.upstream = upstream
        self.phase = WAITING
        ticks = settings.response_ticks if self.request_body is None else settings.stream_ticks
        self.due = due = side.wheel.now + ticks
        if due < self.slot:
            side.wheel.arm(self)
        upstream.stream.write(replay)
        if len(replay) > settings.replay_bytes:
            self.replay = None
        if self.clogged:
            upstream.stream.pause_reading()
        if self.paused & AHEAD and len(self.held) <= settings.held_bytes:
            self._resume(AHEAD)

    def dial_failed(self, reason: str) -> None:
        """The endpoint does not accept: try the next one, then say so. `reason` is a phrase: `connection refused`."""
        self.side.counters.upstream_dial_failures += 1
        plan = self.plan
        assert plan is not None
        self.attempt += 1
        if self.attempt < len(plan.pools):
            self._acquire(plan.next_pool(self.attempt))
        elif plan.fallback is not None:
            self.routed(plan.fallback)
        else:
            self.fail(plan.failure, f"{plan.detail}: {reason}")

    def dial_refused(self, failure: Failure, detail: str) -> None:
        """The fault is ours, and nobody is unreachable: neither the next endpoint nor the baseline is asked instead."""
        self.fail(failure, detail)

    # -- the end of an answer, good or bad ------------------------------------------------------------------------

    def answered(self, status: int) -> None:
        """The answer has been forwarded as a whole."""
        answer, upstream, pool = self.answer, self.upstream, self.pool
        if answer.reusable and self.request_body is None and not self.paused and not self.clogged:
            assert upstream is not None
            assert pool is not None
            upstream.exchange = None
            self.upstream = None
            pool.give(upstream, answer.idle_seconds)
        else:
            self._release(reuse=answer.reusable and self.request_body is None)
        self._count(status, "")
        self._settle()

    def begin_answering(self) -> None:
        """The answer's head has been forwarded, its body goes on."""
        self.phase = ANSWERING
        self._arm(self.side.settings.stream_ticks)

    def fail(self, failure: Failure, detail: str, *, close: bool = False) -> None:
        """Answer the request ourselves, or cut the connection when the application's answer has begun."""
        side, plan = self.side, self.plan
        self._abandon()
        if self.phase == ROUTING:
            self._stop_waiting()
        self.answer.forget()
        side.counters.failures[failure.code] += 1
        if self.phase == ANSWERING:
            self.cut()
            return
        extra = b""
        if self.served is not None:
            calls = self.served.items if self.ids else ()  # without, it is itself one of these calls
            extra = b"%b: %b\r\n" % (NAME, b", ".join([error_item(side.workload, failure.code), *calls]))
        # A client of HTTP/1.0 that is not told that its connection is kept waits for the end.
        self.close_after = (
            self.close_after or close or self.request_body is not None or side.draining or self.head.http10
        )
        sandbox = plan.sandbox if plan is not None else ""
        head, body = problem(
            failure, detail, workload=side.workload, sandbox=sandbox, close=self.close_after, extra=extra
        )
        self.stream.write(head if self.head.method == b"HEAD" else head + body)
        self._count(failure.status, failure.code)
        if close:
            self._linger()
        else:
            self._settle()

    def cut(self) -> None:
        """End the client's connection so that it cannot take what it got for the whole answer."""
        self._abandon()
        self._count(self.answer.status, "cut")
        self._closed()
        # Behind an answer without a length an orderly end would look like that of the answer.
        self.side.reset(self.stream)

    def upstream_lost(self, *, error: bool) -> None:
        """The upstream's connection is gone; `error` when it was reset rather than closed."""
        upstream, self.upstream = self.upstream, None
        self._resume(FULL)
        if self.phase == TUNNEL:
            self._tunnel_over()
        elif self.phase == ANSWERING:
            if self.answer.ends_with_connection and not error:
                self.answered(self.answer.status)
            else:
                self.side.counters.failures["answer-truncated"] += 1
                self.cut()
        elif upstream is not None and upstream.reused and self._may_send_again():
            # It may have been closed while we wrote: on a fresh connection the request is as good as new.
            self.side.counters.upstream_retries += 1
            self.retried = True
            assert self.pool is not None
            self._dial(self.pool)
        else:
            how = "reset" if error else "closed"
            self.fail(UPSTREAM_RESET, f"the connection was {how} before the answer's head was complete")

    def _may_send_again(self) -> bool:
        """RFC 9110 section 9.2.2: once, automatically, only what is idempotent and still held whole."""
        return self.replay is not None and not self.retried and self.head.method in IDEMPOTENT

    def upstream_eof(self) -> bool:
        """The upstream sends no more. True: keep the way to it open."""
        return self.tunnel is not None and self.tunnel.upstream_eof()

    def expired(self) -> None:
        """The deadline of the current phase has passed."""
        timeouts = self.side.counters.timeouts
        if self.phase == IDLE and self.held:
            timeouts["header"] += 1
            self.fail(HEADER_TIMEOUT, "the request head was not complete in time", close=True)
        elif self.phase == IDLE:
            timeouts["idle"] += 1
            self._close()
        elif self.phase == ROUTING and self in self.side.held:
            timeouts["hold"] += 1
            plan = self.plan
            assert plan is not None
            if plan.fallback is not None:
                self.routed(plan.fallback)
            else:
                self.fail(plan.failure, plan.detail)
        elif self.phase == ROUTING:
            timeouts["connect"] += 1
            self._stop_waiting()
            self.dial_failed("no connection in time")
        elif self.phase == WAITING:
            timeouts["response"] += 1
            self.fail(APP_TIMEOUT, "no answer in time")
        elif self.phase == ANSWERING:
            timeouts["body"] += 1
            self.cut()
        elif self.phase == TUNNEL:
            timeouts["tunnel"] += 1
            self._tunnel_over()
        elif self.phase == LINGER:
            self._close()
        else:
            self.side.reset(self.stream)  # closed, but what was written for it has not been taken

    def drain(self, *, last_call: bool) -> None:
        """The sidecar is about to end: from now on every answer announces it. With `last_call` connections that
        still carry nothing are closed."""
        if self in self.side.held:
            self.fail(DRAINING, "the sidecar is shutting down")
        elif last_call and self.phase == IDLE and not self.held:
            self._close()

    # -- flow control ---------------------------------------------------------------------------------------------

    def client_full(self) -> None:
        """The client takes no more: stop reading from the upstream."""
        self.clogged = True
        if self.upstream is not None:
            self.side.counters.paused_upstream += 1
            self.upstream.stream.pause_reading()

    def client_drained(self) -> None:
        self.clogged = False
        if self.upstream is not None:
            self.upstream.stream.resume_reading()

    def upstream_full(self) -> None:
        """The upstream takes no more: stop reading from the client."""
        self.side.counters.paused_downstream += 1
        self._pause(FULL)

    def upstream_drained(self) -> None:
        self._resume(FULL)

    def _pause(self, reason: int) -> None:
        if not self.paused:
            self.stream.pause_reading()
        self.paused |= reason

    def _resume(self, reason: int) -> None:
        if self.paused:
            self.paused &= ~reason
            if not self.paused:
                self.stream.resume_reading()

    # -- tunnels --------------------------------------------------------------------------------------------------

    def open_tunnel(self, first: bytes) -> None:
        """From here on the connection carries bytes, not messages. first: what the upstream has already sent."""
        assert self.upstream is not None
        side = self.side
        side.counters.tunnels_opened += 1
        self.phase = TUNNEL
        self.replay = None
        self._arm(side.settings.stream_ticks)
        self.tunnel = Tunnel(self.stream, self.upstream.stream)
        if first:
            self.stream.write(first)
        ahead, self.held = self.held, b""
        if ahead:
            self.upstream.stream.write(ahead)
        if self.ended:
            self.tunnel.client_eof()
        self._resume(AHEAD)

    def _tunnel_over(self) -> None:
        self._release(reuse=False)
        self._count(self.answer.status, "")
        self._close()

    # -- small things ---------------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        """Let go of the upstream in the middle of an answer, with a reset: the sidecar or the application at its other
        end may take an end for half of one (RFC 9112 section 9.6), and would go on with what nobody wants."""
        upstream = self.upstream
        if upstream is None or self.phase == TUNNEL:
            self._release(reuse=False)
            return
        upstream.exchange = None
        self.upstream = None
        self._resume(FULL)
        self.side.reset(upstream.stream)

    def _release(self, *, reuse: bool) -> None:
        """Let go of the upstream: back to its pool, or closed."""
        upstream, self.upstream = self.upstream, None
        if upstream is None:
            return
        upstream.exchange = None
        full = self.paused & FULL
        self._resume(FULL)
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
            assert self.pool is not None
            self.pool.give(upstream, self.answer.idle_seconds)

    def _stop_waiting(self) -> None:
        self.side.held.discard(self)
        if self.pool is not None:
            self.pool.forget(self)

    def _count(self, status: int, failure: str) -> None:
        """One request is over: what it was, how long it took."""
        side, plan = self.side, self.plan
        counters = side.counters
        tally = plan.tally if plan is not None and not failure else counters.requests["error"]
        tally[status // 100] += 1
        seconds = side.clock() - self.started
        counters.duration_sum += seconds
        counters.durations[int(seconds * 1e6).bit_length()] += 1
        if side.spans is not None and plan is not None and plan.key:
            side.spans(self, status, failure)
        if self.served is not None:
            if self.ids:
                side.correlation.leave(self.ids, self.served)
                self.ids = NO_IDS
            self.served = None

    def _settle(self) -> None:
        """Get ready for the next request, or end the connection."""
        self.head = NO_HEAD
        self.plan = None
        self.replay = None
        self.retried = False
        self.insert = b""
        self.drop = NOTHING
        if self.request_body is not None or (self.close_after and self.held):
            self._linger()
        elif self.close_after or (self.ended and not self.held):
            self._close()
        else:
            self.phase = IDLE
            wheel = self.side.wheel
            self.due = due = wheel.now + self.side.settings.idle_ticks
            if due < self.slot:
                wheel.arm(self)
            if self.held or self.paused:
                self._next()

    def _next(self) -> None:
        """Begin the requests that came ahead, in a loop: our own answers would otherwise call us recursively."""
        if self.looping:
            return
        self.looping = True
        while self.phase == IDLE and self.held:
            data, self.held = self.held, b""
            self.request_received(data)
            if self.held == data:
                break  # a head that is not complete
        self.looping = False
        # A head that is in its turn has the limit of heads, not the one of what comes ahead.
        if self.paused & AHEAD and (self.phase == IDLE or len(self.held) <= self.side.settings.held_bytes):
            self._resume(AHEAD)
        if self.ended and self.phase == IDLE:
            self._close()

    def _arm(self, ticks: int) -> None:
        """Set the deadline of a phase."""
        wheel = self.side.wheel
        self.due = due = wheel.now + ticks
        if due < self.slot:
            wheel.arm(self)

    def _linger(self) -> None:
        """Our half is closed; discard what still comes, so that the client reads the answer and not a reset."""
        if self.ended:
            self._close()
            return
        self.phase = LINGER
        self.request_body = None
        self.held = b""
        self._arm(self.side.settings.linger_ticks)
        self.stream.write_eof()
        self._resume(AHEAD)

    def _close(self) -> None:
        """Close when the client has taken what was written for it, for which it has the time of an idle connection."""
        self._closed()
        self._arm(self.side.settings.idle_ticks)
        self.stream.close()

    def _closed(self) -> None:
        self.phase = CLOSED
        self.due = 0
        self.held = b""
        self.replay = None
        self.request_body = None
        self.side.wheel.disarm(self)
