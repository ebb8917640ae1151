"""A stream's way to an upstream: what `proxy.exchange.way` is for a request of HTTP/1.

While it is ROUTING, what comes of it waits in its flow. What was sent is kept until the answer begins, up to
`replay_bytes`, so that a stream that nobody has looked at (REFUSED_STREAM, GOAWAY) can be sent again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    APP_TIMEOUT,
    CONTENT_TIMEOUT,
    UNSUPPORTED_METHOD,
    UPSTREAM_REFUSED,
    UPSTREAM_RESET,
    Failure,
    Refused,
)
from proxy.exchange.forwarded import append_peer
from proxy.exchange.h2.budget import FRAME_WEIGHT, MAX_KEPT, MAX_TRIES
from proxy.exchange.h2.flow import EARLY, KEPT, LAST, LIMBO, OVER, Flow
from proxy.exchange.h2.head import StreamHead
from proxy.exchange.h2.kinds import RequestKind
from proxy.exchange.h2.mirror import tell_all
from proxy.exchange.h2.replies import request_literals
from proxy.exchange.passage import Passage
from proxy.exchange.phase import ANSWERING, PHASES, ROUTING, WAITING
from proxy.exchange.plan import FAULT, HOLD, LATE, POOLS, REPLY, RULED, Plan, Reply
from proxy.exchange.ports import Pool
from proxy.exchange.ruled import chosen, whole_reply
from proxy.exchange.settings import TICK_SECONDS
from proxy.exchange.way import IDEMPOTENT
from proxy.wire.h2.faults import CANCEL, INTERNAL_ERROR
from proxy.wire.h2.frames import DATA, END_STREAM, HEAD_BYTES, window_frame
from proxy.wire.h2.template import without

if TYPE_CHECKING:
    from proxy.exchange.h2.client import ClientLink
    from proxy.exchange.h2.server import ServerLink

NO_ROOM: Final = "it takes no more streams at a time on its connection, and none of those there ended in time"


class StreamWay(ABC):
    """
    sid:     the stream's number, on both connections.
    due:     the tick at which its phase has lasted for too long, 0 for never.
    server:  the link that it was given to, None before.
    granted: what the client has granted to the answer while nobody was there to use it.
    withheld: what the upstream has granted to the request and the client was not told, because its window, which was
             the larger one at first, would overflow. Less than 0: what it was told beyond its window for all streams.
    moved:   an upstream has not looked at it; it is sent to the next one when that has said how many it takes.
    """

    __slots__ = (
        "_asked", "_kept", "_kind", "_seen", "_since", "_tries", "_weight", "answer", "client", "due", "granted",
        "head", "moved", "passage", "phase", "request", "server", "sid", "withheld",
    )  # fmt: skip

    def __init__(self, client: ClientLink, sid: int, kind: RequestKind, head: StreamHead, end: int) -> None:
        self.client = client
        self.sid = sid
        self.head = head
        self.passage = passage = Passage()
        passage.head = head
        self.phase = ROUTING
        self.due = 0
        self.server: ServerLink | None = None
        self.granted = self.withheld = 0
        self._kind = kind
        self._kept: list[bytes] | None = []
        self._asked = self._weight = 0
        self._seen, self._since, self._tries, self.moved = 0, -1, 0, False
        self.request = request = Flow(self, client, 0, LIMBO | (LAST if end else 0))
        self.answer = answer = Flow(self, client, client.initial, EARLY)
        request.back, answer.back = answer, request
        request.expects = head.expects

    def __repr__(self) -> str:
        return f"<StreamExchange {self.sid} {PHASES[self.phase]} {self.passage!r}>"

    @abstractmethod
    def fail(self, failure: Failure, detail: str) -> None:
        """Answer it ourselves."""

    @abstractmethod
    def reply(self, reply: Reply) -> None:
        """Answer it ourselves, with what its plan says."""

    @abstractmethod
    def cut(self, code: int, how: str = "cut") -> None:
        """End the stream so that the client cannot take what it got for the whole answer. how: for its hop."""

    @abstractmethod
    def over(self) -> None:
        """Both directions have been passed on."""

    @abstractmethod
    def answer_block(self, block: bytes, end: int) -> None:
        """The head of an answer, interim or final, or its trailers."""

    @abstractmethod
    def captured(self, data: bytes) -> None:
        """More of the content of an answer that is captured."""

    @abstractmethod
    def bad_answer(self, detail: str) -> None:
        """What the upstream says is no HTTP/2."""

    @abstractmethod
    def reset_by_client(self, code: int) -> None:
        """It is not wanted any more."""

    @abstractmethod
    def reset_by_server(self, code: int) -> None:
        """The upstream gives up, or has answered and does not want the rest."""

    @abstractmethod
    def client_gone(self) -> None:
        """Nobody is there to take its answer."""

    @abstractmethod
    def drain(self) -> None:
        """The sidecar is about to end."""

    # -- to an upstream ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Decide on it and carry that out."""
        client, passage, head = self.client, self.passage, self.head
        side = client.side
        passage.started = side.clock()
        client.flows[self.sid] = self.request
        try:
            if head.method == b"CONNECT" and not self._kind.protocol:
                if side.default_pool is None:
                    raise Refused(UNSUPPORTED_METHOD, "CONNECT within HTTP/2 is not for this proxy")
            elif side.default_pool is not None:
                head.authority = b""  # where it goes does not depend on it
            plan = side.admit(passage, head)
            if side.forwarded:
                append_peer(passage, client.peer)
        except Refused as refused:
            self.fail(refused.failure, refused.detail)
            return
        self.routed(plan)

    def routed(self, plan: Plan) -> None:
        """Carry out a plan: a first one, or the one that follows a change of the table or a failure."""
        passage, side = self.passage, self.client.side
        before, passage.plan = passage.plan, plan
        if plan.outcome == POOLS:
            side.waiters.discard(self)
            passage.attempt = 0
            self._acquire(plan.next_pool(0))
        elif plan.outcome == HOLD:
            if before is None or before.action is not plan.action:  # else its time has begun
                side.waiters.add(self)
                self._arm(plan.wait)
        else:
            side.waiters.discard(self)
            self._follow(plan)
        if before is not None:
            self.client.flush()

    def _follow(self, plan: Plan) -> None:
        """It is answered here, or its key has rules of its own."""
        passage, side = self.passage, self.client.side
        if plan.outcome == FAULT:
            self.fail(plan.failure, plan.detail)
        elif plan.outcome == REPLY:
            try:
                reply = whole_reply(plan, passage, side)
            except Refused as refused:
                self.fail(refused.failure, refused.detail)
                return
            self.reply(reply)
        elif plan.outcome == RULED:
            self.routed(chosen(plan, passage, side))
        elif plan.outcome == LATE:
            self._arm(plan.wait)
        else:
            side.counters.failures[plan.failure.code] += 1
            self.cut(CANCEL, plan.failure.code)

    def _acquire(self, pool: Pool) -> None:
        self.due = 0
        self.passage.pool = pool
        self.server = server = self.client.server_for(pool, self.sid)
        server.assign(self)
        if self.phase == ROUTING and server.stream is not None:
            self.has_no_room()

    def has_no_room(self) -> None:
        """There is a connection, and others have to end on it first."""
        if not self.head.grpc:
            self._look_later(self.client.side.settings.response_ticks - self._waited())

    def _waited(self) -> int:
        """Ticks for which it has waited. Whoever sends it away does not give it more time."""
        now = self.client.side.wheel.now
        if not self.moved or self._since < 0:
            self._since = now
        return now - self._since

    def _arm(self, ticks: int) -> None:
        self.due = self.client.side.wheel.now + ticks
        self.client.look_at(self.due)

    def send(self, server: ServerLink) -> None:
        """There is a connection, and room for a stream on it."""
        passage, request, sid = self.passage, self.request, self.sid
        plan = passage.plan
        assert plan is not None
        self.phase = WAITING
        block = self.head.block
        added = request_literals(passage, plan)
        if passage.drop:
            block = without(block, passage.drop)
        changed = bool(added or passage.drop)
        if added:
            block += added
        server.flows[sid] = self.answer
        request.sink = server
        request.window = server.initial
        request.state &= ~LIMBO
        bare = request.state & LAST and not request.queue
        self.client.pass_block(sid, server, END_STREAM if bare else 0, block, changed=changed)
        if server.initial > self.client.granted:
            tell_all(self)
        if self.granted:
            server.write(window_frame(sid, self.granted))
            self.granted = 0
        for frame in request.queue or ():
            self.keep(request, frame)
        if self._kept is not None and not bare:
            request.state |= KEPT
        if not self.head.grpc:
            self._look_later(self._patience() - self._waited())
        if bare:
            self.client.finish(sid, request)
        elif request.queue:
            server.waiting[sid] = request
            server.send_waiting(sid, request)

    def keep(self, flow: Flow, frame: bytes) -> None:
        """A frame of the request may have to be sent again; one of an answer that failed is captured."""
        kept, client = self._kept, self.client
        if flow is self.answer:
            self.captured(frame[HEAD_BYTES:])
            return
        if kept is None:
            return
        size = len(frame)
        asked = self._asked + size
        if asked > client.side.settings.replay_bytes or client.kept > MAX_KEPT:
            self.unkeep()
        else:
            self._asked = asked
            kept.append(frame)
            self._weight += size + FRAME_WEIGHT
            client.kept += size + FRAME_WEIGHT

    def unkeep(self) -> None:
        """It cannot be sent again any more."""
        self._kept = None
        self.request.state &= ~KEPT
        self.client.kept -= self._weight
        self._weight = 0

    # -- a failure on the way ------------------------------------------------------------------------------------------

    def dial_failed(self, reason: str) -> None:
        """The endpoint does not accept: try the next one, then say so."""
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

    def _again(self) -> bool:
        """Send it on a fresh connection. False: what was sent of it was not kept."""
        passage, request, kept, client = self.passage, self.request, self._kept, self.client
        if self.phase != ROUTING:
            if kept is None:
                return False
            self.leave_server()
            self.phase = ROUTING
            self.granted = self.answer.window - client.initial  # what it granted is not known to the next one
            client.forget(self.sid, request)  # what waited is kept as well
            request.state = LIMBO | (LAST if request.state & (LAST | OVER) else 0)
            for frame in kept:
                request.enqueue(frame)
                if frame[3] == DATA:
                    client.queued += len(frame) - HEAD_BYTES
            self.unkeep()
            self._kept = []
            self._asked = 0
        client.side.counters.upstream_retries += 1
        assert passage.pool is not None
        self._acquire(passage.pool)
        return True

    def refused(self, why: str, *, counts: bool = True) -> None:
        """The upstream has not looked at it: it can be sent again, whatever it is (section 8.7). why: a predicate.
        counts: nor at any other, so that this must not go on for ever."""
        self._tries += counts
        self.moved = True
        if self._tries > MAX_TRIES:
            detail = f"the upstream {why}, as it did {MAX_TRIES} times before"
        elif self._again():
            return
        else:
            detail = f"the upstream {why}, and what it was sent was too long to be kept and sent again"
        self.leave_server()
        self.fail(UPSTREAM_REFUSED, detail)

    def lost(self, how: str) -> None:
        """The upstream's connection is gone. how: a participle. What it may have looked at is sent again once, and only
        if that is idempotent (RFC 9110 section 9.2.2)."""
        passage = self.passage
        if self.phase == ANSWERING:
            self.client.side.counters.failures["answer-truncated"] += 1
            self.cut(INTERNAL_ERROR)
            return
        if self.phase == ROUTING:
            self.refused(f"was lost ({how}) before the stream was sent")
            return
        again = not passage.retried and passage.head.method in IDEMPOTENT
        passage.retried = True
        if not again or not self._again():
            self.leave_server()
            self.fail(UPSTREAM_RESET, f"the connection was {how} before the answer began")

    def leave_server(self) -> None:
        """It is not, or no more, on the way to an upstream."""
        server, self.server = self.server, None
        if server is not None:
            server.let_go(self)

    def _patience(self) -> int:
        """Ticks for which it may stand still, 0 or less where it is too slow. Whether it does is looked at now and
        then, and not with every frame."""
        settings = self.client.side.settings
        if self.phase == ANSWERING:
            return settings.stream_ticks
        if self.request.state & (LAST | OVER):
            return settings.response_ticks
        if not settings.upload_rate or self._kind.protocol:
            return settings.stream_ticks
        passage = self.passage
        seconds = self.request.bytes / settings.upload_rate + passage.started - self.client.side.clock()
        return min(settings.stream_ticks, settings.response_ticks + int(seconds / TICK_SECONDS))

    def _look_later(self, left: int) -> None:
        """left: ticks until it has stood still for too long. What it has to wait for may be another thing by then."""
        self._arm(max(1, min(left, self.client.side.settings.response_ticks)))

    def expired(self) -> None:
        """Its deadline has passed."""
        side, passage = self.client.side, self.passage
        timeouts = side.counters.timeouts
        self.due = 0
        plan = passage.plan
        if plan is not None and plan.outcome == LATE:
            assert plan.fallback is not None
            self.routed(side.later(plan.fallback))
            return
        if self in side.waiters:
            timeouts["hold"] += 1
            assert plan is not None
            side.waiters.discard(self)
            if plan.fallback is not None:
                self.routed(plan.fallback)
            else:
                self.fail(plan.failure, plan.detail)
            return
        moved = self.request.bytes + self.answer.bytes
        patience = self._patience()
        if moved != self._seen:
            self._seen = moved
            self._since = side.wheel.now
        if patience > 0 and (left := patience + self._since - side.wheel.now) > 0:
            self._look_later(left)
        elif self.phase == ANSWERING:
            timeouts["body"] += 1
            self.cut(CANCEL)
        elif self.request.state & (LAST | OVER):
            timeouts["response"] += 1
            self.fail(APP_TIMEOUT, "no answer in time" if self.phase == WAITING else NO_ROOM)
        else:
            timeouts["body"] += 1
            self.fail(CONTENT_TIMEOUT, "the request's content did not arrive in time")
