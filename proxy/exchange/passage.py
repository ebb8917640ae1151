"""One request on its way through the sidecar, apart from the connection that it came on.

A side decides on a passage, an exchange carries it out, the counters and the tracing read it when it is over. It is
nothing but data. A connection of HTTP/1 has one request in hand at a time, and uses one passage again for the next:
it is cleared when a request is settled (`Exchange._settle`), so that an idle connection keeps nothing of the last one.

What happens to a passage, in this order, each at one place:

    decided          `Side.admit` has read the head, and said what is to be done
    request bytes    `Way.send` and `Way.send_more`: on their way to the upstream
    answer head      `Side.answer` is asked what is to be changed in it
    settled          `Side.settled`: whatever the end was, and once
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.exchange.plan import Plan
from proxy.exchange.ports import Pool
from proxy.exchange.rewriting import Rewriter
from proxy.routing.correlation import Flight
from proxy.routing.expect import Expected
from proxy.routing.template import Template
from proxy.telemetry.hops import Capture
from proxy.wire.body import BodyReader
from proxy.wire.fields import Field
from proxy.wire.head import RequestHead

NOTHING: Final[frozenset[bytes]] = frozenset()
NO_IDS: list[bytes] = []
NO_HEAD: Final = RequestHead(b"", b"", b"")


class Passage:
    """
    head:    as it came; NO_HEAD while no request is in hand.
    started: when the first byte was there, by the clock of its side.
    last:    no request follows on this connection: it ends behind the answer.

    plan:    what was decided, None before.
    template: of the fields of trace context that are added, None for none; `filling` goes into it.
    fields:  what is added besides, and besides what the plan adds.
    drop:    names of fields to leave out, lower case.
    ids:     the names of its trace ids, when they were entered into the correlation.
    flight:  its claim to them; of a call, that of the request in flight that caused it. None without either.
    told:    its answer says who served it.
    expected: who has to serve it, as it says itself; judged by the entry.
    note:    parameters of our item there that concern this request alone.

    pool:    where its upstream comes from.
    attempt: endpoints of the plan that did not accept.
    retried: it was sent again, because the connection had been closed.
    body:    follows the request's body; None when all of it has come.
    kept:    what has come of it, for as long as it may have to be sent (again); None when it cannot be any more.

    status:       of the final answer's head, 0 before.
    partial:      what has come of an answer's head that is not complete.
    answer_body:  follows the answer's body; None before, and when it came with the head.
    reusable:     the upstream's connection can carry another exchange behind this answer.
    rests:        not at once, because a body may come behind it that must not be there.
    idle_seconds: how long the upstream keeps it, -1 when it did not say.
    rewriter:     changes the answer's body, None: it leaves as it comes.

    request_bytes, answer_bytes: of the bodies, as they came, framing of chunks included.

    hop:        the id of its hop record; b"" when it leaves none, and then the next five mean nothing.
    cause:      the id of the hop that caused it, b"" for an entry.
    trace:      by which its hop is found.
    suspects:   keys of which it may have lost one; its own hop is then told for each of them.
    first_byte: when the answer's head was there, 0 before.
    asked:      what of the request's body was still kept when the answer began.
    capture:    what is kept of a request that failed, None of others.
    further:    members of the hop that other protocols than HTTP/1.1 have, as JSON, each behind a comma.
    """

    __slots__ = (
        "answer_body",
        "answer_bytes",
        "asked",
        "attempt",
        "body",
        "capture",
        "cause",
        "drop",
        "expected",
        "fields",
        "filling",
        "first_byte",
        "flight",
        "further",
        "head",
        "hop",
        "idle_seconds",
        "ids",
        "kept",
        "last",
        "note",
        "partial",
        "plan",
        "pool",
        "request_bytes",
        "rests",
        "retried",
        "reusable",
        "rewriter",
        "started",
        "status",
        "suspects",
        "template",
        "told",
        "trace",
    )

    def __init__(self) -> None:
        self.head = NO_HEAD
        self.started = 0.0
        self.last = False
        self.plan: Plan | None = None
        self.template: Template | None = None
        self.filling: tuple[bytes, ...] = ()
        self.fields: Sequence[Field] = ()
        self.drop = NOTHING
        self.ids = NO_IDS
        self.flight: Flight | None = None
        self.told = False
        self.expected: Sequence[Expected] = ()
        self.note = b""
        self.pool: Pool | None = None
        self.attempt = 0
        self.retried = False
        self.body: BodyReader | None = None
        self.kept: bytes | None = b""
        self.status = 0
        self.partial = b""
        self.answer_body: BodyReader | None = None
        self.reusable = False
        self.rests = False
        self.idle_seconds = -1
        self.rewriter: Rewriter | None = None
        self.request_bytes = 0
        self.answer_bytes = 0
        self.hop = b""
        self.cause = b""
        self.trace = b""
        self.suspects: Sequence[str] = ()
        self.first_byte = 0.0
        self.asked = b""
        self.capture: Capture | None = None
        self.further = b""

    def __repr__(self) -> str:
        return f"<Passage {self.head!r} {self.plan!r}>" if self.plan is not None else "<Passage>"
