"""Figures as text for Prometheus and OpenMetrics, made when somebody scrapes.

A scrape reads plain integers (`proxy.telemetry.counters`) and asks a few callables for what is alive now; no
prometheus-client object is kept between two scrapes. Labels have few values: directions, decisions, status
classes, codes, phases. Never a key, a host or a path: those grow with the traffic.

Durations are kept in powers of two of a microsecond. Exported are 2**7 us (128 us) to 2**26 us (67 s), twenty
buckets; a sidecar adds less than the first, and no request that waits longer than the last is a success.
"""

from __future__ import annotations

import platform
from collections import Counter as TallyCounter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from proxy import BUILD
from proxy.errors import FAILURES
from proxy.telemetry.counters import INBOUND, OPAQUE, OUTBOUND, Counters, SideCounters

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

FIRST_BUCKET = 7
LAST_BUCKET = 26

STATUS_LABELS = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

PLAIN = (
    ("keys_malformed", "keys_malformed", "Values in the place of a routing key that are none"),
    ("key_conflicts", "key_conflicts", "Requests whose carriers named different keys"),
    ("connections_accepted", "connections_accepted", "Downstream connections accepted"),
    ("tunnels_opened", "tunnels_opened", "Connections that became opaque: Upgrade, CONNECT, not HTTP"),
    ("spliced_bytes", "spliced_bytes", "Bytes of bodies and tunnels that the kernel moved, without their being read"),
    ("upstream_dials", "upstream_dials", "Upstream connections attempted"),
    ("upstream_dial_failures", "upstream_dial_failures", "Upstream connections that could not be made"),
    ("upstream_reused", "upstream_reused", "Requests sent on a pooled connection"),
    ("upstream_retries", "upstream_retries", "Requests sent again on a fresh connection"),
    ("upstream_discarded", "upstream_discarded", "Idle upstream connections that ended, spoke or aged"),
)
"""Counters with nothing but a direction: (attribute of SideCounters, name without prefix and suffix, help)."""


class TableFigures(Protocol):
    synced: bool

    def __len__(self) -> int: ...


class FeedFigures(Protocol):
    """What `proxy.feed.holder.FeedState` says; a port, since telemetry lies below the feed."""

    connected: bool
    applied: int
    refused: int
    ignored: int
    failures: int

    def age(self) -> float | None: ...


class PoolFigures(NamedTuple):
    """Upstream connections of one direction to one kind of upstream: `app`, `shadow` or `upstream`."""

    direction: str
    upstream: str
    idle: int
    busy: int


Sides = Sequence[tuple[str, SideCounters]]
Values = Mapping[tuple[str, ...], float]


class Exposition:
    """The figures of one sidecar.

    pools: asked on every scrape; pools of the same direction and kind are added up.
    """

    def __init__(
        self,
        counters: Counters,
        table: TableFigures,
        feed: FeedFigures,
        pools: Callable[[], Iterable[PoolFigures]],
        *,
        workload: str,
        version: str,
    ) -> None:
        self._counters = counters
        self._table = table
        self._feed = feed
        self._pools = pools
        self._build = {"version": version, "workload": workload, "python": platform.python_version(), "build": BUILD}
        self._registry: CollectorRegistry | None = None

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The figures in the format that the `accept` header asks for, and its content type."""
        from prometheus_client.exposition import choose_encoder  # 4 MB that only a sidecar with an admin listener pays

        encode, content_type = choose_encoder(accept)
        return encode(self._collectors()), content_type

    def collect(self) -> Iterator[Metric]:
        """All families; prometheus-client calls it."""
        from prometheus_client.metrics_core import InfoMetricFamily

        sides = ((INBOUND, self._counters.inbound), (OUTBOUND, self._counters.outbound))
        yield InfoMetricFamily("skycap_build", "What runs here", value=self._build)
        yield from _requests(sides)
        yield from _labelled(sides)
        for attribute, name, text in PLAIN:
            yield _counter(
                name, text, ("direction",), {(side,): getattr(figures, attribute) for side, figures in sides}
            )
        yield _counter("keys_lost", "Outbound calls that may have lost a key", (), {(): self._counters.keys_lost})
        yield from self._traces()
        paused: Values = {(): self._counters.accepting_paused}
        yield _counter(
            "accepting_paused", "How often file descriptors were short, so that new clients waited", (), paused
        )
        gave_way: Values = {(): self._counters.gave_way}
        yield _counter(
            "clients_gave_way", "Idle clients that were closed because file descriptors were short", (), gave_way
        )
        yield from self._connections(sides)
        yield from self._routes()

    def _traces(self) -> Iterator[Metric]:
        counters = self._counters
        yield _counter("traces_dropped", "Trace ids forgotten early", (), {(): counters.traces_dropped})
        yield _counter("traces_disputed", "Trace ids that name none, because two claimed them", (),
                       {(): counters.traces_disputed})  # fmt: skip
        yield _counter("hops", "Hops of keyed requests by what became of them", ("outcome",),
                       {("sent",): counters.hops_sent, ("dropped",): counters.hops_dropped})  # fmt: skip
        yield _gauge("traces_known", "Trace ids that are remembered", (), {(): counters.traces_known})
        yield _gauge("trace_memory_seconds", "How long trace ids are remembered, by the last forgotten",
                     (), {(): counters.trace_seconds})  # fmt: skip

    def _connections(self, sides: Sides) -> Iterator[Metric]:
        yield _gauge(
            "connections_open",
            "Downstream connections",
            ("direction",),
            {(side,): figures.connections_open for side, figures in sides},
        )
        pooled: TallyCounter[tuple[str, ...]] = TallyCounter()
        for pool in self._pools():
            pooled[pool.direction, pool.upstream, "idle"] += pool.idle
            pooled[pool.direction, pool.upstream, "busy"] += pool.busy
        yield _gauge("upstream_connections", "Pooled connections", ("direction", "upstream", "state"), pooled)

    def _routes(self) -> Iterator[Metric]:
        feed, age = self._feed, self._feed.age()
        yield _gauge("routes", "Routes in the table", (), {(): len(self._table)})
        yield _gauge("routes_synced", "1 when a whole table has been received", (), {(): self._table.synced})
        confirmed: Values = {} if age is None else {(): age}
        yield _gauge("routes_age_seconds", "Since the source last confirmed the table", (), confirmed)
        yield _gauge("feed_connected", "1 while the source of the routes can be heard", (), {(): feed.connected})
        yield _gauge("feed_applied_revision", "Last change in force", (), {(): feed.applied})
        yield _counter("feed_refused", "Tables and streams that did not fit the contract", (), {(): feed.refused})
        yield _counter("feed_ignored", "Changes older than what was in force", (), {(): feed.ignored})
        yield _counter("feed_failures", "Connections to the source that failed or ended", (), {(): feed.failures})

    def _collectors(self) -> CollectorRegistry:
        if self._registry is None:
            from prometheus_client import CollectorRegistry, ProcessCollector

            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
            ProcessCollector(registry=self._registry)
        return self._registry


def _requests(sides: Sides) -> Iterator[Metric]:
    from prometheus_client.metrics_core import HistogramMetricFamily

    yield _counter(
        "requests",
        "Requests by what became of them",
        ("direction", "decision", "status"),
        {
            (side, decision, status): count
            for side, figures in sides
            for decision, counts in figures.requests.items()
            for status, count in zip(STATUS_LABELS, [*counts[:5], sum(counts[5:])], strict=True)
        },
    )
    durations = HistogramMetricFamily(
        "skycap_request_duration_seconds", "From the first byte of a request to the last of its answer",
        labels=("direction",),
    )  # fmt: skip
    for side, figures in sides:
        counts = list(accumulate(figures.durations))
        buckets = [(str(2**n / 1e6), counts[n]) for n in range(FIRST_BUCKET, LAST_BUCKET + 1)]
        durations.add_metric((side,), [*buckets, ("+Inf", counts[-1])], sum_value=figures.duration_sum)
    yield durations


def _labelled(sides: Sides) -> Iterator[Metric]:
    zero = dict.fromkeys((failure.code for failure in FAILURES), 0)
    yield _counter(
        "failures",
        "Answers that the sidecar made itself",
        ("direction", "code"),
        {(side, code): n for side, figures in sides for code, n in (zero | figures.failures).items()},
    )
    unread = dict.fromkeys(OPAQUE, 0)
    yield _counter(
        "opaque_connections",
        "Connections carried unread, by what they hold",
        ("direction", "protocol"),
        {(side, kind): n for side, figures in sides for kind, n in (unread | figures.opaque).items()},
    )
    yield _counter(
        "http2_connections",
        "Connections of clients that speak HTTP/2 without TLS",
        ("direction",),
        {(side,): figures.http2 for side, figures in sides},
    )
    yield _counter(
        "grpc_calls",
        "gRPC calls, by their grpc-status",
        ("direction", "status"),
        {(side, str(status)): n for side, figures in sides for status, n in figures.grpc.items()},
    )
    yield _counter(
        "timeouts",
        "Time limits that were reached",
        ("direction", "phase"),
        {(side, phase): n for side, figures in sides for phase, n in figures.timeouts.items()},
    )
    yield _counter(
        "keys",
        "Requests with a routing key, by where it was found",
        ("direction", "carrier"),
        {(side, carrier): n for side, figures in sides for carrier, n in figures.key_carriers.items()},
    )
    yield _counter(
        "reads_paused",
        "How often reading from one peer waited for the other",
        ("direction", "peer"),
        {
            (side, peer): n
            for side, figures in sides
            for peer, n in (("downstream", figures.paused_downstream), ("upstream", figures.paused_upstream))
        },
    )


def _counter(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"skycap_{name}", text, labels=labels), values)


def _gauge(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"skycap_{name}", text, labels=labels), values)


def _filled(family: Any, values: Values) -> Metric:
    for label, value in values.items():
        family.add_metric(label, value)
    filled: Metric = family
    return filled
