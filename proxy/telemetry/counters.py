"""The sidecar's figures: plain integers, to which only the data path adds.

They become Prometheus text only when somebody scrapes (`proxy.telemetry.exposition`). Adding to an integer
costs 30 ns; a prometheus-client counter with labels costs a microsecond and a lock.

Durations are counted in buckets of powers of two: bucket `n` holds requests that took less than 2**n
microseconds and at least 2**(n-1), which is `int(microseconds).bit_length()`, one call instead of a search.
"""

from __future__ import annotations

from collections import Counter

INBOUND = "inbound"
OUTBOUND = "outbound"

DECISIONS = ("baseline", "shadow", "fallback", "unsynced", "error", "forward", "stub")
"""What became of a request.

baseline: no key, or no route for it          shadow:   carried to a shadow
fallback: the shadow was unavailable and its policy is `baseline`
unsynced: no table came in time, so baseline  error:    answered by the sidecar itself
forward:  carried on by the outbound side     stub:     answered by a rule of the key's own
"""

OPAQUE = ("tls", "server-first", "declared", "other")
"""Why the bytes of a connection were carried unread; see `proxy.net.sniff`."""

STATUS_CLASSES = 10
"""Index = status // 100; index 0 counts requests that ended without an answer. From 600 on a status is invalid but in
use, and stands for a 5xx (RFC 9110 section 15)."""

DURATION_BUCKETS = 64
"""2**63 us: a stream or a tunnel may live for months."""


class SideCounters:
    """One direction's figures. All are totals since start unless the name says `open`, `busy` or `idle`."""

    __slots__ = (
        "connections_accepted",
        "connections_open",
        "duration_sum",
        "durations",
        "failures",
        "grpc",
        "http2",
        "key_carriers",
        "key_conflicts",
        "keys_malformed",
        "opaque",
        "paused_downstream",
        "paused_upstream",
        "requests",
        "spliced_bytes",
        "timeouts",
        "tunnels_opened",
        "upstream_dial_failures",
        "upstream_dials",
        "upstream_discarded",
        "upstream_retries",
        "upstream_reused",
    )

    def __init__(self) -> None:
        self.requests: dict[str, list[int]] = {name: [0] * STATUS_CLASSES for name in DECISIONS}
        self.durations = [0] * DURATION_BUCKETS
        self.duration_sum = 0.0
        """Seconds."""
        self.failures: Counter[str] = Counter()
        """By `Failure.code`: answers that we made ourselves. Besides: client-truncated, answer-truncated, internal."""
        self.http2 = 0
        """Connections of clients that speak HTTP/2."""
        self.grpc: Counter[int] = Counter()
        """Calls by their `grpc-status`."""
        self.timeouts: Counter[str] = Counter()
        """By phase: header, idle, hold, connect, response, body (either way), tunnel."""
        self.key_carriers: Counter[str] = Counter()
        """Where keys were found: baggage, tracestate, header, trace, sandbox."""
        self.keys_malformed = 0
        self.key_conflicts = 0
        """Requests whose carriers named different keys; the first in order won."""
        self.connections_accepted = 0
        self.connections_open = 0
        self.tunnels_opened = 0
        self.opaque: Counter[str] = Counter()
        """Connections carried unread from their first byte on, by OPAQUE."""
        self.paused_downstream = 0
        """How often reading from the client was paused because the upstream took no more."""
        self.paused_upstream = 0
        self.spliced_bytes = 0
        """Moved between two connections by the kernel, without being read."""
        self.upstream_dials = 0
        self.upstream_dial_failures = 0
        self.upstream_reused = 0
        self.upstream_retries = 0
        self.upstream_discarded = 0
        """Idle upstream connections dropped because they ended, spoke, or aged."""


class Counters:
    """All figures of one sidecar."""

    __slots__ = (
        "accepting_paused", "gave_way", "hops_dropped", "hops_sent", "inbound", "keys_lost",
        "outbound", "trace_seconds", "traces_disputed", "traces_dropped",
        "traces_known",
    )  # fmt: skip

    def __init__(self) -> None:
        self.inbound = SideCounters()
        self.outbound = SideCounters()
        self.keys_lost = 0
        """Outbound calls that may have lost a key: without trace, or of one that is unknown or disputed."""
        self.accepting_paused = 0
        """How often no connection was accepted for a while because file descriptors were short."""
        self.gave_way = 0
        self.traces_known = 0
        self.hops_sent = 0
        self.hops_dropped = 0
        self.traces_dropped = 0
        """Trace ids forgotten early because the correlation table was full."""
        self.traces_disputed = 0
        """Trace ids that two keys have claimed, or a key and an unkeyed request: they name none."""
        self.trace_seconds = 0.0
        """How long the ids that were forgotten last had been remembered at least, behind their last request's end."""
