"""What all exchanges of one direction share, and the questions on which the two directions differ.

`Inbound` (guards the application) and `Outbound` (carries its calls) answer them; the exchange asks and knows
nothing of keys and traces. Both take a `Passage`: what is asked concerns one request, whatever carries it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Protocol

from proxy.contract.hops import HOP_FIELD
from proxy.contract.hops import HOP_ID as A_HOP
from proxy.errors import UNEXPECTED_SERVER, Refused
from proxy.exchange.caching import UNCACHED
from proxy.exchange.carriers import Carriers
from proxy.exchange.context import copied
from proxy.exchange.h2.kinds import Kinds
from proxy.exchange.passage import NO_IDS, Passage
from proxy.exchange.plan import Plan
from proxy.exchange.ports import Clock, Pool, PoolSource, Reporter, Splicer, Stream, Wheel
from proxy.exchange.recorder import HopRecorder
from proxy.exchange.settings import ExchangeSettings
from proxy.routing.correlation import UNKEYED, Correlation
from proxy.routing.expect import unmet
from proxy.routing.rules import RuleTable
from proxy.routing.served import LOST_KEY, NAME, error_item, stub
from proxy.routing.trace import TraceReader, hexadecimal_id, text_id
from proxy.telemetry.counters import SideCounters
from proxy.wire.fields import Addition, Field
from proxy.wire.head import HeadParser, RequestHead, ResponseHead, field_values

HOP_NAME: Final = HOP_FIELD.encode()
_HOP_LINE: Final = b"\r\n" + HOP_NAME + b":"
HOP_ONLY: Final = frozenset({HOP_NAME})


class SpanRecorder(Protocol):
    """Takes the spans of keyed requests."""

    def __call__(self, passage: Passage, status: int, failure: str) -> None: ...


class Waiter(Protocol):
    """A request that is held up for a route."""

    @property
    def passage(self) -> Passage: ...

    def routed(self, plan: Plan, /) -> None:
        """There is another plan for it, which may be to wait on."""
        ...


def _abort(stream: Stream) -> None:
    stream.abort()


@dataclass(frozen=True, slots=True)
class SideParts:
    """What a side is made of.

    workload: `namespace/name`, for answers that we make ourselves.
    carriers: reads the key; traces: finds trace ids; correlation: which key a trace carries, shared by both sides.
    pools:    connections to endpoints.
    spans:    None without tracing.
    hops:     None without a registry that could be told of them.
    prefix:   what the ids of requests begin with then: eight hexadecimal digits that nobody guesses.
    reset:    aborts a connection so that its other end sees that, and not an orderly end.
    splicer:  moves large bodies without their being read, None where nothing can.
    rules:    those of all keys that concern this sidecar.
    """

    workload: str
    settings: ExchangeSettings
    parser: HeadParser
    counters: SideCounters
    wheel: Wheel
    clock: Clock
    carriers: Carriers
    traces: TraceReader
    correlation: Correlation
    pools: PoolSource
    reporter: Reporter
    spans: SpanRecorder | None = None
    hops: HopRecorder | None = None
    prefix: bytes = b"00000000"
    reset: Callable[[Stream], None] = _abort
    splicer: Splicer | None = None
    rules: RuleTable = field(default_factory=lambda: RuleTable(""))


class Side(ABC):
    """One direction of one listener.

    default_host: for HTTP/1.0 requests without Host: what the application is called.
    forwarded:    the client's address is added to requests (`proxy.exchange.forwarded`).
    draining:     no connection is kept open behind an answer any more.
    has_answer:   an upstream has answered a request.
    waiters:      requests that wait for a route.
    kinds:        what is known of the header blocks of HTTP/2.
    default_pool: where what names no destination goes: connections that are not HTTP. The application, or the target of
                  calls; None where only a request says where it wants to go.
    """

    def __init__(
        self, parts: SideParts, *, default_host: str, default_pool: Pool | None, forwarded: bool = False
    ) -> None:
        self.workload = parts.workload
        self.parser = parts.parser
        self.settings = parts.settings
        self.counters = parts.counters
        self.wheel = parts.wheel
        self.clock = parts.clock
        self.carriers = parts.carriers
        self.traces = parts.traces
        self.correlation = parts.correlation
        self.pools = parts.pools
        self.reporter = parts.reporter
        self.spans = parts.spans
        self.hops = parts.hops
        self.hop_prefix = parts.hops.prefix if parts.hops is not None else parts.prefix
        self.hop_ids = parts.hops.ids if parts.hops is not None else count(1)
        self.reset = parts.reset
        self.splicer = parts.splicer
        self.rules = parts.rules
        self.default_host = default_host.encode()
        self.default_pool = default_pool
        self.forwarded = forwarded
        self.draining = False
        self.has_answer = False
        self.waiters: set[Waiter] = set()
        watched = self.carriers.fields | frozenset(map(str.encode, self.traces.fields))
        self.kinds = Kinds(watched, parts.parser.limits)

    def drain(self) -> None:
        """From now on every answer announces the end of its connection."""
        self.draining = True

    @abstractmethod
    def admit(self, passage: Passage, head: RequestHead) -> Plan:
        """Decide on a request. May set the passage's `insert`, `drop`, `told` and `note`, and `ids` and `flight` when
        it has entered them into the correlation. Raises Refused."""

    @abstractmethod
    def answer(self, passage: Passage, head: ResponseHead) -> tuple[Addition, frozenset[bytes]]:
        """What is added to the answer and the names of fields to drop from it. Asked when the passage's `told` is set,
        or the head `claims` something. May set the passage's `rewriter` for a client of HTTP/1.1, and then drops
        what frames the body."""

    def ruled(self, passage: Passage, branch: Plan) -> None:
        """A rule of its key is applied to a request."""
        passage.note += stub(branch.rule)

    def later(self, plan: Plan) -> Plan:
        """The plan to go on with after a rule has let a request wait, instead of this one of then."""
        return plan

    def canned_fields(self, passage: Passage) -> Sequence[Field]:
        """What is added to the answer of a rule. Raises Refused when another one was expected."""
        assert passage.plan is not None
        who = passage.plan.item
        fields = [self.served_by(passage, who.partition(b";stub=")[0]), *self.proof(passage)]
        if passage.expected:  # which nobody meets who is not even asked
            raise Refused(UNEXPECTED_SERVER, unmet(passage.expected, fields[0][1]))
        return [*fields, *UNCACHED.fields] if self.settings.uncached else fields

    def ids(self, head: RequestHead) -> list[bytes]:
        """The trace ids that a head names."""
        if not head.plain:
            return self.traces.ids(head)
        if head.traced:
            return copied(head) or self.traces.ids(head)
        parent, request_id = head.traceparent, head.request_id
        ids = [hexadecimal_id(parent[3:35])] if parent is not None else []
        text = text_id(request_id) if request_id is not None else b""
        return [*ids, text] if text else ids

    def error_fields(self, passage: Passage, code: str) -> Sequence[Field]:
        """What is added to an answer of our own; code: of its failure."""
        if not passage.told:
            return ()
        fields = [self.served_by(passage, error_item(self.workload, code)), *self.proof(passage)]
        return [*fields, *UNCACHED.fields] if self.settings.uncached else fields

    def proof(self, passage: Passage) -> Sequence[Field]:
        """What tells the sidecar that sent a request that another one answers. None of a call: it came from the
        application."""
        return ()

    def proven(self, passage: Passage, head: ResponseHead) -> bool:
        """What an answer says in a sidecar's name was said by one: it names the hop that we told the next sidecar,
        and took off before its application saw it."""
        return field_values(head, HOP_NAME) == [passage.hop] != [b""]

    def served_by(self, passage: Passage, item: bytes) -> Field:
        """The field that says who served a request: our own item, and those of the calls that it caused."""
        flight = passage.flight
        calls = b""
        if passage.ids and flight is not None:  # a call has none, and is itself what somebody else's answer tells
            calls = flight.calls
            if flight.losses != self.correlation.losses and flight.key is not UNKEYED:
                item += LOST_KEY
        item += passage.note
        return NAME, item + b", " + calls if calls else item

    def _unchained(self, passage: Passage, head: RequestHead) -> bytes:
        """Take off the field that names the cause where it does not stand last, as beside a wish to upgrade. Returns
        the cause, b"" when there is none."""
        if _HOP_LINE not in head.low:
            return head.cause or b""
        passage.drop |= HOP_ONLY
        value = field_values(head, HOP_NAME)[-1]
        return value if A_HOP.fullmatch(value.decode("latin-1")) else b""

    def settled(self, passage: Passage, status: int, failure: str) -> None:
        """A request is over: count what it was and how long it took, and leave its trace.

        status:  of the answer that was begun, 0 when none was.
        failure: the code of our own answer, or how it ended otherwise; "" when all is well.
        """
        counters, plan = self.counters, passage.plan
        tally = plan.tally if plan is not None and not failure else counters.requests["error"]
        tally[status // 100] += 1
        seconds = self.clock() - passage.started
        counters.duration_sum += seconds
        counters.durations[int(seconds * 1e6).bit_length()] += 1
        if self.spans is not None and plan is not None and plan.key:
            self.spans(passage, status, failure)
        if passage.hop and self.hops is not None:
            if plan is not None:
                hops, head, answered = self.hops, passage.head, passage.first_byte
                start = len(head.method) + 1
                hop = (
                    plan.hops or hops.tell(plan), passage.hop, passage.cause, hops.now() - seconds, passage.trace,
                    head.method, head.data[start : head.data.find(b" ", start)], status, failure, seconds,
                    answered - passage.started if answered else 0.0,
                    passage.request_bytes, passage.answer_bytes, passage.further, passage.capture,
                )  # fmt: skip
                waiting = hops.ring.waiting
                if waiting and len(waiting) < hops.ring.limit and not passage.suspects:
                    waiting.append(hop)
                else:
                    hops.put(plan, passage, hop)
            passage.capture = None
            passage.hop = passage.asked = b""
            passage.suspects = ()
            passage.first_byte = 0.0
        flight = passage.flight
        if flight is not None:
            passage.flight = None
            if passage.ids:
                self.correlation.leave(passage.ids, flight)
                passage.ids = NO_IDS
        if passage.told:
            passage.told = False
            passage.expected = ()
            passage.note = passage.hop = passage.cause = b""
            passage.rewriter = None
