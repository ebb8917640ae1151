"""What all exchanges of one direction share, and the questions on which the two directions differ.

`Inbound` (guards the application) and `Outbound` (carries its calls) answer them; the exchange asks and knows
nothing of keys and traces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxy.exchange.carriers import Carriers
from proxy.exchange.plan import Plan
from proxy.exchange.ports import Clock, Pool, PoolSource, Reporter, Stream, Wheel
from proxy.exchange.settings import ExchangeSettings
from proxy.routing.correlation import Correlation
from proxy.routing.trace import TraceReader
from proxy.telemetry.counters import SideCounters
from proxy.wire.head import HeadParser, RequestHead, ResponseHead

if TYPE_CHECKING:
    from proxy.exchange.exchange import Exchange


class SpanRecorder(Protocol):
    """Where the spans of keyed requests go; None where nobody traces."""

    def __call__(self, exchange: Exchange, status: int, failure: str) -> None: ...


def _abort(stream: Stream) -> None:
    stream.abort()


@dataclass(frozen=True, slots=True)
class SideParts:
    """What a side is made of.

    workload: `namespace/name`, for answers that we make ourselves.
    carriers: reads the key; traces: finds trace ids; correlation: which key a trace carries, shared by both sides.
    pools:    connections to endpoints.
    spans:    None when nobody traces.
    reset:    aborts a connection so that its other end sees that, and not an orderly end.
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
    reset: Callable[[Stream], None] = _abort


class Side(ABC):
    """One direction of one listener.

    default_host: for HTTP/1.0 requests without Host: what the application is called.
    draining:     no connection is kept open behind an answer any more.
    held:         exchanges that wait for a route.
    baseline:     where connections go that are not HTTP; None where only a request says where it wants to go.
    """

    def __init__(self, parts: SideParts, *, default_host: str, baseline: Pool | None) -> None:
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
        self.reset = parts.reset
        self.default_host = default_host.encode()
        self.baseline = baseline
        self.draining = False
        self.held: set[Exchange] = set()

    @abstractmethod
    def admit(self, exchange: Exchange, head: RequestHead) -> Plan:
        """Decide on a request. May set the exchange's `insert`, `drop` and `served`, and `ids` when it has entered
        them into the correlation. Raises Refused."""

    @abstractmethod
    def answer(self, exchange: Exchange, head: ResponseHead) -> tuple[bytes, frozenset[bytes]]:
        """Field lines to add to the answer and names of fields to drop from it. Asked when `served` is set."""
