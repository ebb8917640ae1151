"""Spans of the requests that were settled: what tracing gets of a passage."""

from __future__ import annotations

import time

from proxy.exchange.passage import Passage
from proxy.exchange.side import SpanRecorder
from proxy.telemetry.tracing import CARRIERS, Tracing


def span_recorder(tracing: Tracing, direction: str) -> SpanRecorder:
    """Records the spans of one direction."""

    def record(passage: Passage, status: int, failure: str) -> None:
        plan, head = passage.plan, passage.head
        assert plan is not None
        end = time.time_ns()
        tracing.record(
            direction=direction,
            key=plan.key,
            decision=plan.action.value,
            sandbox=plan.sandbox,
            revision=plan.route.revision if plan.route is not None else 0,
            method=head.method.decode("latin-1"),
            path=head.target.partition(b"?")[0].decode("latin-1"),
            status=status,
            error=failure,
            carrier=_trace_context(passage),
            start_ns=end - int((time.perf_counter() - passage.started) * 1e9),
            end_ns=end,
        )

    return record


def _trace_context(passage: Passage) -> dict[str, bytes | None]:
    """The fields that say who the parent is, as the request was forwarded."""
    added = dict(passage.fields)
    if passage.template is not None:
        added.update(passage.template.filled(passage.filling))
    found: dict[str, bytes | None] = {}
    for name in CARRIERS:
        field = name.encode()
        sent = [] if field in passage.drop else passage.head.values(field)
        found[name] = added[field] if field in added else sent[-1].lower() if sent else None
    return found
